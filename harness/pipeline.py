"""The order of the steps: data, model, predict, score, record. Nothing else knows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import data, models
from harness.evaluation.journal import cache_folder
from harness.evaluation.predict import Engine
from harness.evaluation.score import Scorer
from harness.evaluation.speed import SpeedMeter
from harness.evaluation.stored import read_stored
from harness.models.base import Adapter, Rendered
from harness.processes import Processes
from harness.results.environment import environment
from harness.results.record import DataPart, Draft, FailurePart, ModelPart, Record, SpeedPart
from harness.results.store import Store
from harness.spec.digest import digest_of
from harness.spec.kinds import KINDS
from harness.spec.load import ResolvedTask
from harness.types import Sample


@dataclass(frozen=True)
class Options:
    """What a command asks for besides the task.

    `limit` is a number of samples; `reuse` false predicts anew what the cache has; `device` is "auto",
    "cpu", "cuda:1", "mps".
    """

    results: Path = Path("results")
    limit: int | None = None
    device: str = "auto"
    offline: bool = False
    reuse: bool = True
    show_progress: bool = True


def run(cells: Sequence[ResolvedTask], options: Options, processes: Processes) -> Iterator[Record]:
    """Evaluate every cell of a task and store its record. Only the main process yields."""
    loaded: dict[str, models.Weights] = {}
    store = Store(options.results)
    if processes.main:
        store.sweep()
    for number, cell in enumerate(cells, start=1):
        started = datetime.now(UTC)
        adapter = _adapter(cell, options, loaded)
        dataset = _dataset(cell, options)
        engine = Engine(
            adapter,
            _context_folder(adapter, cell),
            batch_size=cell.task.run.batch_size,
            workers=cell.task.run.workers,
            processes=processes,
            reuse=options.reuse,
            warm_up=not adapter.weights.device.startswith("cpu"),
            show_progress=options.show_progress,
            label=f" {number} of {len(cells)}" if len(cells) > 1 else "",
        )
        meter, scorer = SpeedMeter(), Scorer(cell.task)
        outcomes = meter.watch(engine.run(dataset))
        if not processes.main:
            list(outcomes)
            continue
        with store.samples_writer(scorer.schema()) as writer:
            for batch in scorer.rows(outcomes):
                writer.write(batch)
        draft = _draft(
            cell,
            scorer,
            started,
            family=adapter.info.family,
            model=_model_part(adapter),
            data=_data_part(cell, dataset, scorer.n, options.limit, engine.fingerprint),
            speed=meter.part(adapter.weights.device),
        )
        yield store.add(draft, writer.path)


def score(cell: ResolvedTask, predictions: Path, options: Options) -> Record:
    """Score stored predictions; no model is loaded, and the dataset only when the file has no targets."""
    started = datetime.now(UTC)
    scorer, store = Scorer(cell.task), Store(options.results)
    stored = read_stored(predictions, lambda: _dataset(cell, options))
    with store.samples_writer(scorer.schema()) as writer:
        for batch in scorer.rows(stored.outcomes()):
            writer.write(batch)
    draft = _draft(
        cell,
        scorer,
        started,
        family="stored",
        model=ModelPart(checkpoint=predictions.name, digest=stored.digest),
        data=_data_part(cell, stored.dataset, scorer.n, options.limit, stored.fingerprint),
        speed=SpeedPart(),
    )
    return store.add(draft, writer.path)


def dry_run(cell: ResolvedTask, options: Options) -> tuple[Sample, Rendered]:
    """The first readable sample as the model would see it; no weights are loaded."""
    adapter = _adapter(cell, options, {})
    window = next(_dataset(cell, options).windows())
    sample = window[0]
    return sample, adapter.render(sample)


def fetch(cells: Sequence[ResolvedTask], options: Options) -> Iterator[tuple[str, int]]:
    """Download what offline runs of these cells need: what was fetched, and its size in bytes."""
    for cell in _distinct(cells):
        task = cell.task
        checkpoint = models.resolve(
            task.model.checkpoint, task.model.revision, base=cell.base, offline=options.offline
        )
        models.check_kind(models.family_of(checkpoint, task.model.family), task.kind)
        yield f"checkpoint {checkpoint.name}", checkpoint.bytes()
        for file in data.fetch(task.data, base=cell.base):
            yield f"data {file.path}", file.bytes


def _distinct(cells: Sequence[ResolvedTask]) -> list[ResolvedTask]:
    """One cell for each checkpoint and dataset."""
    wanted = {
        digest_of(
            [
                cell.task.model.model_dump(mode="json"),
                cell.task.data.model_dump(mode="json", exclude={"options"}),
            ]
        ): cell
        for cell in cells
    }
    return list(wanted.values())


def _adapter(cell: ResolvedTask, options: Options, loaded: dict[str, models.Weights]) -> Adapter:
    """The task's adapter; cells with the same model share its weights."""
    key = digest_of(cell.task.model.model_dump(mode="json"))
    adapter = models.load(
        cell.task.model,
        cell.task.generate,
        cell.task.kind,
        base=cell.base,
        device=options.device,
        offline=options.offline,
        weights=loaded.get(key),
    )
    loaded[key] = adapter.weights
    return adapter


def _dataset(cell: ResolvedTask, options: Options) -> data.Dataset:
    return data.load(
        cell.task.data,
        base=cell.base,
        inputs=KINDS[cell.task.kind].inputs,
        limit=options.limit,
        offline=options.offline,
    )


def _context_folder(adapter: Adapter, cell: ResolvedTask) -> Path:
    """Cache folder of everything that decides outputs besides the sample."""
    from importlib.metadata import version

    context = digest_of(
        {
            "checkpoint": adapter.weights.checkpoint.digest(),
            "family": [adapter.info.family, adapter.info.version],
            "generate": cell.task.generate.model_dump(mode="json"),
            "kind": cell.task.kind,
            "dtype": adapter.weights.dtype,
            "attention": adapter.weights.attention,
            "transformers": version("transformers"),
        }
    )
    return cache_folder() / "predictions" / context[:2] / context


def _model_part(adapter: Adapter) -> ModelPart:
    checkpoint = adapter.weights.checkpoint
    return ModelPart(
        checkpoint=checkpoint.name,
        revision=checkpoint.revision,
        digest=checkpoint.digest(),
        parameters=checkpoint.parameters(),
        dtype=adapter.weights.dtype,
    )


def _data_part(
    cell: ResolvedTask, dataset: data.Dataset | None, n: int, limit: int | None, fingerprint: str
) -> DataPart:
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


def _draft(cell: ResolvedTask, scorer: Scorer, started: datetime, **parts: Any) -> Draft:
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
