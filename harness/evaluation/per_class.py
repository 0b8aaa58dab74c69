"""What a stored run says of each class: from its sample rows, and nothing else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.evaluation.calibration import Calibration, calibration
from harness.evaluation.forms import answer_of, form_of, target_of
from harness.metrics.mean_average_precision import MeanAveragePrecision, by_class
from harness.results.record import Record, plain
from harness.types import Json

if TYPE_CHECKING:
    import pyarrow as pa

Z95 = 1.959963984540054
"""The normal distribution's quantile of a two-sided 95% interval."""


@dataclass(frozen=True)
class ClassScore:
    """One class: its score in percent over the `n` samples that have it.

    Where a sample has one class, that is the share which is right (recall), with its Wilson interval; where
    it may have several, average precision, without one.
    """

    name: str
    n: int
    score: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Confusion:
    """How many samples of a class were taken for another, and what share of the class that is, in percent.

    `answer` is empty where none could be parsed.
    """

    target: str
    answer: str
    n: int
    share: float


@dataclass(frozen=True)
class PerClass:
    """All classes that some sample has, the worst first; confusions, the most frequent first.

    `measure` is "accuracy" or "average precision". `calibration` is None without probabilities, and where
    several classes may be right.
    """

    measure: str
    classes: tuple[ClassScore, ...]
    confusions: tuple[Confusion, ...]
    calibration: Calibration | None

    def to_json(self) -> Json:
        """All of it as JSON values."""
        return plain(asdict(self))


def per_class(record: Record, samples: pa.Table) -> PerClass | None:
    """What a run says of its classes; None for a kind without classes, and where nothing was scored."""
    form = form_of(record)
    scored = samples.filter(samples["prediction_normalised"].is_valid())
    if form not in ("class", "labels") or not scored.num_rows:
        return None
    if form == "labels":
        return PerClass("average precision", _average_precisions(scored), (), None)
    pairs = counted(scored)
    return PerClass("accuracy", _accuracies(pairs), _confusions(pairs), calibration(record, scored))


def counted(samples: pa.Table) -> Counter[tuple[str, str]]:
    """How often each class was taken for each: (target, first class of the answer) to samples."""
    columns = (samples[name].to_pylist() for name in ("target_normalised", "prediction_normalised"))
    return Counter((target, answer) for target, answer in zip(*columns, strict=True) if answer is not None)


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share in percent (Wilson 1927); it takes the n samples as independent."""
    share, z2 = right / n, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return 100 * max(middle - half, 0.0), 100 * min(middle + half, 1.0)


def _accuracies(pairs: Counter[tuple[str, str]]) -> tuple[ClassScore, ...]:
    totals = _totals(pairs)
    return _worst_first(
        ClassScore(name, n, 100 * pairs[name, name] / n, wilson(pairs[name, name], n))
        for name, n in totals.items()
    )


def _average_precisions(samples: pa.Table) -> tuple[ClassScore, ...]:
    metric = MeanAveragePrecision()
    columns = (samples[name].to_pylist() for name in ("prediction", "target"))
    kept = [
        metric.kept(answer_of(text, "labels"), target_of(target, "labels"))
        for text, target in zip(*columns, strict=True)
    ]
    positives = Counter(name for _, _, targets in kept for name in targets)
    once = np.ones((1, len(kept)))
    return _worst_first(
        ClassScore(name, positives[name], 100 * float(ranking.precision(once)[0]), None)
        for name, ranking in by_class(kept).items()
    )


def _worst_first(scores: Iterable[ClassScore]) -> tuple[ClassScore, ...]:
    """Of equal ones, those with more samples first."""
    return tuple(sorted(scores, key=lambda one: (one.score, -one.n, one.name)))


def _confusions(pairs: Counter[tuple[str, str]]) -> tuple[Confusion, ...]:
    totals = _totals(pairs)
    wrong = [
        Confusion(target, answer, n, 100 * n / totals[target])
        for (target, answer), n in pairs.items()
        if target != answer
    ]
    return tuple(sorted(wrong, key=lambda one: (-one.n, -one.share, one.target, one.answer)))


def _totals(pairs: Counter[tuple[str, str]]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for (target, _), n in pairs.items():
        totals[target] += n
    return totals
