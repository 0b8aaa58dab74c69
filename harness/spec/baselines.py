"""Baselines: something else that is asked about a task's samples, to be read beside its score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.errors import Fault
from harness.registry import near
from harness.spec.document import Document, KeyPath
from harness.spec.resolve import dotted

DIFFERS = ("kind", "model", "classes", "probe", "generate", "metrics")
"""Keys of the task that a baseline may replace; its samples are always the task's own."""
_LEFT_OUT = ("train", "baselines", "leaderboard")


def path_of(place: int) -> KeyPath:
    """Where the keys of baseline number `place` stand."""
    return ("baselines", place, "task")


def overlaid_cell(cell: Document, place: int) -> Document:
    """The cell with the keys of one of its baselines over it: mappings merge deep, all else is replaced.

    What belongs to the task's own checkpoint (a revision, a family) doesn't pass to another one.
    """
    over = _part(cell, path_of(place))
    kept = {key: value for key, value in cell.data.items() if key not in _LEFT_OUT}
    model = over.data.get("model")
    if isinstance(model, dict) and "checkpoint" in model:
        kept.pop("model", None)
    return Document(kept, cell.origins).merged(over)


def key_faults(cell: Document, place: int) -> Iterator[Fault]:
    """The keys of a baseline that it may not replace."""
    at = path_of(place)
    for key in _part(cell, at).data:
        if key not in DIFFERS:
            origin = cell.origin((*at, key))
            hint = near(key, DIFFERS) or f"It may say otherwise: {', '.join(DIFFERS)}."
            message = "a baseline can't change that: it is scored on the task's own samples."
            yield Fault(origin.file, origin.line, dotted((*at, key)), message, hint)


def placed(fault: Fault, cell: Document, place: int) -> Fault:
    """A fault of the overlaid cell, said where the baseline stands if its keys are elsewhere."""
    at = path_of(place)
    own = fault.key.split(".")[0].split("[")[0] in _part(cell, at).data
    if own:
        return Fault(fault.file, fault.line, f"{dotted(at)}.{fault.key}", fault.message, fault.suggestion)
    origin, message = cell.origin(at), f"{fault.key}: {fault.message}" if fault.key else fault.message
    return Fault(origin.file, origin.line, dotted(at), message, fault.suggestion)


def _part(cell: Document, at: KeyPath) -> Document:
    """What stands at a path, as a document of its own."""
    data: Any = cell.data
    for part in at:
        data = data[part]
    return Document(data, {path: cell.origin((*at, *path)) for path in _paths(data)})


def _paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of a value and of everything inside it."""
    yield path
    inner: Sequence[tuple[str | int, Any]] = ()
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    for key, child in inner:
        yield from _paths(child, (*path, key))
