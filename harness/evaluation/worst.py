"""The samples that cost a run the most, with the words that differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rapidfuzz.distance import Levenshtein
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from harness.metrics.base import Metric, build
from harness.results.record import Record

WORST = 5
WORDS_KEPT = 12
"""Words kept at each end of a long stretch."""


@dataclass(frozen=True)
class Costly:
    """A sample row, its own value (None when undefined: an empty reference) and what it costs.

    `cost` is how much better the corpus value would be without the sample, in the metric's unit.
    """

    row: dict[str, Any]
    value: float | None
    cost: float


def costliest(record: Record, table: Any, count: int = WORST) -> list[Costly]:
    """The samples that cost the deciding metric the most, the costliest first; none for a CorpusMetric."""
    import numpy as np

    part = record.metrics[record.primary]
    metric = build(part.metric.name, part.metric.options)
    if not isinstance(metric, Metric):
        return []
    columns = [table.column(column).to_numpy(zero_copy_only=False) for column in part.columns]
    stats = np.stack(columns, axis=1).astype(np.float64)
    scored = np.flatnonzero(~np.isnan(stats[:, 0]))
    stats = stats[scored]
    total = stats.sum(axis=0)
    without = np.nan_to_num(metric.reduce(total - stats))  # nothing is left when there is one sample
    change = metric.reduce(total) - without
    cost = np.nan_to_num(-change if metric.higher_is_better else change)
    if (right := metric.correct(stats)) is not None:
        cost[right] = 0
    values = metric.reduce(stats)
    order = [at for at in np.argsort(-cost, kind="stable")[:count] if cost[at] > 0]
    return [
        Costly(
            table.slice(int(scored[at]), 1).to_pylist()[0],
            None if np.isnan(values[at]) else float(values[at]),
            float(cost[at]),
        )
        for at in order
    ]


def costliest_text(record: Record, table: Any, cell: str = "") -> Iterable[RenderableType]:
    """The costliest samples for the terminal: reference and hypothesis, differing words in brackets."""
    part = record.metrics[record.primary]
    found = costliest(record, table)
    if found:
        where = f" ({cell})" if cell else ""
        yield Text(f"\nWhat costs the most{where}; normalised, [these words] differ:", style="bold")
    for sample in found:
        own = "empty reference" if sample.value is None else f"{sample.value:.1f}{part.unit}"
        cost = f"  {record.primary.upper()} {own}, {sample.cost:.2f} of the total"
        yield Text.assemble((str(sample.row["id"]), "cyan"), cost)
        sides = word_diff(sample.row["target_normalised"], sample.row["prediction_normalised"])
        for label, side in zip(("ref ", "hyp "), sides, strict=True):
            yield Padding(Text(label).append(side), (0, 0, 0, 2), expand=False)


def word_diff(reference: str, hypothesis: str) -> tuple[Text, Text]:
    """Both texts with the words that differ in brackets, aligned as the word error rate counts them."""
    ref, hyp = reference.split(), hypothesis.split()
    left: list[Text] = []
    right: list[Text] = []
    for same, steps in groupby(Levenshtein.opcodes(ref, hyp), key=lambda step: step.tag == "equal"):
        part = list(steps)
        left += _marked(ref[part[0].src_start : part[-1].src_end], "" if same else "green")
        right += _marked(hyp[part[0].dest_start : part[-1].dest_end], "" if same else "red")
    return Text(" ").join(left), Text(" ").join(right)


def _marked(words: Sequence[str], style: str) -> list[Text]:
    if not words:
        return []
    clipped = words if len(words) <= 2 * WORDS_KEPT else [*words[:WORDS_KEPT], "...", *words[-WORDS_KEPT:]]
    shown = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(clipped)
    )
    return [Text(f"[{shown}]" if style else shown, style=style)]
