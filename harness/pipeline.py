"""The order of the steps: data, base, fine-tune, compare, record. Nothing else knows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness import data, models
from harness.data.loading import Purpose
from harness.errors import DataError, HarnessError, SampleError
from harness.evaluation.evaluate import Evaluator, data_part, draft
from harness.evaluation.score import Scorer
from harness.evaluation.stored import read_stored
from harness.models.base import Adapter, Rendered
from harness.outcome import BaselineResult, CellResult, paired
from harness.processes import Processes
from harness.results.record import ModelPart, Record, SpeedPart
from harness.results.store import Store
from harness.spec.digest import digest_of
from harness.spec.load import ResolvedTask, baseline_cells, kept_cells
from harness.spec.training import Keep
from harness.tuning.bases import Bases, with_weights
from harness.tuning.exportable import exported
from harness.tuning.lessons import Lessons, needed_data, open_data
from harness.tuning.made import lineage, trained_model
from harness.types import Sample

if TYPE_CHECKING:
    from harness.training.fine_tune import FineTuned
    from harness.training.parity import Parity
    from harness.tuning.plan import TrainingPlan

DRY_RUN_SAMPLES = 20
"""How many samples a dry run tries to show one of."""
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What a command asks for besides the task.

    `limit` is a number of samples; `train` says whether tasks with a train section are fine-tuned; `adapter`
    is a trained one to score; `reuse` false predicts and trains anew what was done before; `device` is
    "auto", "cpu", "cuda:1", "mps".
    """

    results: Path = Path("results")
    limit: int | None = None
    train: bool = False
    adapter: str | None = None
    device: str = "auto"
    offline: bool = False
    reuse: bool = True
    show_progress: bool = True


@dataclass(frozen=True)
class Part:
    """What is scored of a cell: the task itself, or (`keep`) a check against forgetting."""

    cell: ResolvedTask
    dataset: data.Dataset
    keep: Keep | None = None


def run(cells: Sequence[ResolvedTask], options: Options, processes: Processes) -> Iterator[CellResult]:
    """Score every cell's model and, where that is asked for, its fine-tune. Only the main process yields."""
    bases, steps = _checked_bases(cells, options), _Steps(options, processes)
    beside = _bases(replace(options, adapter=None)) if options.adapter else bases
    for number, cell in enumerate(cells, start=1):
        place = f"{number} of {len(cells)}" if len(cells) > 1 else ""
        wanted = options.train and cell.task.train is not None
        found = (steps.fine_tuned if wanted else steps.scored)(cell, bases.of(cell), place)
        baselines = list(steps.beside(cell, beside, place))
        if found is not None:
            yield replace(found, baselines=baselines)


def train(cells: Sequence[ResolvedTask], options: Options, processes: Processes) -> Iterator[FineTuned]:
    """Fine-tune every cell; nothing is scored but what chooses the best step."""
    from harness.tuning.training import Training

    bases = _checked_bases(cells, options)
    for cell in _to_train(cells, options):
        lessons = Lessons.of(cell, offline=options.offline)
        training = Training.of(lessons, bases.of(cell), options.results, processes)
        yield training.run(processes, reuse=options.reuse, show=options.show_progress)
        training.adapter.weights.release()


class _Steps:
    """What is done with one cell; every method returns None in every process but the main one."""

    def __init__(self, options: Options, processes: Processes) -> None:
        self._options = options
        self._processes = processes
        self._store = Store(options.results)
        if processes.main:
            self._store.sweep()
        self._evaluator = Evaluator(
            self._store, processes, self._split, options.limit, options.reuse, options.show_progress
        )

    def scored(self, cell: ResolvedTask, model: Adapter, place: str) -> CellResult | None:
        """Score the model as it is."""
        records = self._score([Part(cell, _dataset(cell, self._options))], model, place)
        return CellResult(cell, records[0]) if self._processes.main else None

    def fine_tuned(self, cell: ResolvedTask, base: Adapter, place: str) -> CellResult | None:
        """Score the base, fine-tune it, score that, compare."""
        lessons, parts = Lessons.of(cell, offline=self._options.offline), _parts(cell, self._options)
        before = self._score(parts, base, f"{place} base")
        parents = self._processes.share([record.run_id for record in before])
        base.weights.release()
        made = self._train(lessons, base, parents[0])
        tuned = trained_model(cell, base, made.folder)
        after = self._score(parts, tuned, f"{place} fine-tune", parents)
        tuned.weights.release()
        return self._compared(parts, before, after, made) if self._processes.main else None

    def beside(self, cell: ResolvedTask, bases: Bases, place: str) -> Iterator[BaselineResult]:
        """Score the cell's baselines; one that can't be scored is said, and costs nothing that was."""
        for baseline, inner in baseline_cells(cell):
            try:
                part = Part(inner, _dataset(inner, self._options))
                records = self._score([part], bases.of(inner), f"{place} {baseline.name}")
            except HarnessError as error:
                if self._processes.world > 1:  # the others may be waiting for this one
                    raise
                yield BaselineResult(baseline.name, error=error)
            else:
                yield BaselineResult(baseline.name, records[0] if records else None)

    def _train(self, lessons: Lessons, base: Adapter, parent: str) -> FineTuned:
        from harness.tuning.training import Training

        options, processes = self._options, self._processes
        show = options.show_progress
        training = Training.of(lessons, base, options.results, processes, parent, show=show)
        made = training.run(processes, reuse=options.reuse, show=show)
        training.adapter.weights.release()
        return made

    def _score(
        self, parts: Sequence[Part], model: Adapter, place: str, parents: Sequence[str] = ()
    ) -> list[Record]:
        """Records of a model on all parts; `parents` are the runs of its base on them."""
        found = []
        for number, part in enumerate(parts):
            own = lineage(part.cell, model, self._store, self._options.limit)
            own = replace(own, parent=parents[number]) if parents else own
            label = _label(f"{place}, {part.keep.name}" if part.keep else place)
            adapter = with_weights(part.cell, model.weights, part.dataset.class_names)
            found.append(self._evaluator.record(part.cell, adapter, part.dataset, own, label))
        return [record for record in found if record is not None]

    def _split(self, cell: ResolvedTask, purpose: Purpose) -> data.Dataset:
        """All of another split of a cell's data, as it is: limits and corruption are for what is scored."""
        section = cell.task.data.model_copy(update={"corrupt": None})
        return open_data(cell, section, split=purpose, offline=self._options.offline)

    def _compared(
        self, parts: Sequence[Part], before: Sequence[Record], after: Sequence[Record], made: FineTuned
    ) -> CellResult:
        pairs = [paired(self._store, *records) for records in zip(before, after, strict=True)]
        kept = [pair.check(part.keep) for part, pair in zip(parts, pairs, strict=True) if part.keep]
        return CellResult(parts[0].cell, before[0], made, pairs[0], kept)


def score(cell: ResolvedTask, predictions: Path, options: Options) -> Record:
    """Score stored predictions; no model is loaded, and the dataset only when the file has no targets."""
    started = datetime.now(UTC)
    scorer, store = Scorer(cell.task), Store(options.results)
    stored = read_stored(predictions, cell.task, lambda: _dataset(cell, options))
    with store.samples_writer(scorer.schema()) as writer:
        for batch in scorer.rows(stored.outcomes()):
            writer.write(batch)
    found = draft(
        cell,
        scorer,
        started,
        family="stored",
        model=ModelPart(checkpoint=predictions.name, digest=stored.digest),
        data=data_part(cell, stored.dataset, scorer.n, options.limit, stored.fingerprint),
        speed=SpeedPart(),
    )
    return store.add(found, writer.path)


def dry_run(cell: ResolvedTask, options: Options) -> tuple[Sample, Rendered]:
    """The first readable sample as the model would see it; no weights are loaded.

    Its notes say why the one before it can't be shown. Raises DataError when none of the first can.
    """
    dataset = _dataset(cell, options)
    adapter = with_weights(cell, _bases(options).of(cell).weights, dataset.class_names)
    window = next(dataset.windows())
    why = ""
    for place in range(min(len(window), DRY_RUN_SAMPLES)):
        try:
            sample = window[place]
            rendered = adapter.render(sample)
        except SampleError as error:
            why = f"'{window.ids[place]}': {type(error).__name__}: {error}"
            continue
        return sample, replace(rendered, notes={**rendered.notes, **({"left out": why} if why else {})})
    raise DataError(
        f"none of the first {place + 1} samples can be shown; {why}", "Does the task fit the data?"
    )


def plans(cells: Sequence[ResolvedTask], options: Options, processes: Processes) -> Iterator[TrainingPlan]:
    """What the cells would train, each different training once; no weights are loaded.

    Raises AdapterError when nothing would be trained, or when a part or a target isn't in the network.
    """
    from harness.tuning.plan import planned

    bases = _bases(options)
    seen: list[TrainingPlan] = []
    for cell in _to_train(cells, options):
        lessons = Lessons.of(cell, offline=options.offline)
        plan = planned(cell, bases.of(cell), lessons, processes, _dataset(cell, options).size)
        if plan not in seen:
            seen.append(plan)
            yield plan


def fetch(cells: Sequence[ResolvedTask], options: Options) -> Iterator[tuple[str, int]]:
    """Download what offline runs of these cells need: what was fetched, and its size in bytes."""
    beside = [inner for cell in cells for _, inner in baseline_cells(cell)]
    for cell in _distinct([*cells, *beside], lambda cell: cell.task.model.model_dump(mode="json")):
        model = cell.task.model
        if models.is_hosted(model):
            yield f"{model.checkpoint} at {models.Endpoint.of(model).base_url} (nothing to download)", 0
            continue
        checkpoint = models.resolve(model.checkpoint, model.revision, base=cell.base, offline=options.offline)
        models.check_kind(models.family_of(checkpoint, model.family), cell.task.kind, cell.task.mode)
        yield f"checkpoint {checkpoint.name}", checkpoint.bytes()
    if options.adapter is not None:
        adapter = models.resolve_adapter(options.adapter, base=Path.cwd(), offline=options.offline)
        yield f"adapter {adapter.name}", sum(path.stat().st_size for path in adapter.folder.iterdir())
    needs = [need for cell in cells for need in needed_data(cell, training=options.train)]
    needs += [need for cell in beside for need in needed_data(cell, training=False)]
    for need in _distinct(needs, lambda need: need.to_json()):
        for file in data.fetch(need.section, base=need.base, classes=need.classes, split=need.split):
            yield f"data {file.path}", file.bytes


def needs_server(cells: Sequence[ResolvedTask]) -> bool:
    """Whether a model of these cells runs on a server, which an offline run can't ask."""
    beside = [inner for cell in cells for _, inner in baseline_cells(cell)]
    return any(models.is_hosted(cell.task.model) for cell in (*cells, *beside))


def export(
    name: str, out: Path, dtype: str, options: Options, model: str | None, share: float = 1.0
) -> Parity:
    """Write a fine-tune as a checkpoint of its own in the folder `out`: an adapter merged into its base, or
    into `model`; and, with a `share` below one, that much of the way from the base's weights (WiSE-FT).

    Raises AdapterError where exporting would change what the model says.
    """
    return exported(name, out, dtype, share, device=options.device, offline=options.offline, model=model)


def _bases(options: Options) -> Bases:
    return Bases(device=options.device, offline=options.offline, adapter=options.adapter)


def _checked_bases(cells: Sequence[ResolvedTask], options: Options) -> Bases:
    """The cells' models. Raises AdapterError for a training that doesn't fit, before any of them begins."""
    bases = _bases(options)
    for cell in _to_train(cells, options):
        from harness.tuning.plan import check

        check(cell, bases.of(cell))
    return bases


def _to_train(cells: Sequence[ResolvedTask], options: Options) -> list[ResolvedTask]:
    return [cell for cell in cells if options.train and cell.task.train is not None]


def _parts(cell: ResolvedTask, options: Options) -> list[Part]:
    kept = [Part(inner, _dataset(inner, options), keep) for keep, inner in kept_cells(cell)]
    return [Part(cell, _dataset(cell, options)), *kept]


def _dataset(cell: ResolvedTask, options: Options) -> data.Dataset:
    return open_data(cell, cell.task.data, limit=options.limit, offline=options.offline)


def _label(place: str) -> str:
    """What the progress of an evaluation says besides."""
    return f" ({place.strip()})" if place.strip() else ""


def _distinct(things: Iterable[T], meaning: Callable[[T], Any]) -> list[T]:
    """The first of those that mean the same."""
    found: dict[str, T] = {}
    for thing in things:
        found.setdefault(digest_of(meaning(thing)), thing)
    return list(found.values())
