"""What a person reads of a fine-tuning: base against fine-tune."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.evaluation.compare import Comparison
from harness.evaluation.kept import KeptCheck
from harness.evaluation.worst import costliest_text
from harness.models.trained import ADAPTER_CONFIG
from harness.outcome import CellResult, Pair
from harness.report import (
    cell_text,
    counted,
    failures_text,
    legend,
    metric_name,
    score_texts,
    stage_text,
)
from harness.results.record import MetricPart, plain
from harness.results.store import SHORT_LENGTH, Store
from harness.spec.resolve import worded

if TYPE_CHECKING:
    from harness.training.fine_tune import FineTuned

CURVE = "curve.png"
STYLES = {"better": "green", "kept": "green", "worse": "red", "worse than allowed": "red"}
LISTED_LEFT_OUT = 5


@dataclass(frozen=True)
class Asked:
    """How the command named what it ran: the task, its --set and its --model."""

    task: str
    settings: Sequence[str] = ()
    model: str | None = None

    def words(self, result: CellResult, *, model: str | None) -> list[str]:
        """Arguments that name one of its cells, with this model."""
        cell = [
            f"{name}={'null' if value is None else worded(value)}" for name, value in result.cell.cell.items()
        ]
        settings = [word for text in (*self.settings, *cell) for word in ("--set", text)]
        return [self.task, *settings, *(["--model", model] if model else [])]


def tuned_report(results: Sequence[CellResult], store: Store) -> RenderableType:
    """The table of all cells, then what each one means and where it is."""
    parts: list[RenderableType] = [tuned_table(results), *legend([result.record for result in results])]
    for result in results:
        parts += _in_words(result)
    chosen = best(results)
    if chosen.pair is not None:
        tuned = chosen.pair.tuned
        parts += costliest_text(tuned, store.samples(tuned.run_id), cell_text(chosen.cell.cell))
    parts += [line for result in results for line in _failures(result, store)]
    return Group(*parts, *_recorded(results, store))


def best(results: Sequence[CellResult]) -> CellResult:
    """The cell whose fine-tune has the best score by the first metric."""
    return ranked(results)[0]


def ranked(results: Sequence[CellResult]) -> list[CellResult]:
    """The cells that have a fine-tune, the best score by the first metric first."""
    tuned = [result for result in results if result.pair is not None]

    def badness(result: CellResult) -> float:
        record = result.records[-1]
        part = record.metrics[record.primary]
        value = math.inf if part.value is None else part.value
        return -value if part.higher_is_better and part.value is not None else value

    return sorted(tuned, key=badness)


def tuned_table(results: Sequence[CellResult]) -> Table:
    """Base and fine-tune side by side: a line per cell and metric, then its checks against forgetting, then
    its baselines, which have one score each. Names stand above their metrics: beside them 80 columns are
    too few."""
    record = results[0].record
    named = len(results) > 1 or any(result.kept or result.baselines for result in results)
    title = escape(f"{record.task}: {record.model.checkpoint}")
    table = Table(title=title, title_justify="left")
    table.add_column("metric", overflow="fold")
    for heading in ("base", "fine-tune", "difference, p"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        for row in _rows(result, named=named):
            table.add_row(*row)
        table.add_section()
        for row in _baseline_rows(result):
            table.add_row(*row)
        table.add_section()
    return table


def _rows(result: CellResult, *, named: bool) -> Iterator[tuple[RenderableType, ...]]:
    if result.pair is None:
        return
    if named:
        yield (Text(cell_text(result.cell.cell) or result.record.task.rpartition("/")[2], "bold"),)
    for metric in result.record.metrics:
        label, *figures = _figures(result.pair, metric)
        yield _below(label) if named else label, *figures
    for check in result.kept:
        verdict = (check.verdict, STYLES.get(check.verdict, "yellow"))
        yield (Text.assemble((f"{check.keep.name}: ", "bold"), verdict),)
        pair = Pair(check.base, check.tuned, {}, check.refusal)
        label, *figures = _figures(pair, check.base.primary, check.comparison)
        yield _below(label), *figures


def _baseline_rows(result: CellResult) -> Iterator[tuple[RenderableType, ...]]:
    for baseline in result.baselines:
        if baseline.record is None:
            continue
        yield (Text(f"baseline: {baseline.name}", "bold"),)
        for metric, part in baseline.record.metrics.items():
            yield _below(metric_name(metric, part)), _score(part)


def _below(label: str) -> RenderableType:
    """A metric below its name; the interval leaves a second line for a long one."""
    return Padding(label, (0, 0, 0, 2))


def _figures(pair: Pair, metric: str, comparison: Comparison | None = None) -> tuple[str, Text, Text, Text]:
    parts = [record.metrics[metric] for record in (pair.base, pair.tuned)]
    found = comparison or pair.comparisons.get(metric)
    return metric_name(metric, parts[0]), _score(parts[0]), _score(parts[1]), _difference(found)


def _score(metric: MetricPart) -> Text:
    value, bounds = score_texts(metric)
    return Text(f"{value}\n{bounds}")


def _difference(found: Comparison | None) -> Text:
    """The paired difference with its p, its interval below."""
    if found is None:
        return Text("not compared")
    if found.ci95 is None or found.p is None:
        return Text(f"{found.difference:+.2f}\nno interval")
    low, high = found.ci95
    style = STYLES.get(found.verdict, "")
    return Text(f"{found.difference:+.2f}, {found.p:.3f}\n{low:+.2f} to {high:+.2f}", style=style)


def _in_words(result: CellResult) -> Iterator[RenderableType]:
    """The verdicts as sentences, then how it was trained and where it is."""
    if result.pair is None or result.made is None:
        return
    cell = cell_text(result.cell.cell)
    yield Text(f"\n{cell}" if cell else "", style="bold")
    yield Text(_verdict(result.pair), style="bold")
    for check in result.kept:
        yield Text(_kept_sentence(check))
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name, value in _facts(result):
        facts.add_row(name, Text(value, overflow="fold"))
    yield facts


def _verdict(pair: Pair) -> str:
    if pair.deciding is not None:
        return pair.deciding.sentence
    return f"Base and fine-tune can't be compared: {pair.refusal}"


def _kept_sentence(check: KeptCheck) -> str:
    """What a check against forgetting found, in words."""
    found = check.comparison
    if found is None or check.worse is None:
        return f"{check.keep.name}: not certain, because they can't be compared: {check.refusal}"
    unit = " points" if found.unit == "%" else ""
    change = f"{abs(check.worse):.2f}{unit} {'worse' if check.worse > 0 else 'better'}"
    change = change if check.worse else "did not change"
    upper = check.at_most
    bound = "no interval" if upper is None else f"95% interval up to {max(upper, 0):.2f} worse"
    allowed = f"{check.keep.tolerance:.2f} is allowed"
    return f"{check.keep.name}: {check.verdict}. {found.metric} {change} ({bound}; {allowed})."


def _facts(result: CellResult) -> Iterator[tuple[str, str]]:
    made = result.made
    assert made is not None
    yield "trained", f"{made.method}: {share(made.trainable, made.total)}"
    for stage in made.stages:
        yield f"  {stage.name}", stage_text(stage)
    yield "training", _steps_text(made)
    if made.left_out:
        yield "left out", _left_out_text(made)
    yield "adapter" if is_adapter(made.folder) else "checkpoint", str(made.folder)
    yield "curve", str(made.folder / CURVE)


def _steps_text(made: FineTuned) -> str:
    chosen = f", best at {made.best_step}" if made.scores else ", the last one kept"
    start = sum(stage.steps for stage in made.stages[:-1])
    if made.scores and made.best_step == start:
        chosen = f", none better than the start{' of the last stage' if made.stages else ''}"
    when = ", trained before" if made.reused else ""
    went_on = f", interrupted at {made.resumed_from}" if made.resumed_from is not None else ""
    return f"{counted(made.steps, 'step')} in {made.seconds:.0f} s{chosen}{went_on}{when}"


def _left_out_text(made: FineTuned) -> str:
    ids = ", ".join(list(made.left_out)[:LISTED_LEFT_OUT])
    more = ", ..." if len(made.left_out) > LISTED_LEFT_OUT else ""
    return f"{counted(len(made.left_out), 'training sample')} that could not be used: {ids}{more}"


def is_adapter(folder: Path) -> bool:
    """Whether a fine-tune is an adapter, and not a whole checkpoint."""
    return (folder / ADAPTER_CONFIG).is_file()


def _failures(result: CellResult, store: Store) -> Iterator[RenderableType]:
    for record in result.all_records:
        yield from failures_text(record, store)


def _recorded(results: Sequence[CellResult], store: Store) -> Iterable[RenderableType]:
    yield Text(f"\nRecorded in {store.root}/ (records in runs/, every sample in samples/):", style="bold")
    for result in results:
        if result.pair is not None:
            base, tuned = (record.run_id[:SHORT_LENGTH] for record in (result.pair.base, result.pair.tuned))
            cell = cell_text(result.cell.cell)
            yield Text(f"  {base} base, {tuned} fine-tune  {cell}".rstrip())
        for baseline in result.baselines:
            if baseline.record is not None:
                yield Text(f"  {baseline.record.run_id[:SHORT_LENGTH]} {baseline.name}")


def compare_best(results: Sequence[CellResult]) -> list[str]:
    """The command that compares the two best fine-tunes of a matrix; none where there is only one."""
    tuned = ranked(results)[:2]
    ids = [result.records[-1].run_id[:SHORT_LENGTH] for result in reversed(tuned)]
    return [shlex.join(["harness", "compare", *ids])] if len(set(ids)) > 1 else []


def next_commands(result: CellResult, asked: Asked) -> list[str]:
    """The commands that go on from a fine-tuned cell."""
    made, pair = result.made, result.pair
    if made is None or pair is None:
        return []
    ids = [record.run_id[:SHORT_LENGTH] for record in (pair.base, pair.tuned)]
    commands = [["compare", *ids]]
    if is_adapter(made.folder):
        words = asked.words(result, model=asked.model)
        commands += [["eval", *words, "--adapter", str(made.folder)]]
        commands += [["export", str(made.folder), "--out", "DIR"]]
    else:
        # A path that begins with dots would be read from the task file's folder.
        folder = made.folder.resolve() if str(made.folder).startswith(".") else made.folder
        commands += [["eval", *asked.words(result, model=str(folder))]]
    return [shlex.join(["harness", *words]) for words in commands]


def made_text(made: FineTuned) -> str:
    """What `harness train` says of a training."""
    scores = ", ".join(f"{name} {value:.2f}" for name, value in made.scores.items())
    validation = f"; on the validation split {scores}" if scores else ""
    stages = "".join(f"\n{stage.name}: {stage_text(stage)}" for stage in made.stages)
    left_out = f"\nleft out: {_left_out_text(made)}" if made.left_out else ""
    whole = f"{made.method}: {share(made.trainable, made.total)}, {_steps_text(made)}{validation}"
    return f"{whole}{stages}{left_out}"


def made_json(made: FineTuned) -> dict[str, Any]:
    """A training as `harness train --json` has it."""
    train = {
        "method": made.method,
        "steps": made.steps,
        "best_step": made.best_step,
        "seconds": made.seconds,
        "trainable_parameters": made.trainable,
        "total_parameters": made.total,
        "scores": dict(made.scores),
        "curve": [{"step": step, **scores} for step, scores in made.curve.scores],
        "left_out": dict(made.left_out),
        **({"stages": [stage.model_dump(mode="json") for stage in made.stages]} if made.stages else {}),
        "resumed_from": made.resumed_from,
        "reused": made.reused,
    }
    return {"adapter": str(made.folder), "train": plain(train)}


def share(trainable: int, total: int) -> str:
    """How many of all parameters are trained, in words."""
    return f"{trainable:,} of {total:,} parameters ({trainable / max(total, 1):.1%})"
