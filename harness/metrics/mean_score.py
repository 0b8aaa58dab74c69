"""Metrics that are the mean of a score between 0 and 1 per sample, kept as sums."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.metrics.base import Metric

TextTarget: TypeAlias = "str | list[str]"
"""A text, or several that are right."""


class MeanScore(Metric):
    """The mean of `score` in percent."""

    unit: ClassVar[str] = "%"
    higher_is_better: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ("score", "samples")

    @abstractmethod
    def score(self, prediction: str, target: TextTarget) -> float:
        """The score of one sample, 0 to 1. Raises RowError for a target that can't be scored."""

    def stats(self, prediction: str, target: TextTarget) -> tuple[float, ...]:
        """The sample's score, and 1."""
        return self.score(prediction, target), 1.0

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """100 score / samples, shape (..., 2) to (...,); NaN without samples."""
        return 100 * sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan)

    def correct(self, stats: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Samples with the full score, (n, 2) to (n,)."""
        return np.equal(stats[:, 0], 1)


def references(target: TextTarget) -> list[str]:
    """The texts that are right."""
    return [target] if isinstance(target, str) else list(target)
