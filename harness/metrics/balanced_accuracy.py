"""Balanced accuracy: the mean of the classes' recalls; a rare class weighs as much as a common one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS, Weighted, WeightedMetric
from harness.metrics.classes import ClassAnswer, first, mean_of_defined, numbered, one_class, summed


@dataclass(frozen=True, config=OPTIONS)
class BalancedAccuracy(WeightedMetric):
    """Mean over the classes that occur among the targets of the share of their samples that is right."""

    name: ClassVar[str] = "balanced_accuracy"
    unit: ClassVar[str] = "%"
    higher_is_better: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("class",)

    @property
    def signature(self) -> str:
        """Which classes the mean is over."""
        return "k:1|average:macro|classes:in targets"

    def kept(self, prediction: ClassAnswer, target: Any) -> tuple[str, bool]:
        """The class, and whether it is the most probable one. Raises DataError for several classes."""
        name = one_class(target, self.name)
        return name, name in first(prediction)

    def weighted(self, kept: Sequence[tuple[str, bool]]) -> Weighted:
        """100 times the mean recall of the classes that are drawn at all."""
        codes, classes = numbered([target for target, _ in kept])
        right = np.array([found for _, found in kept], dtype=np.float64)

        def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            samples = summed(weights, codes, len(classes))
            hits = summed(weights * right, codes, len(classes))
            return 100 * mean_of_defined(hits / np.where(samples > 0, samples, np.nan))

        return score
