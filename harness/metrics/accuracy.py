"""Accuracy: the share of samples whose class is among the k most probable ones."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS, Metric
from harness.metrics.classes import ClassAnswer, first, one_class

KEPT_CLASSES = 20
"""An answer holds no more classes than these, so nothing can be said of a larger k."""


@dataclass(frozen=True, config=OPTIONS)
class Accuracy(Metric):
    """Top-k accuracy in percent; `accuracy@5` is short for k: 5."""

    name: ClassVar[str] = "accuracy"
    unit: ClassVar[str] = "%"
    higher_is_better: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ("right", "samples")
    takes: ClassVar[tuple[str, ...]] = ("class",)

    k: int = Field(default=1, ge=1, le=KEPT_CLASSES)
    """How many of the most probable classes may hold the right one."""

    @property
    def signature(self) -> str:
        """How many classes are looked at."""
        return f"k:{self.k}"

    def stats(self, prediction: ClassAnswer, target: Any) -> tuple[float, ...]:
        """Whether the class is among the first k (1 or 0), and 1. Raises DataError for several classes."""
        return float(one_class(target, self.name) in first(prediction, self.k)), 1.0

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """100 right / samples, shape (..., 2) to (...,); NaN without samples."""
        return 100 * sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan)

    def correct(self, stats: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Samples whose class is among the first k, (n, 2) to (n,)."""
        return np.equal(stats[:, 0], 1)
