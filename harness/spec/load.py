"""Load task files: every fault of a file at once, each with its file, line, key and a suggestion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from harness.errors import Fault, SpecError
from harness.registry import near
from harness.spec import options
from harness.spec.digest import spec_id
from harness.spec.document import Document, KeyPath, Origin
from harness.spec.resolve import apply_settings, cells, compose, dotted
from harness.spec.schema import Task
from harness.spec.section import Section


@dataclass(frozen=True)
class ResolvedTask:
    """One cell of a task file: the validated task and where each of its values was written."""

    task: Task
    file: Path
    document: Document
    cell: Mapping[str, Any]
    """The matrix's combination: parameter to value."""

    @property
    def base(self) -> Path:
        """Folder that the task's ./ paths are relative to."""
        return self.file.parent

    @cached_property
    def spec_id(self) -> str:
        """Digest of everything that changes the score, and nothing else."""
        return spec_id(self.task, self.base)

    def origin(self, path: KeyPath) -> Origin | None:
        """Where the value was written; None when it is a default."""
        return self.document.origins.get(path)


def load(file: Path, settings: Sequence[tuple[str, Any]] = ()) -> list[ResolvedTask]:
    """The cells of a task file, one when it has no matrix. Raises SpecError with every fault."""
    document = compose(file)
    apply_settings(document, settings)
    faults: list[Fault] = []
    resolved = []
    for chosen, cell in cells(document):
        try:
            task = with_metric_files(validated(cell), file.parent)
            resolved.append(ResolvedTask(task, file, cell, chosen))
        except SpecError as error:
            faults += [fault for fault in error.faults if fault not in faults]
    if faults:
        raise SpecError(sorted(faults, key=lambda fault: (str(fault.file), fault.line)))
    return resolved


def validated(cell: Document) -> Task:
    """The cell as a Task. Raises SpecError."""
    faults = list(_option_faults(cell))
    task = None
    try:
        task = Task.model_validate(cell.data)
    except ValidationError as error:
        faults += [_schema_fault(detail, cell) for detail in error.errors()]
    if task is None or faults:
        raise SpecError(faults)
    return task


def with_metric_files(task: Task, base: Path) -> Task:
    """The task with ./ paths of metrics' scripts made absolute: they are relative to the task file."""
    metrics = []
    for metric in task.metrics:
        path = metric.options.get("path")
        if metric.name == "evaluate" and isinstance(path, str) and path.startswith("."):
            options = {**metric.options, "path": str((base / path).resolve())}
            metric = metric.model_copy(update={"options": options})
        metrics.append(metric)
    return task.model_copy(update={"metrics": tuple(metrics)})


def _option_faults(cell: Document) -> Iterator[Fault]:
    """Faults in what the schema leaves open: names in registries and the options behind them."""
    for path, message, suggestion in options.faults(cell.data):
        origin = cell.origin(path)
        yield Fault(origin.file, origin.line, dotted(path), message, suggestion)


def _schema_fault(detail: ErrorDetails, cell: Document) -> Fault:
    path = _known_path(detail["loc"], cell)
    origin = cell.origin(path)
    kind, given = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        known = _fields_of(path[:-1])
        return Fault(origin.file, origin.line, dotted(path), "unknown key.", near(str(path[-1]), known))
    if kind == "missing":
        return Fault(origin.file, origin.line, dotted(detail["loc"]), "is missing.")
    if kind == "value_error":
        return Fault(origin.file, origin.line, dotted(path), str(detail["ctx"]["error"]))
    message = detail["msg"].replace("Input should be", "should be")
    shown = "" if isinstance(given, dict | list) else f", not {given!r}"
    words = str(detail.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
    suggestion = near(str(given), words) if kind == "literal_error" else ""
    return Fault(origin.file, origin.line, dotted(path), f"{message}{shown}.", suggestion)


def _known_path(location: Sequence[str | int], cell: Document) -> KeyPath:
    """The part of pydantic's location that the file has: union tags and missing keys are cut off."""
    path: KeyPath = ()
    for part in location:
        if (*path, part) not in cell.origins:
            break
        path = (*path, part)
    return path


def _fields_of(path: KeyPath) -> list[str]:
    """Names of the schema's fields at a path."""
    section: type[Section] = Task
    for part in path:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        inner = [kind for kind in _classes(annotation) if issubclass(kind, Section)]
        if not inner:
            return []
        section = inner[0]
    return list(section.model_fields)


def _classes(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    for argument in get_args(annotation):
        yield from _classes(argument)


def flat(values: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Leaves of nested mappings and lists with their paths."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, (*path, key))
        else:
            yield (*path, key), value
