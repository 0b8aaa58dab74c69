"""What a training would do, known before any weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.data.augment import Augmenter
from harness.errors import AdapterError
from harness.models.base import Adapter
from harness.processes import Processes
from harness.results.record import TrainedOnPart
from harness.spec.load import ResolvedTask
from harness.spec.training import LEARNING_RATES, Train
from harness.training.fine_tune import evaluate_every
from harness.training.method import PartRow, TargetRow, Tuning, preview
from harness.training.order import check_batch, micro_batches, number_of_steps
from harness.tuning.lessons import Lessons, train_section
from harness.types import Json

HIGH_RATE = 1e-3
"""Learning rate above which training all weights is worth a warning."""


@dataclass(frozen=True)
class StagePlan:
    """What one stage trains, on what, for how long; `passes` as in the plan of the whole training."""

    name: str
    parts: Sequence[PartRow]
    trainable: int
    learning_rate: float
    steps: int
    batch: int
    passes: int
    data: TrainedOnPart
    epochs: float | None
    """Passes over its training data; None for a stream."""


@dataclass(frozen=True)
class TrainingPlan:
    """What a cell trains, on what, for how long.

    A step learns from `batch` samples: each of `processes` processes makes `passes` forward passes, two for
    each micro-batch where `cached_gradients` let them share one contrastive loss. Of a training in `stages`
    parts and parameters are those of all of them, `steps` their sum, and everything else is the last one's.
    """

    method: str
    parts: Sequence[PartRow]
    targets: Sequence[TargetRow]
    trainable: int
    total: int
    learning_rate: float
    steps: int
    batch: int
    passes: int
    processes: int
    select_by: str | None
    data: TrainedOnPart
    epochs: float | None
    """Passes over the training data; None for a stream."""
    validation: int | None
    """Samples that choose the best step, after a limit; None for a stream and where none are."""
    evaluate_every: int | None
    """Steps between evaluations; None when nothing is evaluated."""
    save_every: int
    """Steps between checkpoints."""
    augment: Mapping[str, Any]
    """How training data are perturbed."""
    cached_gradients: bool
    """Whether micro-batches are embedded once without and once with gradient."""
    warnings: Sequence[str]
    """What is allowed and hardly ever meant."""
    stages: Sequence[StagePlan] = ()
    """Its stages in order; empty where the task has none."""
    test: int | None = field(default=None, compare=False)
    """Samples that are scored, after a limit; None for a stream."""
    keep: Sequence[str] = field(default=(), compare=False)
    """Names of the checks against forgetting."""
    cell: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def to_json(self) -> Json:
        """All of it as JSON values."""
        values: dict[str, Any] = asdict(self) | {"data": self.data.model_dump(mode="json")}
        values["stages"] = [
            asdict(stage) | {"data": stage.data.model_dump(mode="json")} for stage in self.stages
        ]
        return values


def check(cell: ResolvedTask, base: Adapter) -> None:
    """See whether a cell's training could begin; no weights and no samples are read.

    Raises AdapterError when it doesn't fit the model, would train nothing, or names a tracker that isn't
    there; DataError when its noise isn't.
    """
    from harness.training.trainer import check_trackers

    train = train_section(cell)
    _preview(cell, base)
    check_trackers(train.report_to)
    Augmenter(train.augment, cell.base)


def planned(
    cell: ResolvedTask, base: Adapter, lessons: Lessons, processes: Processes, test: int | None = None
) -> TrainingPlan:
    """The plan of a cell's training; `test` samples are scored.

    Raises what `check` does, and UsageError for a batch that the data can't fill.
    """
    check(cell, base)
    train, tuning = train_section(cell), _preview(cell, base)
    stages = [_stage(name, lessons, tuning, base, processes) for name in lessons.learned]
    last, own = stages[-1], list(train.staged.values())[-1]
    every = evaluate_every(own, last.steps)
    return TrainingPlan(
        method=train.method,
        parts=tuple(tuning.parts),
        targets=tuple(tuning.targets),
        trainable=tuning.trainable,
        total=tuning.total,
        learning_rate=last.learning_rate,
        steps=sum(stage.steps for stage in stages),
        batch=last.batch,
        passes=last.passes,
        processes=processes.world,
        select_by=lessons.selecting,
        data=last.data,
        epochs=last.epochs,
        validation=lessons.validation.size if lessons.validation else None,
        evaluate_every=every if lessons.selecting else None,
        save_every=own.save_every or every,
        augment={key: value for key, value in train.augment.model_dump(mode="json").items() if value},
        cached_gradients=base.coupled and last.passes > 1,
        warnings=tuple(_warnings(train, tuning, stages)),
        stages=tuple(stages) if train.stages else (),
        test=test,
        keep=tuple(keep.name for keep in train.keep),
        cell=dict(cell.cell),
    )


def _stage(name: str, lessons: Lessons, tuning: Tuning, base: Adapter, processes: Processes) -> StagePlan:
    train, size = train_section(lessons.cell).staged[name], lessons.learned[name].size
    check_batch(train.batch, size, distinct=base.coupled)
    parts, steps = (
        micro_batches(train.batch, processes.world, train.micro_batch),
        number_of_steps(train, size),
    )
    rows = tuning.rows(name)
    return StagePlan(
        name=name,
        parts=tuple(rows),
        trainable=sum(row.trained for row in rows),
        learning_rate=train.peak_learning_rate,
        steps=steps,
        batch=train.batch,
        passes=2 * parts if base.coupled and parts > 1 else parts,
        data=lessons.parts()[name],
        epochs=steps * train.batch / size if size else None,
    )


def _warnings(train: Train, tuning: Tuning, stages: Sequence[StagePlan]) -> Iterator[str]:
    """What a training may be told to do, and hardly ever is on purpose."""
    for stage in stages:
        where = f"Stage {stage.name}: " if stage.name else ""
        size = stage.data.n
        if size is not None and stage.batch > size:
            yield f"{where}The batch ({stage.batch}) is larger than the training data ({size} samples)."
        if train.method == "full" and stage.learning_rate > HIGH_RATE:
            rate = f"{stage.learning_rate:g}"
            usual = f"{LEARNING_RATES['full']:g} is the default."
            yield f"{where}A learning rate of {rate} is high for method full: {usual}"
    every, steps = train.evaluate_every, stages[-1].steps
    if every is not None and every > steps and train.select_by != "last":
        yield f"evaluate_every ({every}) exceeds the steps ({steps}): only start and end are scored."
    share = tuning.trainable / max(tuning.total, 1)
    if train.method == "lora" and share > 0.5:
        yield f"LoRA trains {share:.0%} of the parameters: a lower rank or fewer targets are usual."


def _preview(cell: ResolvedTask, base: Adapter) -> Tuning:
    auto_class = getattr(base, "auto_class", None)
    why = ": its weights are on a server" if base.info.hosted else ""
    if auto_class is None:
        raise AdapterError(
            f"family '{base.info.family}' can't be fine-tuned{why}",
            "Choose another checkpoint with --model, or leave training out: harness eval.",
        )
    return preview(base.weights, auto_class, base.info, train_section(cell), base.part_states())
