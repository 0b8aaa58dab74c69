"""Which data a training reads, and which it is scored on while it lasts."""

from __future__ import annotations

from typing import Literal

from harness.spec.classes import Probe
from harness.spec.kinds import KINDS
from harness.spec.overlay import overlaid
from harness.spec.schema import Data, Task, metric_keys
from harness.spec.training import Train


def training_data(task: Task) -> dict[str, Data]:
    """The data section that each stage of a training reads, by the stage's name: the task's own with
    `train.data` over it and the stage's over that, never corrupted. Empty for a task that trains nothing.
    """
    stages = task.train.staged if task.train else {}
    return {name: _learned(task.data, own) for name, own in stages.items()}


def _learned(data: Data, train: Train) -> Data:
    found = Data.model_validate(overlaid(data.model_dump(exclude_unset=True), train.data))
    return found.model_copy(update={"corrupt": None})


def validation_data(task: Task) -> Data | None:
    """The data section whose validation split chooses the best step: the task's own if it names one, else
    that of the training's last stage; None when neither does. Never corrupted: one fine-tune is scored at
    every severity.
    """
    for data in (task.data, *list(training_data(task).values())[-1:]):
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
