"""A metric's difference between two runs' rows: by sums, by weights, or by lists, as the metric is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import ResultError
from harness.evaluation.changes import Change, change, differences, largest
from harness.evaluation.forms import answer_of, in_short, target_of
from harness.evaluation.statistics import (
    McNemar,
    Paired,
    mcnemar,
    paired,
    resampled_paired,
    weighted_paired,
)
from harness.metrics.base import CorpusMetric, Metric, WeightedMetric, mean
from harness.metrics.normalizers import normalized
from harness.registry import NORMALIZERS
from harness.results.record import MetricPart

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_CHANGES = 10
"""Largest wins and losses that are reported."""


@dataclass(frozen=True)
class Pairs:
    """Rows of both runs that belong together: same length, same order, scored by both.

    `left_out` is the number of the others; `form` is what the answers are (`harness.spec.kinds`).
    """

    a: pa.Table
    b: pa.Table
    left_out: int
    form: str


@dataclass(frozen=True)
class Difference:
    """What a metric says of pairs."""

    paired: Paired
    value_a: float
    value_b: float
    left_out: int
    mcnemar: McNemar | None = None
    wins: tuple[Change, ...] = ()
    losses: tuple[Change, ...] = ()


def pairs(a: pa.Table, b: pa.Table, part: MetricPart, form: str) -> Pairs:
    """The rows that both runs scored, b's in the order of a's. Raises ResultError where there are none."""
    import pyarrow.compute as pc

    ordered = b.take(pc.index_in(a["id"], value_set=b["id"]))
    column = part.columns[0] if part.columns else "prediction_normalised"  # null where it failed
    both = pc.and_(pc.is_valid(a[column]), pc.is_valid(ordered[column]))
    return _some(Pairs(a.filter(both), ordered.filter(both), a.num_rows - pc.sum(both).as_py(), form))


def difference(
    metric: Metric | CorpusMetric, part: MetricPart, pairs: Pairs, draws: int, seed: int, *, decides: bool
) -> Difference:
    """What `metric` says of the pairs; `decides` says that it is the runs' first one."""
    if isinstance(metric, Metric):
        return _by_sums(metric, part, pairs, draws, seed, decides=decides)
    if isinstance(metric, WeightedMetric):
        return _by_weights(metric, pairs, draws, seed)
    return _by_lists(metric, part, pairs, draws, seed)


def _some(pairs: Pairs) -> Pairs:
    if pairs.a.num_rows == 0:
        raise ResultError("no sample was scored in both runs", "`harness show RUN` lists what failed.")
    return pairs


def _by_sums(
    metric: Metric, part: MetricPart, pairs: Pairs, draws: int, seed: int, *, decides: bool
) -> Difference:
    """From the rows' statistics."""
    stats_a, stats_b = (_stats(table, part.columns) for table in (pairs.a, pairs.b))
    moved = differences(metric, stats_a, stats_b)
    # the rows hold texts as the first metric saw them, and everything else in short
    suffix = "_normalised" if decides or pairs.form != "text" else ""
    wins, losses = (
        tuple(
            change(
                float(moved[row]),
                _texts(pairs.a, row, suffix),
                _texts(pairs.b, row, suffix),
                pairs.form,
            )
            for row in rows
        )
        for rows in largest(moved, SHOWN_CHANGES, higher_is_better=metric.higher_is_better)
    )
    return Difference(
        paired=paired(stats_a, stats_b, pairs.a["group"], metric.reduce, draws, seed),
        value_a=float(metric.reduce(stats_a.sum(axis=0))),
        value_b=float(metric.reduce(stats_b.sum(axis=0))),
        left_out=pairs.left_out,
        mcnemar=_mcnemar(metric, stats_a, stats_b),
        wins=wins,
        losses=losses,
    )


def _stats(table: pa.Table, columns: Sequence[str]) -> NDArray[np.float64]:
    return np.stack([table[column].to_numpy() for column in columns], axis=1)


def _texts(table: pa.Table, row: int, suffix: str) -> dict[str, str]:
    names = {"id": "id", "target": f"target{suffix}", "prediction": f"prediction{suffix}"}
    return {name: table[column][row].as_py() for name, column in names.items()}


def _mcnemar(metric: Metric, stats_a: NDArray[np.float64], stats_b: NDArray[np.float64]) -> McNemar | None:
    right_a, right_b = metric.correct(stats_a), metric.correct(stats_b)
    return None if right_a is None or right_b is None else mcnemar(right_a, right_b)


def _by_weights(metric: WeightedMetric, pairs: Pairs, draws: int, seed: int) -> Difference:
    """From the rows' answers, in full: what the metric keeps of them, weighted by each draw."""
    kept_a, kept_b = (_kept(metric, table, pairs.form) for table in (pairs.a, pairs.b))
    scored = [
        row
        for row, both in enumerate(zip(kept_a, kept_b, strict=True))
        if all(one is not None for one in both)
    ]
    found = _some(replace(pairs, a=pairs.a.take(scored), left_out=pairs.left_out + len(kept_a) - len(scored)))
    a, b = (metric.weighted([kept[row] for row in scored]) for kept in (kept_a, kept_b))
    once = np.ones((1, len(scored)))
    return Difference(
        paired=weighted_paired(a, b, found.a["group"], draws, seed),
        value_a=float(a(once)[0]),
        value_b=float(b(once)[0]),
        left_out=found.left_out,
    )


def _kept(metric: WeightedMetric, table: pa.Table, form: str) -> list[Any]:
    answers, targets = (table[column].to_pylist() for column in ("prediction", "target"))
    return [
        metric.kept(answer_of(answer, form), target_of(target, form))
        for answer, target in zip(answers, targets, strict=True)
    ]


def _by_lists(metric: CorpusMetric, part: MetricPart, pairs: Pairs, draws: int, seed: int) -> Difference:
    """From the rows' texts: a metric of lists is computed again for each draw."""
    name = re.search(r"normalizer:([^|+]+)", part.signature)
    if name is None or name[1] == "whisper":
        raise ResultError(
            f"'{part.metric.name}' was normalised by each sample's language, which the rows don't hold",
            "Name the normalizer in the task (whisper-english or whisper-basic) and run both again.",
        )
    normalizer = NORMALIZERS.get(name[1] if pairs.form == "text" else "none")
    targets = [normalized(target_of(text, pairs.form), normalizer) for text in pairs.a["target"].to_pylist()]
    texts_a, texts_b = (
        [
            normalizer(in_short(answer_of(text, pairs.form), pairs.form))
            for text in table["prediction"].to_pylist()
        ]
        for table in (pairs.a, pairs.b)
    )
    groups = pairs.a["group"]
    value_a, value_b = (metric.compute(texts, targets) for texts in (texts_a, texts_b))
    if metric.averaged:
        alone_a, alone_b = (metric.alone(texts, targets) for texts in (texts_a, texts_b))
        drawn = paired(alone_a, alone_b, groups, mean, draws, seed)
    else:
        drawn = resampled_paired(metric.compute, texts_a, texts_b, targets, groups, draws, seed)
    return Difference(drawn, value_a, value_b, pairs.left_out)
