"""Expected calibration error (Guo et al. 2017): how far confidence is from accuracy."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS, Weighted, WeightedMetric
from harness.metrics.classes import ClassAnswer, one_class, summed

BINS = 15
EDGES: tuple[float, ...] = tuple(number / BINS for number in range(BINS + 1))
"""Bounds of the bins of confidence; each bin has its upper bound and not its lower one."""


def bin_of(confidence: float) -> int:
    """The bin, 0 to 14, of a probability; that of 0 is the first."""
    return max(bisect_left(EDGES, confidence) - 1, 0)


@dataclass(frozen=True, config=OPTIONS)
class ExpectedCalibrationError(WeightedMetric):
    """|accuracy - mean confidence| in 15 bins of equal width, weighted by their samples, in percent.

    The confidence is the first class's probability. An answer that has none (a class by its name alone)
    isn't scored. The terms are absolute, so chance alone adds to them, the more the fewer samples a bin has,
    and resampling adds to it once more: the interval says how far the estimate moves, and never reaches 0.
    """

    name: ClassVar[str] = "ece"
    unit: ClassVar[str] = "%"
    higher_is_better: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ("class",)

    @property
    def signature(self) -> str:
        """The bins and what is binned."""
        return f"bins:{BINS}|width:equal|confidence:first class"

    def kept(self, prediction: ClassAnswer, target: Any) -> tuple[float, bool] | None:
        """The first class's probability and whether it is right. Raises DataError for several classes."""
        name = one_class(target, self.name)
        if not isinstance(prediction, Mapping) or not prediction:
            return None
        answer, confidence = next(iter(prediction.items()))
        return float(confidence), answer == name

    def weighted(self, kept: Sequence[tuple[float, bool]]) -> Weighted:
        """100 times the sum over bins of |right - confidence|, over all samples."""
        bins = np.array([bin_of(confidence) for confidence, _ in kept], dtype=np.intp)
        gaps = np.array([right - confidence for confidence, right in kept], dtype=np.float64)

        def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            total = weights.sum(axis=1)
            error = np.abs(summed(weights * gaps, bins, BINS)).sum(axis=1)
            found: NDArray[np.float64] = 100 * error / np.where(total > 0, total, np.nan)
            return found

        return score
