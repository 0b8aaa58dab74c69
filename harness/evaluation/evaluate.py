"""One task with one model: predict, score, store the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from harness.data import Dataset
from harness.data.loading import Purpose
from harness.evaluation.answers import Answers, Engines
from harness.evaluation.journal import cache_folder
from harness.evaluation.score import Scorer
from harness.evaluation.speed import SpeedMeter
from harness.evaluation.usage import UsageMeter
from harness.models.base import Adapter
from harness.processes import Processes
from harness.results.environment import environment, installed
from harness.results.record import DataPart, Draft, FailurePart, ModelPart, Record, TrainPart
from harness.results.store import Store
from harness.spec.digest import digest_of
from harness.spec.kinds import KINDS
from harness.spec.load import ResolvedTask


@dataclass(frozen=True)
class Lineage:
    """Where a fine-tune comes from: the base's run on the same samples, and how it was trained."""

    parent: str | None = None
    train: TrainPart | None = None


@dataclass(frozen=True)
class Evaluator:
    """Evaluates models on tasks, into one results folder.

    `split` opens another split of a task's data, for probes. `limit` is the size of the seeded subset that
    the datasets were loaded with; `reuse` false predicts anew what the cache has.
    """

    store: Store
    processes: Processes
    split: Callable[[ResolvedTask, Purpose], Dataset]
    limit: int | None = None
    reuse: bool = True
    show_progress: bool = True

    def record(
        self,
        cell: ResolvedTask,
        adapter: Adapter,
        dataset: Dataset,
        lineage: Lineage | None = None,
        label: str = "",
    ) -> Record | None:
        """The stored record; None in every process but the main one. `label` is added to progress."""
        started, lineage = datetime.now(UTC), lineage or Lineage()
        engines = self._engines(cell, adapter, dataset, label)
        answers = Answers(cell.task, dataset, engines, partial(self.split, cell))
        speed, usage, scorer = SpeedMeter(), UsageMeter(), Scorer(cell.task)
        outcomes = answers.run(speed, usage)
        if not self.processes.main:
            list(outcomes)
            return None
        with self.store.samples_writer(scorer.schema()) as writer:
            for batch in scorer.rows(outcomes):
                writer.write(batch)
        found = draft(
            cell,
            scorer,
            started,
            family=adapter.info.family,
            model=_model_part(adapter),
            data=data_part(cell, dataset, scorer.n, self.limit, answers.fingerprint),
            speed=speed.part(adapter.weights.device),
            usage=usage.part(cell.task.model.currency),
            parent=lineage.parent,
            train=lineage.train,
        )
        return self.store.add(found, writer.path)

    def _engines(self, cell: ResolvedTask, adapter: Adapter, dataset: Dataset, label: str) -> Engines:
        return Engines(
            adapter,
            _context_folder(adapter, cell, dataset),
            batch_size=cell.task.run.batch_size,
            workers=cell.task.run.workers,
            processes=self.processes,
            reuse=self.reuse,
            warm_up=adapter.weights.warms_up,
            show_progress=self.show_progress,
            label=label,
        )


def draft(cell: ResolvedTask, scorer: Scorer, started: datetime, **parts: Any) -> Draft:
    """What was scored, with the task that asked for it, as a record that has no id yet."""
    metrics = scorer.parts()
    return Draft(
        spec_id=cell.spec_id,
        task=cell.task.name,
        kind=cell.task.kind,
        primary=next(iter(metrics)),
        metrics=metrics,
        failures=FailurePart(
            n=scorer.failures.total(),
            by_type=dict(scorer.failures),
            threshold=cell.task.run.max_failures,
        ),
        environment=environment(),
        params=dict(cell.task.params),
        spec=cell.task.model_dump(mode="json"),
        seed=cell.task.generate.seed,
        started=started,
        ended=datetime.now(UTC),
        **parts,
    )


def data_part(
    cell: ResolvedTask, dataset: Dataset | None, n: int, limit: int | None, fingerprint: str
) -> DataPart:
    """What was scored, as the record has it; `dataset` is None when stored predictions brought targets."""
    spec = cell.task.data
    return DataPart(
        path=spec.path,
        name=spec.name,
        split=dataset.split if dataset else getattr(spec.splits, spec.split) or spec.split,
        revision=dataset.revision if dataset else None,
        n=n,
        limit=limit,
        fingerprint=fingerprint,
    )


def _model_part(adapter: Adapter) -> ModelPart:
    weights = adapter.weights
    return ModelPart(
        checkpoint=weights.checkpoint.name,
        revision=weights.checkpoint.revision,
        digest=weights.digest(),
        adapter=weights.adapter.name if weights.adapter else None,
        parameters=weights.parameters() or None,
        dtype=weights.dtype or None,
    )


def _context_folder(adapter: Adapter, cell: ResolvedTask, dataset: Dataset) -> Path:
    """Cache folder of everything that decides outputs besides the sample."""
    context = digest_of(
        {
            "checkpoint": adapter.weights.digest(),
            "family": [adapter.info.family, adapter.info.version],
            "asked": _asked(cell, dataset),
            "dtype": adapter.weights.dtype,
            "attention": adapter.weights.attention,
            "transformers": installed("transformers"),
            "torchvision": installed("torchvision"),  # where it is, it resizes images, a little differently
        }
    )
    return cache_folder() / "predictions" / context[:2] / context


def _asked(cell: ResolvedTask, dataset: Dataset) -> dict[str, Any]:
    """What the task asks of the model itself. Of embeddings, nothing: they are shared by all tasks."""
    task = cell.task
    match task.mode:
        case "embed":
            return {"mode": task.mode}
        case "classify":
            classes = task.classes.model_dump(mode="json") if task.classes else None
            return {"kind": task.kind, "classes": classes, "names": dataset.class_names}
    if KINDS[task.kind].prompt is None:
        return {"kind": task.kind, "generate": task.generate.model_dump(mode="json")}
    # The words are in each sample's request; how options are weighed afterwards changes nothing that is said.
    choice = task.chooses.model_dump(mode="json", exclude={"normalize"}) if KINDS[task.kind].options else None
    return {"mode": task.mode, "choice": choice, "generate": task.generate.model_dump(mode="json")}
