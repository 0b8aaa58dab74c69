"""One task with one model: predict, score, store the record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.data import Dataset
from harness.evaluation.journal import cache_folder
from harness.evaluation.predict import Engine
from harness.evaluation.score import Scorer
from harness.evaluation.speed import SpeedMeter
from harness.models.base import Adapter
from harness.processes import Processes
from harness.results.environment import environment
from harness.results.record import DataPart, Draft, FailurePart, ModelPart, Record, TrainPart
from harness.results.store import Store
from harness.spec.digest import digest_of
from harness.spec.load import ResolvedTask


@dataclass(frozen=True)
class Lineage:
    """Where a fine-tune comes from: the base's run on the same samples, and how it was trained."""

    parent: str | None = None
    train: TrainPart | None = None


@dataclass(frozen=True)
class Evaluator:
    """Evaluates models on tasks, into one results folder.

    `limit` is the size of the seeded subset that the datasets were loaded with; `reuse` false predicts anew
    what the cache has.
    """

    store: Store
    processes: Processes
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
        engine = self._engine(cell, adapter, label)
        meter, scorer = SpeedMeter(), Scorer(cell.task)
        outcomes = meter.watch(engine.run(dataset))
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
            data=data_part(cell, dataset, scorer.n, self.limit, engine.fingerprint),
            speed=meter.part(adapter.weights.device),
            parent=lineage.parent,
            train=lineage.train,
        )
        return self.store.add(found, writer.path)

    def _engine(self, cell: ResolvedTask, adapter: Adapter, label: str) -> Engine:
        return Engine(
            adapter,
            _context_folder(adapter, cell),
            batch_size=cell.task.run.batch_size,
            workers=cell.task.run.workers,
            processes=self.processes,
            reuse=self.reuse,
            warm_up=not adapter.weights.device.startswith("cpu"),
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
        parameters=weights.parameters(),
        dtype=weights.dtype,
    )


def _context_folder(adapter: Adapter, cell: ResolvedTask) -> Path:
    """Cache folder of everything that decides outputs besides the sample."""
    from importlib.metadata import version

    context = digest_of(
        {
            "checkpoint": adapter.weights.digest(),
            "family": [adapter.info.family, adapter.info.version],
            "generate": cell.task.generate.model_dump(mode="json"),
            "kind": cell.task.kind,
            "dtype": adapter.weights.dtype,
            "attention": adapter.weights.attention,
            "transformers": version("transformers"),
        }
    )
    return cache_folder() / "predictions" / context[:2] / context
