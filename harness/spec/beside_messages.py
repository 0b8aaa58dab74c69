"""What a task says beside conversations, which would be left out without a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.spec.kinds import KINDS, STOOD_FOR
from harness.spec.options import Found


def faults(task: Mapping[str, Any]) -> Iterator[Found]:
    """Columns that messages stand for, and words of the task's own. A stage's data aren't meant."""
    data, kind = task.get("data"), KINDS.get(str(task.get("kind")))
    columns = data.get("columns") if isinstance(data, Mapping) else None
    if kind is None or not isinstance(columns, Mapping) or not kind.takes_messages(columns):
        return
    if kind.options:
        yield ("kind",), "messages bring no options: map question, options and target instead.", ""
        return
    for name in STOOD_FOR:
        if name in columns:
            yield ("data", "columns", name), "messages stand for it: map one or the other.", ""
    if task.get("prompt") is not None:
        yield ("prompt",), "messages say what is asked: remove it, or set it to null.", ""
