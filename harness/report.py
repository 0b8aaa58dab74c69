"""What a person reads in the terminal after a run: scores, worst samples, where everything is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rapidfuzz.distance import Levenshtein
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.metrics.base import Metric, build
from harness.models.base import Rendered
from harness.results.record import MetricPart, Record
from harness.results.store import SHORT_LENGTH, Store
from harness.types import Sample

WORST = 5
LISTED_FAILURES = 10


def console() -> Console:
    """Standard output; 80 columns wide when it isn't a terminal."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=max(80, terminal.width))


def run_report(records: Sequence[Record], store: Store, cells: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The table of runs, the worst samples of the worst run, failures, and what to do next."""
    worst = max(range(len(records)), key=lambda at: _badness(records[at]))
    parts: list[RenderableType] = [
        score_table(records, cells),
        *_worst_samples(records[worst], store, _cell_text(cells[worst])),
    ]
    parts += [line for record in records for line in _failures(record, store)]
    return Group(*parts, *_where(records, store, cells))


def score_table(records: Sequence[Record], cells: Sequence[Mapping[str, Any]]) -> Table:
    """One line per run and metric: the run's cell, score, 95% interval, samples, failures, speed."""
    names = _cell_names(cells)
    table = Table(title=f"{records[0].task}: {records[0].model.checkpoint}", title_justify="left")
    for heading in (*names, "metric"):
        table.add_column(heading, overflow="fold")
    for heading in ("score", "95% interval", "samples", "speed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for record, cell in zip(records, cells, strict=True):
        run = [_plain(cell.get(name, "")) for name in names]
        count = [str(record.data.n), speed_text(record)]
        for key, metric in record.metrics.items():
            arrow = "↑" if metric.higher_is_better else "↓"
            table.add_row(*run, f"{key.upper()} {arrow}{metric.unit}", *score_texts(metric), *count)
            run, count = [""] * len(names), [""] * len(count)
        table.add_section()
    part = records[0].metrics[records[0].primary]
    limit = records[0].data.limit
    subset = f" A seeded subset: --limit {limit}." if limit else ""
    table.caption = (
        f"↓ lower is better, ↑ higher. Intervals: bootstrap over {part.clusters} clusters.{subset}"
    )
    table.caption_justify = "left"
    return table


def _plain(value: Any) -> str:
    """A parameter's value as a person writes it."""
    return "none" if value is None else escape(str(value))


def score_texts(metric: MetricPart) -> tuple[str, str]:
    """The score and the bounds of its interval."""
    value = "undefined" if metric.value is None else f"{metric.value:.2f}"
    bounds = f"{metric.ci95[0]:.2f} to {metric.ci95[1]:.2f}" if metric.ci95 else "none"
    return value, bounds


def speed_text(record: Record) -> str:
    """Audio seconds per second where there is audio, else samples per second."""
    speed = record.speed
    if speed.rtfx is not None:
        return f"RTFx {speed.rtfx:.0f}" if speed.rtfx >= 10 else f"RTFx {speed.rtfx:.1f}"
    if speed.samples_per_second is not None:
        return f"{speed.samples_per_second:.1f} samples/s"
    return "from cache" if record.family != "stored" else "stored"


def worst_rows(record: Record, table: Any, count: int = WORST) -> list[dict[str, Any]]:
    """Sample rows with the worst value of the deciding metric, the heavier first among equals."""
    part = record.metrics[record.primary]
    metric = build(part.metric.name, part.metric.options)
    if not isinstance(metric, Metric) or not table.num_rows:
        return []
    import numpy as np

    columns = [table.column(column).to_numpy(zero_copy_only=False) for column in part.columns]
    stats = np.stack(columns, axis=1).astype(np.float64)
    values = metric.reduce(stats)
    badness = np.where(np.isnan(values), -np.inf, -values if metric.higher_is_better else values)
    order = np.lexsort((-stats.sum(axis=1), -badness))[:count]
    perfect = metric.reduce(np.zeros((1, stats.shape[1])) + 1e-9)[0] if metric.higher_is_better else 0.0
    return [
        {**table.slice(int(at), 1).to_pylist()[0], "value": float(values[at])}
        for at in order
        if np.isfinite(badness[at]) and values[at] != perfect
    ]


def _worst_samples(record: Record, store: Store, cell: str) -> Iterable[RenderableType]:
    rows = worst_rows(record, store.samples(record.run_id))
    if not rows:
        return
    part = record.metrics[record.primary]
    where = f" of {cell}" if cell else ""
    yield Text(f"\nWorst samples{where} by {record.primary.upper()}; [these words] differ:", style="bold")
    for row in rows:
        yield Text.assemble((f"{row['id']}", "cyan"), f"  {row['value']:.1f}{part.unit}")
        reference, hypothesis = word_diff(row["target_normalised"], row["prediction_normalised"])
        yield Text("  ref ").append(reference)
        yield Text("  hyp ").append(hypothesis)


def word_diff(reference: str, hypothesis: str) -> tuple[Text, Text]:
    """Both texts with the words that differ in brackets, aligned as the word error rate counts them."""
    ref, hyp = reference.split(), hypothesis.split()
    left, right = Text(), Text()
    for step in Levenshtein.opcodes(ref, hyp):
        same = step.tag == "equal"
        _append(left, ref[step.src_start : step.src_end], "" if same else "green")
        _append(right, hyp[step.dest_start : step.dest_end], "" if same else "red")
    return left, right


def _append(text: Text, words: Sequence[str], style: str) -> None:
    if words:
        shown = " ".join(words)
        text.append(f"[{shown}] " if style else f"{shown} ", style=style)


def _failures(record: Record, store: Store) -> Iterable[RenderableType]:
    if not record.failures.n:
        return
    share = record.failures.n / record.data.n
    yield Text(f"\n{record.failures.n} of {record.data.n} samples failed ({share:.1%}):", style="bold red")
    rows = store.samples(record.run_id).select(["id", "error"]).to_pylist()
    failed = [row for row in rows if row["error"]]
    yield from (Text(f"  {row['id']}  {row['error']}") for row in failed[:LISTED_FAILURES])
    if len(failed) > LISTED_FAILURES:
        yield Text(f"  ... and {len(failed) - LISTED_FAILURES} more in {store.samples_path(record.run_id)}")


def _where(
    records: Sequence[Record], store: Store, cells: Sequence[Mapping[str, Any]]
) -> Iterable[RenderableType]:
    yield Text(f"\nRecorded in {store.root}/ (records in runs/, every sample in samples/):", style="bold")
    short = [record.run_id[:SHORT_LENGTH] for record in records]
    for name, cell in zip(short, cells, strict=True):
        yield Text(f"  {name}  {_cell_text(cell)}".rstrip())
    yield Text(f"Look closer: harness show {short[-1]}")
    yield Text(f"Compare:     harness compare {short[-1]} OTHER_RUN")


def _badness(record: Record) -> float:
    part = record.metrics[record.primary]
    if part.value is None:
        return float("-inf")
    return -part.value if part.higher_is_better else part.value


def _cell_text(cell: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in cell.items())


def _cell_names(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for cell in cells for name in cell))


def rendered_report(sample: Sample, rendered: Rendered) -> RenderableType:
    """One sample as the model would see it: tokens with the labels marked, shapes."""
    tokens = Text("  ")
    for token, label in rendered.tokens:
        tokens.append(f"⟦{token}⟧" if label else token, style="bold green" if label else "dim")
    shapes = [Text(f"  {name}: {shape}") for name, shape in {**rendered.shapes, **rendered.notes}.items()]
    return Group(
        Text(f"Sample {sample.id} as the model sees it", style="bold"),
        Text(f"  target: {sample.target}"),
        Text("\nDecoder tokens; ⟦these⟧ are labels:", style="bold"),
        tokens,
        Text("\nShapes and settings:", style="bold"),
        *shapes,
        Text("\nNothing was run or written."),
    )


def rows_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table of text."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
