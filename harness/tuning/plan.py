"""What a training would do, known before any weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.data.augment import Augmenter
from harness.errors import AdapterError
from harness.models.base import Adapter
from harness.processes import Processes
from harness.results.record import TrainedOnPart
from harness.spec.load import ResolvedTask
from harness.training.method import PartRow, TargetRow, preview
from harness.training.order import micro_batches, number_of_steps
from harness.tuning.lessons import Lessons, train_section
from harness.types import Json


@dataclass(frozen=True)
class TrainingPlan:
    """What a cell trains, on what, for how long.

    A step learns from `batch` samples: each of `processes` processes makes `passes` forward passes.
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
    cell: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def to_json(self) -> Json:
        """All of it as JSON values."""
        values: dict[str, Any] = asdict(self) | {"data": self.data.model_dump(mode="json")}
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


def planned(cell: ResolvedTask, base: Adapter, lessons: Lessons, processes: Processes) -> TrainingPlan:
    """The plan of a cell's training. Raises what `check` does."""
    check(cell, base)
    train, tuning = train_section(cell), _preview(cell, base)
    return TrainingPlan(
        method=train.method,
        parts=tuple(tuning.parts),
        targets=tuple(tuning.targets),
        trainable=tuning.trainable,
        total=tuning.total,
        learning_rate=train.peak_learning_rate,
        steps=number_of_steps(train, lessons.train.size),
        batch=train.batch,
        passes=micro_batches(train.batch, processes.world, train.micro_batch),
        processes=processes.world,
        select_by=lessons.selecting,
        data=lessons.part(),
        cell=dict(cell.cell),
    )


def _preview(cell: ResolvedTask, base: Adapter) -> Any:
    auto_class = getattr(base, "auto_class", None)
    if auto_class is None:
        raise AdapterError(
            f"family '{base.info.family}' can't be fine-tuned",
            "Choose another checkpoint with --model, or leave training out: harness eval.",
        )
    return preview(base.weights, auto_class, base.info, train_section(cell))
