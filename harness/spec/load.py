"""Load task files: every fault of a file at once, each with its file, line, key and a suggestion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from harness.errors import Fault, SpecError
from harness.registry import near
from harness.spec import baselines, beside_messages, options, training_faults
from harness.spec.digest import spec_id
from harness.spec.document import Document, KeyPath, Origin
from harness.spec.overlay import overlaid
from harness.spec.resolve import apply_settings, cells, compose, dotted
from harness.spec.schema import Baseline, Data, Task
from harness.spec.section import Section
from harness.spec.training import Keep


@dataclass(frozen=True)
class ResolvedTask:
    """One cell of a task file: the validated task and where each of its values was written."""

    task: Task
    file: Path
    document: Document
    cell: Mapping[str, Any]
    """The matrix's combination: parameter to value."""
    settings: tuple[tuple[str, Any], ...] = ()
    """What the command line set."""

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


def load(
    file: Path, settings: Sequence[tuple[str, Any]] = (), *, training: bool = True
) -> list[ResolvedTask]:
    """The cells of a task file, one when it has no matrix. Raises SpecError with every fault.

    `training` false passes over data that can be scored but not learned from: nobody is going to.
    """
    document = compose(file)
    apply_settings(document, settings)
    faults: list[Fault] = []
    resolved = []
    for chosen, cell in cells(document):
        try:
            task = with_metric_files(validated(cell, file.parent, training=training), file.parent)
            found = ResolvedTask(task, file, cell, chosen, tuple(settings))
            inner = [*_kept_faults(found), *_baseline_faults(found)]
            faults += [fault for fault in inner if fault not in faults]
            resolved.append(found)
        except SpecError as error:
            faults += [fault for fault in error.faults if fault not in faults]
    if faults:
        raise SpecError(sorted(faults, key=lambda fault: (str(fault.file), fault.line)))
    return resolved


def kept_cells(resolved: ResolvedTask) -> list[tuple[Keep, ResolvedTask]]:
    """The task with the parameters of each of its checks against forgetting; nothing is trained in these."""
    train = resolved.task.train
    return [(keep, _kept(resolved, keep)) for keep in (train.keep if train else ())]


def _kept(resolved: ResolvedTask, keep: Keep) -> ResolvedTask:
    settings = [*resolved.settings, *resolved.cell.items(), *keep.params.items()]
    [found] = load(resolved.file, [*settings, ("train", None), ("baselines", [])])
    return found


def _kept_faults(resolved: ResolvedTask) -> Iterator[Fault]:
    """What is wrong with the task once it has a check's parameters, said where they stand."""
    keeps = resolved.task.train.keep if resolved.task.train else ()
    for place, keep in enumerate(keeps):
        path = ("train", "keep", place, "params")
        origin = resolved.document.origin(path)
        try:
            _kept(resolved, keep)
        except SpecError as error:
            for fault in error.faults:
                message = f"{fault.key}: {fault.message}"
                yield Fault(origin.file, origin.line, dotted(path), message, fault.suggestion)


def baseline_cells(resolved: ResolvedTask) -> list[tuple[Baseline, ResolvedTask]]:
    """The task as each of its baselines has it: the same samples, nothing that is trained."""
    return [(baseline, _baseline(resolved, at)) for at, baseline in enumerate(resolved.task.baselines)]


def _baseline(resolved: ResolvedTask, place: int) -> ResolvedTask:
    cell = baselines.overlaid_cell(resolved.document, place)
    task = with_metric_files(validated(cell, resolved.base), resolved.base)
    return replace(resolved, task=task, document=cell)


def _baseline_faults(resolved: ResolvedTask) -> Iterator[Fault]:
    """What is wrong with the task once it has a baseline's keys, said where they stand."""
    for place in range(len(resolved.task.baselines)):
        wrong = list(baselines.key_faults(resolved.document, place))
        yield from wrong
        try:
            if not wrong:
                _baseline(resolved, place)
        except SpecError as error:
            for fault in error.faults:
                yield baselines.placed(fault, resolved.document, place)


def validated(cell: Document, base: Path, *, training: bool = True) -> Task:
    """The cell as a Task; `base` is what its ./ paths are relative to. Raises SpecError."""
    faults = [*_found_faults(options.faults(cell.data), cell), *_overlay_faults(cell)]
    faults += _found_faults(beside_messages.faults(cell.data), cell)
    faults += _found_faults(training_faults.faults(cell.data, base, training=training), cell)
    task = None
    try:
        task = Task.model_validate(cell.data)
    except ValidationError as error:
        faults += [_schema_fault(detail, cell) for detail in _causes(error)]
    if task is None or faults:
        raise SpecError(faults)
    return task


def _causes(error: ValidationError) -> Iterator[ErrorDetails]:
    """What is wrong, but for lists that are too short because an entry of theirs is wrong."""
    details = error.errors()
    for detail in details:
        at = detail["loc"]
        within = (other["loc"] for other in details if len(other["loc"]) > len(at))
        if detail["type"] != "too_short" or all(other[: len(at)] != at for other in within):
            yield detail


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


def _found_faults(found: Iterable[options.Found], cell: Document) -> Iterator[Fault]:
    """Faults in what the schema leaves open, where they were written."""
    for path, message, suggestion in found:
        origin = cell.origin(path)
        yield Fault(origin.file, origin.line, dotted(path), message, suggestion)


def _overlay_faults(cell: Document) -> Iterator[Fault]:
    """What is wrong with the data section once `train.data`, and that of a stage, lie over it; nothing when
    it is by itself."""
    own, train = cell.data.get("data"), cell.data.get("train")
    if not isinstance(own, dict) or not isinstance(train, dict) or _wrong(own):
        return
    over = train.get("data", {})
    if not isinstance(over, dict):
        return
    found = list(_overlaid_faults(own, over, ("train", "data"), cell)) if over else []
    yield from found
    stages = train.get("stages")
    for place, stage in enumerate(stages if isinstance(stages, list) and not found else ()):
        inner = stage.get("data") if isinstance(stage, dict) else None
        if isinstance(inner, dict):
            at = ("train", "stages", place, "data")
            yield from _overlaid_faults(own, overlaid(over, inner), at, cell)


def _overlaid_faults(
    own: Mapping[str, Any], over: Mapping[str, Any], at: KeyPath, cell: Document
) -> Iterator[Fault]:
    data = overlaid(own, over)
    yield from _found_faults(options.builder_faults(data, at), cell)
    for detail in _wrong(data, builder=False):
        yield _schema_fault(detail, cell, Data, at)


def _wrong(data: Mapping[str, Any], *, builder: bool = True) -> list[Any]:
    """What the schema, and the builder, say of a data section."""
    found: list[Any] = list(options.builder_faults(data, ("data",))) if builder else []
    try:
        Data.model_validate(data)
    except ValidationError as error:
        found += error.errors()
    return found


def _schema_fault(
    detail: ErrorDetails, cell: Document, section: type[Section] = Task, at: KeyPath = ()
) -> Fault:
    """A fault that pydantic found in `section`, which stands at the path `at`."""
    path = _known_path((*at, *detail["loc"]), cell)
    origin = cell.origin(path)
    kind, given = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        known = _fields_of(path[len(at) : -1], section)
        return Fault(origin.file, origin.line, dotted(path), "unknown key.", near(str(path[-1]), known))
    if kind == "missing":
        return Fault(origin.file, origin.line, dotted((*at, *detail["loc"])), "is missing.")
    if kind == "value_error":
        return _value_fault(str(detail["ctx"]["error"]), path, cell)
    message = _wording(detail)
    shown = "" if isinstance(given, dict | list) else f", not {given!r}"
    words = str(detail.get("ctx", {}).get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
    suggestion = near(str(given), words) if kind == "literal_error" else ""
    return Fault(origin.file, origin.line, dotted(path), f"{message}{shown}.", suggestion)


def _value_fault(message: str, path: KeyPath, cell: Document) -> Fault:
    """What a validator says; of the whole task what begins with a key ("prompt: ...") stands at that key."""
    key, colon, rest = message.partition(": ")
    if not path and colon and (key,) in cell.origins:
        path, message = (key,), rest
    origin = cell.origin(path)
    return Fault(origin.file, origin.line, dotted(path), message)


def _wording(detail: ErrorDetails) -> str:
    """What pydantic says, in YAML's words for its types."""
    kind = detail["type"]
    if kind == "too_short":
        least = detail["ctx"]["min_length"]
        return f"needs at least {least} {'entry' if least == 1 else 'entries'}"
    if kind == "string_type" and isinstance(detail["input"], int | float):
        return "should be text (in quotation marks)"
    words = {
        "tuple_type": "should be a list",
        "list_type": "should be a list",
        "dict_type": "should be a mapping",
    }
    return words.get(kind, detail["msg"].replace("Input should be", "should be"))


def _known_path(location: Sequence[str | int], cell: Document) -> KeyPath:
    """The part of pydantic's location that the file has: union tags and missing keys are cut off."""
    path: KeyPath = ()
    for part in location:
        if (*path, part) not in cell.origins:
            break
        path = (*path, part)
    return path


def _fields_of(path: KeyPath, section: type[Section]) -> list[str]:
    """Names of the schema's fields at a path from a section."""
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
