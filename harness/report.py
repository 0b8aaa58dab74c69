"""What a person reads in the terminal after a run: scores, failures, where everything is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.evaluation.forms import form_of
from harness.evaluation.per_class import per_class
from harness.evaluation.per_class_table import per_class_text
from harness.evaluation.statistics import MIN_CLUSTERS
from harness.evaluation.trained import chosen
from harness.evaluation.worst import costliest_text
from harness.metrics.names import in_words
from harness.models.base import Rendered
from harness.outcome import Shown
from harness.results.record import MetricPart, Record, TrainPart, TrainStagePart, UsagePart
from harness.results.store import SHORT_LENGTH, Store
from harness.spec.kinds import KINDS
from harness.spec.resolve import worded
from harness.types import Sample

LISTED_FAILURES = 10
OF_SPEECH = ("language", "task", "timestamps", "suppress_tokens")
"""Settings of `generate` that mean nothing to a model that is asked in words."""


def console() -> Console:
    """Standard output; 80 columns wide when it isn't a terminal."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=max(80, terminal.width))


def run_report(runs: Sequence[Shown], store: Store) -> RenderableType:
    """The table of runs, the costliest samples of the worst model's, failures, and what to do next."""
    records = [run.record for run in runs]
    own = [run for run in runs if not run.beside]
    worst = max(own, key=lambda run: _badness(run.record))
    samples = store.samples(worst.record.run_id)
    parts: list[RenderableType] = [score_table(runs), *legend([run.record for run in own])]
    parts += costliest_text(worst.record, samples, cell_text(worst.cell))
    parts += [Text(f"Asked: {usage_text(record.usage)}") for record in records if record.usage]
    parts += [line for record in records for line in failures_text(record, store)]
    return Group(*parts, *_where(runs, store, own[-1].record))


def score_table(runs: Sequence[Shown]) -> Table:
    """One line per run and metric: the run's cell, score, 95% interval, samples, speed."""
    names = list(dict.fromkeys(name for run in runs for name in run.cell))
    models = dict.fromkeys(_model_name(run.record) for run in runs if not run.beside)
    table = Table(title=escape(f"{runs[0].record.task}: {', '.join(models)}"), title_justify="left")
    for heading in (*names, "metric"):
        table.add_column(heading, overflow="fold")
    for heading in ("score", "95% interval", "samples"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("speed", justify="right", overflow="fold")
    for shown in runs:
        record = shown.record
        run, speed = [plain(shown.cell.get(name, "")) for name in names], speed_text(record)
        for key, metric in record.metrics.items():
            scores = score_texts(metric)
            table.add_row(*run, metric_name(key, metric), *scores, scored_text(record, metric), speed)
            run, speed = [""] * len(names), ""
        table.add_section()
    return table


def _model_name(record: Record) -> str:
    return " + ".join(filter(None, (record.model.checkpoint, record.model.adapter)))


def metric_name(key: str, metric: MetricPart) -> str:
    """The metric with its direction and unit: WER ↓%."""
    return f"{escape(in_words(key))} {'↑' if metric.higher_is_better else '↓'}{metric.unit}"


def legend(records: Sequence[Record]) -> Iterable[RenderableType]:
    """What the table's numbers rest on, and warnings where that is little."""
    clusters = [record.metrics[record.primary].clusters for record in records]
    low, high = min(clusters), max(clusters)
    many = f"{low}" if low == high else f"{low} to {high}"
    noun = "group" if many == "1" else "groups"
    limit = records[0].data.limit
    subset = f" A seeded subset: --limit {limit}." if limit else ""
    yield Text(f"↓ lower is better, ↑ higher. Intervals: bootstrap over {many} {noun}.{subset}")
    if low < MIN_CLUSTERS:
        message = f"Fewer than {MIN_CLUSTERS} groups: too few for an interval to be trusted."
        yield Text(message, style="yellow")


def plain(value: Any) -> str:
    """A parameter's value as a person writes it."""
    return escape(worded(value))


def score_texts(metric: MetricPart) -> tuple[str, str]:
    """The score and the bounds of its interval."""
    value = "undefined" if metric.value is None else f"{metric.value:.2f}"
    bounds = f"{metric.ci95[0]:.2f} to {metric.ci95[1]:.2f}" if metric.ci95 else "none"
    return value, bounds


def scored_text(record: Record, metric: MetricPart) -> str:
    """How many samples the score is made of, and of how many when some weren't scored."""
    return str(metric.n) if metric.n == record.data.n else f"{metric.n} of {record.data.n}"


def speed_text(record: Record) -> str:
    """Audio seconds per second where there is audio, else samples per second."""
    speed = record.speed
    if speed.rtfx is not None:
        return f"RTFx {speed.rtfx:.0f}" if speed.rtfx >= 10 else f"RTFx {speed.rtfx:.1f}"
    if (each := speed.samples_per_second) is not None:
        return f"{each:,.0f} samples/s" if each >= 100 else f"{each:.1f} samples/s"
    return "from cache" if record.family != "stored" else "stored"


def usage_text(part: UsagePart) -> str:
    """What was asked of a server, and what it cost."""
    retried = f" ({counted(part.retries, 'retry', 'retries')})" if part.retries else ""
    tokens = f"{part.input_tokens:,} tokens in, {part.output_tokens:,} out"
    cost = "" if part.cost is None else f", {part.cost:.4f} {part.currency}"
    asked = f"{counted(part.requests, 'request')}{retried}, {tokens}{cost}"
    cached = f"{counted(part.cached, 'answer')} from the cache" if part.cached else ""
    return "; ".join(filter(None, (asked if part.requests else "", cached)))


def failures_text(record: Record, store: Store) -> Iterable[RenderableType]:
    """The failed samples, the first ten by name."""
    if not record.failures.n:
        return
    share = record.failures.n / record.data.n
    yield Text(f"\n{record.failures.n} of {record.data.n} samples failed ({share:.1%}):", style="bold red")
    rows = store.samples(record.run_id).select(["id", "error"]).to_pylist()
    failed = [row for row in rows if row["error"]]
    for row in failed[:LISTED_FAILURES]:
        yield Padding(Text(f"{row['id']}  {row['error']}"), (0, 0, 0, 2), expand=False)
    if len(failed) > LISTED_FAILURES:
        yield Text(f"  ... and {len(failed) - LISTED_FAILURES} more in {store.samples_path(record.run_id)}")


def _where(runs: Sequence[Shown], store: Store, last: Record) -> Iterable[RenderableType]:
    yield Text(f"\nRecorded in {store.root}/ (records in runs/, every sample in samples/):", style="bold")
    for run in runs:
        yield Text(f"  {run.record.run_id[:SHORT_LENGTH]}  {cell_text(run.cell)}".rstrip())
    yield Text(f"Look closer: harness show {last.run_id[:SHORT_LENGTH]}")
    yield Text(f"Compare:     harness compare {last.run_id[:SHORT_LENGTH]} OTHER_RUN")


def _badness(record: Record) -> float:
    part = record.metrics[record.primary]
    if part.value is None:
        return float("-inf")
    return -part.value if part.higher_is_better else part.value


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun in singular or plural."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def cell_text(cell: Mapping[str, Any]) -> str:
    """A matrix's cell in words: voices known, snr_db 20."""
    return ", ".join(f"{name} {worded(value)}".strip() for name, value in cell.items())


def record_report(record: Record, store: Store) -> RenderableType:
    """A stored run: scores, what ran on what, settings, costliest samples, failures, files."""
    settings = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in _facts(record, store):
        settings.add_row(name, Text(value, overflow="fold"))
    samples = store.samples(record.run_id)
    return Group(
        score_table([Shown(record, {})]),
        *legend([record]),
        Text(),
        settings,
        *per_class_text(per_class(record, samples)),
        *costliest_text(record, samples),
        *failures_text(record, store),
    )


def _facts(record: Record, store: Store) -> Iterable[tuple[str, str]]:
    model, data, generate = record.model, record.data, record.spec.get("generate", {})
    generate = generate if form_of(record) == "text" else {}
    if record.kind in KINDS and KINDS[record.kind].prompt is not None:
        generate = {key: value for key, value in generate.items() if key not in OF_SPEECH}
    yield "run", record.run_id
    yield "model", _joined(model.checkpoint, model.revision, model.adapter, model.dtype)
    if record.train is not None:
        yield "training", train_text(record.train)
        for stage in record.train.stages:
            yield f"  {stage.name}", stage_text(stage)
        if made := chosen(record):
            yield "trained with", ", ".join(f"{key} {value}" for key, value in made.items())
    if record.parent is not None:
        yield "base", record.parent
    yield "data", _joined(data.path, data.name, data.revision, f"split {data.split}")
    if record.params:
        yield "parameters", cell_text(record.params)
    yield from _asked(record)
    if generate:
        yield "generate", ", ".join(f"{key} {value}" for key, value in generate.items() if value is not None)
    for key, metric in record.metrics.items():
        yield key, metric.signature
    yield "speed", f"{speed_text(record)} on {record.speed.device or 'no device'}"
    if record.usage is not None:
        yield "asked", usage_text(record.usage)
    yield "ran", f"{record.started:%Y-%m-%d %H:%M:%S} to {record.ended:%H:%M:%S} (UTC)"
    yield "record", str(store.record_path(record.run_id))
    yield "samples", str(store.samples_path(record.run_id))


def _asked(record: Record) -> Iterable[tuple[str, str]]:
    """The words of a prompt, and how one of several options is chosen."""
    if prompt := record.spec.get("prompt"):
        yield "prompt", prompt
    if record.kind not in KINDS or not KINDS[record.kind].options:
        return
    choice = {"by": "likelihood", "answer": "text", "normalize": "none"} | (record.spec.get("choice") or {})
    if choice["by"] == "letter":
        yield "choice", "by the letter that is written"
        return
    per = "" if choice["normalize"] == "none" else f", divided by its {choice['normalize']}"
    yield "choice", f"by the likelihood of an option's {choice['answer']}{per}"


def train_text(part: TrainPart) -> str:
    """How a fine-tune was made, in one line."""
    of = f" of {part.total_parameters:,}" if part.total_parameters else ""
    trained = f", {part.trainable_parameters:,}{of} parameters" if part.trainable_parameters else ""
    seconds = f" in {part.seconds:.0f} s" if part.seconds is not None else ""
    steps = "" if part.steps is None else f", {counted(part.steps, 'step')}"
    best = f", best at {part.best_step}" if part.curve else ""
    return f"{part.method}{trained}{steps}{seconds}{best}"


def stage_text(stage: TrainStagePart) -> str:
    """What a stage trained and for how long, in one line."""
    trained = ", ".join(f"{part} {state}" for part, state in stage.parts.items() if state != "frozen")
    return f"{trained}: {stage.trainable_parameters:,} parameters, {counted(stage.steps, 'step')}"


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def rendered_report(sample: Sample, rendered: Rendered, cell: str = "") -> RenderableType:
    """One sample as the model would see it: tokens with the labels marked, shapes."""
    shapes = [Text(f"  {name}: {shape}") for name, shape in {**rendered.shapes, **rendered.notes}.items()]
    where = f" ({cell})" if cell else ""
    return Group(
        Text(f"Sample {sample.id} as the model sees it{where}", style="bold"),
        Text(f"  target: {_target_text(sample.target)}"),
        *_tokens_text(rendered.tokens),
        Text("\nShapes and settings:", style="bold"),
        *shapes,
    )


def _target_text(target: Any) -> str:
    return " | ".join(target) if isinstance(target, list | tuple) else str(target)


def _tokens_text(tokens: Sequence[tuple[str, bool]]) -> Iterable[RenderableType]:
    """The tokens with their labels marked; a class or a prompt has nothing to tell apart."""
    if not tokens:
        return
    labels = [label for _, label in tokens]
    mixed = any(labels) and not all(labels)
    heading = "Tokens; ⟦these⟧ are labels:" if mixed else "Label:" if all(labels) else "Tokens of the text:"
    yield Text(f"\n{heading}", style="bold")
    line = Text("  ")
    for token, label in tokens:
        shown = f"⟦{token}⟧" if mixed and label else token
        line.append(shown, style="bold green" if label else "dim")
    yield line


def rows_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table of text; the first column, which names things, is never broken."""
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for place, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", no_wrap=place == 0)
    for row in rows:
        table.add_row(*map(escape, row))
    return table
