"""From a task file to concrete documents: extends, params, --set, matrix, {placeholders}."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from harness.errors import Fault, SpecError, UsageError
from harness.registry import near
from harness.spec.document import DEEPEST, NOT_PLAIN, Document, KeyPath, Origin, is_plain, read
from harness.spec.find import extended_file
from harness.spec.schema import Task

PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
PATHS = (
    ("model", "checkpoint"),
    ("data", "path"),
    ("data", "join", "path"),
    ("train", "data", "path"),
    ("train", "augment", "noise", "folder"),
)
"""Keys whose ./ is relative to the task file."""
LITERAL_KEYS = ("description", "params", "matrix")
WITH_COLUMNS = ("prompt", "choice")
"""Keys in which braces may also hold a column's name, which is filled in for each sample."""


def compose(file: Path, _chain: tuple[Path, ...] = ()) -> Document:
    """The file laid over everything it extends. Raises SpecError."""
    document = read(file)
    extends = document.data.pop("extends", None)
    if extends is None:
        return document
    origin = document.origins.pop(("extends",))
    if not isinstance(extends, str):
        raise SpecError([_fault(origin, "extends", "should be the name of one file")])
    parent = extended_file(extends, by=file)
    if parent is None:
        raise SpecError(
            [_fault(origin, "extends", f"there is no file '{extends}' beside this one or shipped")]
        )
    chain = (*_chain, file.resolve())
    if parent.resolve() in chain:
        raise SpecError([_fault(origin, "extends", f"'{extends}' extends this file in turn")])
    inherited = compose(parent, chain)
    _rebase(inherited, parent.parent, file.parent)
    return inherited.merged(document)


def _rebase(document: Document, written: Path, read_from: Path) -> None:
    """Let ./ paths of an extended file mean what they mean there, when it stands in another folder."""
    if written.resolve() == read_from.resolve():
        return
    baselines = document.data.get("baselines")
    tasks = [entry.get("task") for entry in _mappings(baselines if isinstance(baselines, list) else ())]
    train = document.data.get("train")
    stages = train.get("stages") if isinstance(train, dict) else None
    within = [{"train": stage} for stage in _mappings(stages if isinstance(stages, list) else ())]
    for data in _mappings([document.data, *tasks, *within]):
        _rebase_paths(data, written, read_from)


def _mappings(values: Iterable[Any]) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)]


def _rebase_paths(data: dict[str, Any], written: Path, read_from: Path) -> None:
    for path in PATHS:
        *above, last = path
        section: Any = data
        for key in above:
            section = section.get(key) if isinstance(section, dict) else None
        value = section.get(last) if isinstance(section, dict) else None
        if isinstance(value, str) and value.startswith("."):
            moved = os.path.relpath(written.resolve() / value, read_from.resolve())
            section[last] = moved if moved.startswith(".") else f"./{moved}"


def apply_settings(document: Document, settings: Sequence[tuple[str, Any]]) -> None:
    """Lay `--set K=V` over the document: K is a parameter, or a dotted path such as generate.num_beams."""
    for key, value in settings:
        origin = Origin(Path(f"--set {key}={value}"), 0)
        if key in _mapping(document, "params"):
            document.put(("params", key), value, origin)
            if "matrix" in document.data:
                document.data["matrix"] = _without(document.data["matrix"], key, value)
        elif key.split(".")[0] in Task.model_fields:
            document.put(tuple(key.split(".")), value, origin)
        else:
            known = [*_mapping(document, "params"), *Task.model_fields]
            hint = near(key, known) or f"Its parameters: {', '.join(_mapping(document, 'params')) or 'none'}."
            raise UsageError(f"--set {key}: the task has no such parameter or key", hint)


def _without(matrix: Any, name: str, value: Any) -> Any:
    """The matrix without a parameter that has been set.

    Of a list, the entries that have this value where there are any, else all; alike ones once.
    """
    if isinstance(matrix, dict):
        return {key: values for key, values in matrix.items() if key != name}
    if not isinstance(matrix, list) or not all(isinstance(entry, dict) for entry in matrix):
        return matrix
    chosen = [entry for entry in matrix if name in entry and entry[name] == value] or matrix
    left = [{key: given for key, given in entry.items() if key != name} for entry in chosen]
    return [entry for place, entry in enumerate(left) if entry and entry not in left[:place]]


def worded(value: Any) -> str:
    """A parameter's value as a person writes it; lists and mappings as JSON."""
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    return "none" if value is None else str(value)


def parse_setting(text: str) -> tuple[str, Any]:
    """One `K=V` of the command line; V is read as YAML, so 5 is a number and [a, b] a list."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {text}: expected NAME=VALUE")
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        loaded = YAML(typ="safe", pure=True).load(value)
    except (YAMLError, ValueError, RecursionError) as error:
        raise UsageError(
            f"--set {text}: the value is not valid YAML",
            """Text with {}, a colon or a comma needs quotation marks: --set 'KEY=["a photo of {}"]'.""",
        ) from error
    if not _all_plain(loaded):
        raise UsageError(f"--set {text}: the value {NOT_PLAIN}")
    return key.strip(), loaded


def _all_plain(value: Any, depth: int = 0) -> bool:
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    parts = inner if isinstance(inner, list) else []
    return depth <= DEEPEST and is_plain(value) and all(_all_plain(part, depth + 1) for part in parts)


def cells(document: Document) -> Iterator[tuple[dict[str, Any], Document]]:
    """Each combination of the matrix and its document, every {placeholder} filled in. Raises SpecError."""
    matrix = document.data.get("matrix", {})
    faults = list(_matrix_faults(document, matrix))
    if faults:
        raise SpecError(faults)
    for chosen in _combinations(matrix):
        cell = Document(deepcopy(document.data), document.origins)
        if chosen:
            cell.data["params"].update(chosen)
        _fill(cell)
        yield chosen, cell


def _combinations(matrix: Any) -> Iterator[dict[str, Any]]:
    if isinstance(matrix, list):
        yield from matrix or [{}]
        return
    for values in itertools.product(*matrix.values()):
        yield dict(zip(matrix, values, strict=True))


def _matrix_faults(document: Document, matrix: Any) -> Iterator[Fault]:
    if isinstance(matrix, dict):
        yield from _unknown_parameters(document, ("matrix",), matrix)
        for name, values in matrix.items():
            if not isinstance(values, list) or not values:
                origin = document.origin(("matrix", name))
                yield _fault(origin, f"matrix.{name}", "should be a list of values")
    elif isinstance(matrix, list):
        for place, entry in enumerate(matrix):
            yield from _entry_faults(document, ("matrix", place), entry, matrix[0])
    else:
        message = "should be a mapping of parameters to lists of values, or a list of mappings"
        yield _fault(document.origin(("matrix",)), "matrix", message)


def _entry_faults(document: Document, path: KeyPath, entry: Any, first: Any) -> Iterator[Fault]:
    """Faults of one entry of a matrix that is a list."""
    origin = document.origin(path)
    if not isinstance(entry, dict) or not entry:
        yield _fault(origin, dotted(path), "should be a mapping of parameters to values")
        return
    yield from _unknown_parameters(document, path, entry)
    if isinstance(first, dict) and entry.keys() != first.keys():
        message = f"sets {', '.join(entry)}, but the first entry sets {', '.join(first)}"
        yield _fault(origin, dotted(path), message, "Give every entry the same parameters.")


def _unknown_parameters(document: Document, path: KeyPath, given: Iterable[str]) -> Iterator[Fault]:
    """The names that aren't parameters of the task."""
    params = _mapping(document, "params")
    for name in given:
        if name not in params:
            where = (*path, name)
            yield _fault(document.origin(where), dotted(where), "is not a parameter", near(name, params))


def _fill(cell: Document) -> None:
    params = _mapping(cell, "params")
    faults: list[Fault] = []

    def fill(value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: fill(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner, (*path, index)) for index, inner in enumerate(value)]
        if not isinstance(value, str):
            return value
        for name in PLACEHOLDER.findall(value):
            if name not in params and path[0] not in WITH_COLUMNS:
                message = f"'{{{name}}}' is not a parameter of this task."
                hint = near(name, params) or "Declare it under params."
                faults.append(_fault(cell.origin(path), dotted(path), message, hint))
        if (whole := PLACEHOLDER.fullmatch(value)) and whole[1] in params:
            return params[whole[1]]
        return PLACEHOLDER.sub(lambda found: str(params.get(found[1], found[0])), value)

    cell.data = {
        key: value if key in LITERAL_KEYS else fill(value, (key,)) for key, value in cell.data.items()
    }
    if faults:
        raise SpecError(faults)


def dotted(path: KeyPath) -> str:
    """A key's path as users write it: metrics[0].options."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _mapping(document: Document, key: str) -> dict[str, Any]:
    value = document.data.get(key)
    return value if isinstance(value, dict) else {}


def _fault(origin: Origin, key: str, message: str, suggestion: str = "") -> Fault:
    return Fault(origin.file, origin.line, key, message, suggestion)
