"""Which data a training reads, and which it is scored on while it lasts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from harness.spec.classes import Probe
from harness.spec.kinds import KINDS, MESSAGES, STOOD_FOR
from harness.spec.schema import Data, Task, metric_keys


def training_data(task: Task) -> Data:
    """The data section that training reads: the task's own with `train.data` over it, never corrupted."""
    over = task.train.data if task.train else {}
    found = Data.model_validate(overlaid(task.data.model_dump(exclude_unset=True), over))
    return found.model_copy(update={"corrupt": None})


def validation_data(task: Task) -> Data | None:
    """The data section whose validation split chooses the best step: the task's own if it names one, else
    the training's; None when neither does. Never corrupted: one fine-tune is scored at every severity.
    """
    for data in (task.data, training_data(task)):
        if data.splits.validation is not None:
            return data.model_copy(update={"split": "validation", "corrupt": None})
    return None


def probe_splits(task: Task) -> tuple[Literal["train", "validation"], ...]:
    """The splits that a linear probe learns from and, where there is a choice, chooses its strength on."""
    if KINDS[task.kind].head != "probe":
        return ()
    return ("train", "validation") if len((task.probe or Probe()).strengths) > 1 else ("train",)


def selecting_metric(task: Task) -> str | None:
    """Name of the metric that chooses the step that is kept; None when the last one is."""
    if task.train is None or task.train.select_by == "last":
        return None
    return task.train.select_by or next(metric_keys(task.metrics))[0]


def overlaid(data: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A data section with another laid over it: mappings merge deep, everything else is replaced.

    Options are their builder's, so they don't pass to another path. Where conversations are laid over
    questions, the columns that they stand for go.
    """
    if over.get("path", data.get("path")) != data.get("path"):
        data = {key: value for key, value in data.items() if key != "options"}
    own, columns = data.get("columns"), over.get("columns")
    if isinstance(own, Mapping) and isinstance(columns, Mapping) and MESSAGES in columns:
        kept = {name: value for name, value in own.items() if name not in STOOD_FOR}
        data = {**data, "columns": kept}
    return _merged(data, over)


def _merged(data: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(data)
    for key, value in over.items():
        own = merged.get(key)
        both = isinstance(own, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(own, value) if both else value  # type: ignore[arg-type]
    return merged
