"""What a training learns from, and what its best step is chosen on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import data
from harness.data.augment import Augmenter
from harness.data.fingerprint import fingerprint
from harness.data.loading import Purpose
from harness.errors import DataError
from harness.progress import progress
from harness.results.record import TrainedOnPart
from harness.spec.classes import Classes
from harness.spec.kinds import KINDS
from harness.spec.load import ResolvedTask, baseline_cells, kept_cells
from harness.spec.schema import Data
from harness.spec.training import Train
from harness.spec.training_data import probe_splits, selecting_metric, training_data, validation_data
from harness.training.stages import trained_on
from harness.types import Json


@dataclass(frozen=True)
class Lessons:
    """The datasets of one training: `learned` has that of each stage by its name, "" where there are none;
    `validation` is None when the last step is kept."""

    cell: ResolvedTask
    learned: Mapping[str, data.Dataset]
    validation: data.Dataset | None

    @classmethod
    def of(cls, cell: ResolvedTask, *, offline: bool) -> Lessons:
        """Found and checked. Raises DataError when a split or a column isn't there, RemoteError."""
        train = train_section(cell)
        chosen_on = validation_data(cell.task) if selecting_metric(cell.task) else None
        limits = {name: own.limit for name, own in train.staged.items()}
        learned = {
            name: open_data(cell, section, split="train", limit=limits[name], offline=offline)
            for name, section in training_data(cell.task).items()
        }
        if chosen_on is None:
            return cls(cell, learned, None)
        try:
            limit = train.validation_limit
            validation = open_data(cell, chosen_on, split="validation", limit=limit, offline=offline)
        except DataError as error:
            choice = "The best step is chosen on it: name another under data.splits.validation, or keep the"
            error.hint = f"{error.hint} {choice} last step with train.select_by: last.".strip()
            raise
        return cls(cell, learned, validation)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The classes that are learned, where anything lists them: the last stage's, before others'."""
        datasets = [*reversed([*self.learned.values()]), *([self.validation] if self.validation else [])]
        return next((dataset.class_names for dataset in datasets if dataset.class_names is not None), None)

    def fingerprints(self, *, show: bool) -> dict[str, str]:
        """What tells these data from others: a digest or a commit of each."""
        found = {}
        for purpose, dataset in self._by_purpose().items():
            with progress(f"Looking at {purpose} samples", dataset.size, show=show) as bar:
                found[purpose] = fingerprint(dataset, self.cell.task.run.workers, bar)
        # A commit names a whole repository; only digests of the rows themselves tell splits apart.
        for purpose, dataset in self._by_purpose().items():
            if dataset is self.validation or dataset.revision is not None:
                continue
            if found[purpose] == found.get("validation"):
                raise DataError(
                    f"the {purpose} samples and the validation samples are the same",
                    "A file given by its own path serves every split: use a folder with train.jsonl, "
                    "validation.jsonl and test.jsonl, or name the splits under data.splits.",
                )
        noise = Augmenter(train_section(self.cell).augment, self.cell.base).fingerprint()
        return found | ({"noise": noise} if noise else {})

    def _by_purpose(self) -> dict[str, data.Dataset]:
        stages = enumerate(self.learned.items(), start=1)
        found = {f"stage {number} training" if name else "training": own for number, (name, own) in stages}
        return found | ({"validation": self.validation} if self.validation else {})

    @property
    def selecting(self) -> str | None:
        """The metric that chooses the best step; None when the last one is kept."""
        return selecting_metric(self.cell.task)

    def parts(self) -> dict[str, TrainedOnPart]:
        """What each stage learned from, by its name, as records have it."""
        return {name: trained_on(dataset) for name, dataset in self.learned.items()}

    def part(self) -> TrainedOnPart:
        """What the last stage learned from."""
        return list(self.parts().values())[-1]


@dataclass(frozen=True)
class Need:
    """A split that a cell reads."""

    section: Data
    split: Purpose
    base: Path
    classes: Classes | None = None

    def to_json(self) -> Json:
        """What is asked for: the same for the same."""
        classes = self.classes.model_dump(mode="json") if self.classes else None
        return [self.section.model_dump(mode="json"), self.split, classes]


def needed_data(cell: ResolvedTask, *, training: bool) -> Iterator[Need]:
    """What a run of the cell reads: what is scored, what its baselines learn from and, with `training`, what
    the training learns from and keeps."""
    task = cell.task
    yield Need(task.data, task.data.split, cell.base, task.classes)
    for purpose in probe_splits(task):
        yield Need(task.data, purpose, cell.base, task.classes)
    for _, beside in baseline_cells(cell):
        yield from needed_data(beside, training=False)
    if not training or task.train is None:
        return
    for section in training_data(task).values():
        yield Need(section, "train", cell.base, task.classes)
    chosen_on = validation_data(task) if selecting_metric(task) else None
    if chosen_on is not None:
        yield Need(chosen_on, "validation", cell.base, task.classes)
    for _, kept in kept_cells(cell):
        yield from needed_data(kept, training=False)


def train_section(cell: ResolvedTask) -> Train:
    """The train section of a task that has one."""
    assert cell.task.train is not None
    return cell.task.train


def open_data(
    cell: ResolvedTask,
    section: Data,
    *,
    split: Purpose | None = None,
    limit: int | None = None,
    offline: bool = False,
) -> data.Dataset:
    """A split of a data section (the cell's own, or one that it learns from), read as its kind needs it."""
    return data.load(
        section,
        base=cell.base,
        inputs=KINDS[cell.task.kind].columns(section.columns),
        kind=cell.task.kind,
        classes=cell.task.classes,
        split=split,
        limit=limit,
        offline=offline,
    )
