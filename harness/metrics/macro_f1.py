"""Macro F1: the mean over classes of the harmonic mean of precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS, Weighted, WeightedMetric
from harness.metrics.classes import ClassAnswer, first, mean_of_defined, numbered, one_class, summed


@dataclass(frozen=True, config=OPTIONS)
class MacroF1(WeightedMetric):
    """Mean F1 of the classes that occur among targets or first answers, as scikit-learn's `macro`.

    An answer without any class is wrong, and isn't a class of its own.
    """

    name: ClassVar[str] = "macro_f1"
    unit: ClassVar[str] = "%"
    higher_is_better: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("class",)

    @property
    def signature(self) -> str:
        """Which classes the mean is over."""
        return "k:1|average:macro|classes:in targets or answers"

    def kept(self, prediction: ClassAnswer, target: Any) -> tuple[str, str]:
        """The class and the most probable one, "" for none. Raises DataError for several classes."""
        return one_class(target, self.name), next(iter(first(prediction)), "")

    def weighted(self, kept: Sequence[tuple[str, str]]) -> Weighted:
        """100 times the mean of 2 TP / (targets + answers) over the classes that are drawn at all."""
        codes, classes = numbered([name for pair in kept for name in pair])
        targets, answers = codes[::2], codes[1::2]
        right = np.equal(targets, answers)
        real = np.array([name != "" for name in classes])

        def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            both = sum(summed(weights, side, len(classes)) for side in (targets, answers)) * real
            hits = summed(weights * right, targets, len(classes))
            return 100 * mean_of_defined(2 * hits / np.where(both > 0, both, np.nan))

        return score
