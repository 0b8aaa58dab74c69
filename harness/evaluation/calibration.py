"""How sure a run was, and how right, by bins of its confidence (Guo et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.evaluation.forms import first_of
from harness.evaluation.statistics import weighted_interval
from harness.metrics.ece import BINS, EDGES, ExpectedCalibrationError, bin_of
from harness.results.record import Record

if TYPE_CHECKING:
    import pyarrow as pa

DRAWS, SEED = 1000, 0


@dataclass(frozen=True)
class Bin:
    """The `n` samples whose first class has a probability in (low, high].

    `confidence` is its mean and `accuracy` the share that is right, both in percent; None without samples.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error in percent, its 95% interval, and the bins it is made of."""

    value: float
    ci95: tuple[float, float] | None
    n: int
    bins: tuple[Bin, ...]


def calibration(record: Record, samples: pa.Table) -> Calibration | None:
    """That of a stored run of classes; None where no answer has a probability."""
    metric = ExpectedCalibrationError()
    scored = samples.filter(samples["prediction_normalised"].is_valid())
    kept, groups = [], []
    columns = (scored[name].to_pylist() for name in ("prediction", "target_normalised", "group"))
    for text, target, group in zip(*columns, strict=True):
        answer, confidence = first_of(text)
        if confidence is not None:
            kept.append((confidence, answer == target))
            groups.append(group)
    if not kept:
        return None
    known = (part for part in record.metrics.values() if part.metric.name == metric.name)
    if (part := next(known, None)) is not None and part.value is not None:
        return Calibration(part.value, part.ci95, part.n, bins(kept))
    drawn = record.spec.get("statistics") or {}
    how_often, seed = drawn.get("draws", DRAWS), drawn.get("seed", SEED)
    found = weighted_interval(metric.weighted(kept), groups, how_often, seed)
    return Calibration(found.value, found.bounds, found.n, bins(kept))


def bins(kept: Sequence[tuple[float, bool]]) -> tuple[Bin, ...]:
    """The bins of (confidence, right) pairs, all of them, from 0 to 1."""
    confidence = np.array([sure for sure, _ in kept], dtype=np.float64)
    right = np.array([hit for _, hit in kept], dtype=np.float64)
    places = np.array([bin_of(sure) for sure, _ in kept], dtype=np.intp)
    counts = np.bincount(places, minlength=BINS)
    means = [
        np.bincount(places, weights=values, minlength=BINS) / np.maximum(counts, 1)
        for values in (confidence, right)
    ]
    return tuple(
        Bin(low, high, int(n), *((100 * float(mean) if n else None) for mean in both))
        for low, high, n, *both in zip(EDGES[:-1], EDGES[1:], counts, *means, strict=True)
    )
