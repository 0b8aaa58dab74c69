"""The stages of a training, one after the other on the same network: most trainings are one.

Each has its own part of the work folder, where its last checkpoint stays until the whole training is done. So
a finished stage is taken up like any other checkpoint, and nothing of it is repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.data import Dataset
from harness.results.record import TrainedOnPart, TrainStagePart
from harness.spec.training import Train
from harness.training.checkpoints import Checkpoints, step_of
from harness.training.curve import Curve, Mark
from harness.training.method import Tuning
from harness.training.order import number_of_steps


@dataclass(frozen=True)
class Stage:
    """One stage: the train section as it has it, its data and its work folder.

    `name` is "" for a training without stages; `number` of `of` counts from 1. `before` are the steps of all
    stages before it. Only the `last` one is scored while it lasts.
    """

    name: str
    number: int
    of: int
    train: Train
    dataset: Dataset
    work: Path
    before: int

    @property
    def steps(self) -> int:
        """Its optimiser steps."""
        return number_of_steps(self.train, self.dataset.size)

    @property
    def last(self) -> bool:
        """Whether no other one comes after it."""
        return self.number == self.of

    @property
    def title(self) -> str:
        """ "stage 1 of 2 (projector)"; "" for a training without stages."""
        return f"stage {self.number} of {self.of} ({self.name})" if self.name else ""


def stages(train: Train, datasets: Mapping[str, Dataset], work: Path) -> list[Stage]:
    """The stages of a training in order; `datasets` are what each learns from, by its name."""
    found: list[Stage] = []
    for number, (name, own) in enumerate(train.staged.items(), start=1):
        folder = work / f"stage-{number}" if name else work
        before = found[-1].before + found[-1].steps if found else 0
        found.append(Stage(name, number, len(train.staged), own, datasets[name], folder, before))
    return found


@dataclass(frozen=True)
class Newest:
    """A stage and the step of it that has a checkpoint."""

    stage: Stage
    step: int


def newest(found: Sequence[Stage]) -> tuple[Newest | None, list[str]]:
    """Where a training goes on from, None when it has to begin; and what is damaged on the way there."""
    damaged: list[str] = []
    for stage in reversed(found):
        checkpoints = Checkpoints(stage.work)
        latest = checkpoints.latest()
        damaged += checkpoints.damaged
        if latest:
            return Newest(stage, step_of(latest)), damaged
    return None, damaged


def joined(found: Sequence[Stage], curves: Sequence[Curve]) -> Curve:
    """One curve of all stages: steps count on from one to the next, and marks say where each begins."""
    if len(found) == 1 and not found[0].name:
        return curves[0]
    whole = Curve(marks=[Mark(stage.before, stage.name) for stage in found])
    for stage, curve in zip(found, curves, strict=True):
        whole.losses += [point._replace(step=point.step + stage.before) for point in curve.losses]
        whole.scores += [(step + stage.before, scores) for step, scores in curve.scores]
        best = curve.best_step
        whole.best_step = None if best is None else best + stage.before
    return whole


def stage_part(stage: Stage, steps: int, tuning: Tuning) -> TrainStagePart:
    """What records say of a stage that took these steps."""
    rows = tuning.rows(stage.name)
    return TrainStagePart(
        name=stage.name,
        steps=steps,
        batch=stage.train.batch,
        learning_rate=stage.train.peak_learning_rate,
        parts={row.name: row.state for row in rows},
        trainable_parameters=sum(row.trained for row in rows),
        data=trained_on(stage.dataset),
    )


def trained_on(dataset: Dataset) -> TrainedOnPart:
    """What records say of a dataset that was learned from."""
    return TrainedOnPart(
        path=dataset.path,
        name=dataset.name,
        split=dataset.split,
        revision=dataset.revision,
        n=dataset.size,
    )
