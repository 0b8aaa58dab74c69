"""Two runs of one task: the difference, how sure it is, and which samples made it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import ResultError
from harness.evaluation.changes import Change, change, differences, largest
from harness.evaluation.comparable import RunData, labels, require_comparable
from harness.evaluation.statistics import (
    MIN_CLUSTERS,
    McNemar,
    Paired,
    few,
    mcnemar,
    paired,
    resampled_paired,
)
from harness.evaluation.trained import differing
from harness.metrics.base import CorpusMetric, Metric, build
from harness.metrics.normalizers import normalized
from harness.registry import NORMALIZERS
from harness.results.record import MetricPart, plain
from harness.types import Json

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_CHANGES = 10
"""Largest wins and losses that are reported."""


@dataclass(frozen=True)
class Comparison:
    """What is known of b against a, on the `n` samples that both scored; `left_out` is the others.

    `value_a` and `value_b` are over those n samples; `difference` is b - a. `ci95` and `p` come from the
    paired clustered bootstrap and are None where there is nothing to resample (a single cluster).
    `verdict` is "better", "worse", "no clear difference", or "too few groups" to say any of these.
    `mcnemar` is None for metrics that call no sample right or wrong.
    """

    run_a: str
    run_b: str
    label_a: str
    label_b: str
    metric: str
    unit: str
    higher_is_better: bool
    value_a: float
    value_b: float
    difference: float
    ci95: tuple[float, float] | None
    p: float | None
    n: int
    clusters: int
    left_out: int
    verdict: str
    sentence: str
    mcnemar: McNemar | None
    wins: tuple[Change, ...]
    losses: tuple[Change, ...]
    differs: Mapping[str, tuple[str, ...]]
    """Keys of the train section in which two fine-tunes were made differently, with both values."""

    def to_json(self) -> Json:
        """All of it as JSON values; null where a number is undefined."""
        return plain(asdict(self))


@dataclass(frozen=True)
class _Pairs:
    """Rows of both runs that belong together: same length, same order, scored by both."""

    a: pa.Table
    b: pa.Table
    left_out: int


@dataclass(frozen=True)
class _Found:
    """What a metric says of pairs."""

    paired: Paired
    value_a: float
    value_b: float
    mcnemar: McNemar | None = None
    wins: tuple[Change, ...] = ()
    losses: tuple[Change, ...] = ()


def compare(
    a: RunData,
    b: RunData,
    metric_name: str | None = None,
    draws: int = 1000,
    seed: int = 0,
    *,
    subject: str = "B",
) -> Comparison:
    """Compare b with a by `metric_name`, else by the metric that decides; the sentence calls b `subject`.

    Raises ResultError, with every reason, when the runs aren't comparable.
    """
    key = metric_name or a.record.primary
    require_comparable(a, b, key)
    part = a.record.metrics[key]
    metric = build(part.metric.name, part.metric.options)
    pairs = _pairs(a, b, part)
    if isinstance(metric, CorpusMetric):
        found = _by_texts(metric, part, pairs, draws, seed)
    else:
        found = _by_statistics(metric, part, pairs, draws, seed, normalised=key == a.record.primary)
    label_a, label_b = labels(a.record, b.record)
    difference, verdict = found.paired, _verdict(found.paired, part.higher_is_better)
    return Comparison(
        run_a=a.record.run_id,
        run_b=b.record.run_id,
        label_a=label_a,
        label_b=label_b,
        metric=key,
        unit=part.unit,
        higher_is_better=part.higher_is_better,
        value_a=found.value_a,
        value_b=found.value_b,
        difference=difference.difference,
        ci95=difference.bounds,
        p=None if difference.bounds is None else difference.p,
        n=difference.n,
        clusters=difference.clusters,
        left_out=pairs.left_out,
        verdict=verdict,
        sentence=_sentence(difference, key, part.unit, verdict, subject),
        mcnemar=found.mcnemar,
        wins=found.wins,
        losses=found.losses,
        differs=differing((a.record, b.record)),
    )


def _pairs(a: RunData, b: RunData, part: MetricPart) -> _Pairs:
    """The rows that both runs scored, b's in the order of a's."""
    import pyarrow.compute as pc

    ordered = b.samples.take(pc.index_in(a.samples["id"], value_set=b.samples["id"]))
    column = part.columns[0] if part.columns else "prediction"
    both = pc.and_(pc.is_valid(a.samples[column]), pc.is_valid(ordered[column]))
    pairs = _Pairs(a.samples.filter(both), ordered.filter(both), a.samples.num_rows - pc.sum(both).as_py())
    if pairs.a.num_rows == 0:
        raise ResultError("no sample was scored in both runs", "`harness show RUN` lists what failed.")
    return pairs


def _by_statistics(
    metric: Metric, part: MetricPart, pairs: _Pairs, draws: int, seed: int, *, normalised: bool
) -> _Found:
    """From the rows' statistics; `normalised` says that the rows hold the texts this metric saw."""
    stats_a, stats_b = (_stats(table, part.columns) for table in (pairs.a, pairs.b))
    moved = differences(metric, stats_a, stats_b)
    suffix = "_normalised" if normalised else ""
    wins, losses = (
        tuple(
            change(float(moved[row]), *(_texts(table, row, suffix) for table in (pairs.a, pairs.b)))
            for row in rows
        )
        for rows in largest(moved, SHOWN_CHANGES, higher_is_better=metric.higher_is_better)
    )
    return _Found(
        paired=paired(stats_a, stats_b, pairs.a["group"], metric.reduce, draws, seed),
        value_a=float(metric.reduce(stats_a.sum(axis=0))),
        value_b=float(metric.reduce(stats_b.sum(axis=0))),
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


def _by_texts(metric: CorpusMetric, part: MetricPart, pairs: _Pairs, draws: int, seed: int) -> _Found:
    """From the rows' texts: a metric without sufficient statistics is computed again for each draw."""
    name = re.search(r"normalizer:([^|+]+)", part.signature)
    if name is None or name[1] == "whisper":
        raise ResultError(
            f"'{part.metric.name}' was normalised by each sample's language, which the rows don't hold",
            "Name the normalizer in the task (whisper-english or whisper-basic) and run both again.",
        )
    normalizer = NORMALIZERS.get(name[1])
    targets = [normalized(_target(text), normalizer) for text in pairs.a["target"].to_pylist()]
    texts_a, texts_b = (
        [normalizer(text) for text in table["prediction"].to_pylist()] for table in (pairs.a, pairs.b)
    )
    return _Found(
        paired=resampled_paired(metric.compute, texts_a, texts_b, targets, pairs.a["group"], draws, seed),
        value_a=metric.compute(texts_a, targets),
        value_b=metric.compute(texts_b, targets),
    )


def _target(text: str) -> Any:
    """A target as it was before the rows held it as text: several references stand as a JSON list."""
    return json.loads(text) if text.startswith('["') else text


def _verdict(found: Paired, higher_is_better: bool) -> str:
    """Whether b is better, worse, or neither can be said: the interval has to leave out zero."""
    if few(found.clusters):
        return "too few groups"
    if found.bounds is None or found.low <= 0 <= found.high:
        return "no clear difference"
    return "better" if (found.low > 0) == higher_is_better else "worse"


def _sentence(found: Paired, metric: str, unit: str, verdict: str, subject: str) -> str:
    size = f"{metric} {found.difference:+.2f}{' points' if unit == '%' else ''}"
    if few(found.clusters):
        clusters = f"{found.clusters} cluster{'s' if found.clusters > 1 else ''}"
        return f"Too few groups to say: {clusters} ({MIN_CLUSTERS} or more are needed) for {size}."
    if found.bounds is None:
        return f"No clear difference: {size}, without an interval ({found.clusters} clusters)."
    interval = f"95% interval {found.low:+.2f} to {found.high:+.2f}, p = {found.p:.3g}"
    start = f"{subject} is {verdict}" if verdict in ("better", "worse") else "No clear difference"
    return f"{start}: {size} ({interval}, {found.n} samples in {found.clusters} clusters)."
