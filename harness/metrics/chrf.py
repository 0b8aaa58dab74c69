"""chrF (Popović 2015) and chrF++ (Popović 2017) as sacrebleu computes them."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS
from harness.metrics.sacrebleu_base import SacrebleuMetric

CHAR_ORDER = 6
"""Longest character n-gram."""
BETA_SQUARED = 4.0
"""Recall counts beta = 2 times as much as precision."""


def columns(word_order: int) -> tuple[str, ...]:
    """Names of the counts: hypothesis, reference and matches, for each order of characters, then of words."""
    orders = [f"char_{n}" for n in range(1, CHAR_ORDER + 1)] + [f"word_{n}" for n in range(1, word_order + 1)]
    return tuple(f"{order}_{part}" for order in orders for part in ("hypothesis", "reference", "matches"))


@dataclass(frozen=True, config=OPTIONS)
class Chrf(SacrebleuMetric):
    """chrF2: F-score of character n-grams, precision and recall averaged over the orders that occur."""

    name: ClassVar[str] = "chrf"
    word_order: ClassVar[int] = 0
    columns: ClassVar[tuple[str, ...]] = columns(0)

    whitespace: bool = False
    """Keep spaces in character n-grams."""

    def make_scorer(self) -> Any:
        """sacrebleu's chrF."""
        from sacrebleu.metrics import CHRF

        return CHRF(word_order=self.word_order, lowercase=self.lowercase, whitespace=self.whitespace)

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corpus chrF of summed counts, shape (..., 3 orders) to (...,); 0 without any match."""
        counts = sums.reshape(*sums.shape[:-1], len(self.columns) // 3, 3)
        hypothesis, reference, matches = counts[..., 0], counts[..., 1], counts[..., 2]
        occurs = (hypothesis > 0) & (reference > 0)
        orders = np.maximum(occurs.sum(axis=-1), 1)
        precision, recall = (
            np.sum(matches / np.where(occurs, side, np.inf), axis=-1) / orders
            for side in (hypothesis, reference)
        )
        denominator = BETA_SQUARED * precision + recall
        score = 100 * (1 + BETA_SQUARED) * precision * recall / np.where(denominator > 0, denominator, np.inf)
        return np.asarray(score, dtype=np.float64)


@dataclass(frozen=True, config=OPTIONS)
class ChrfPlusPlus(Chrf):
    """chrF2++: words and word pairs beside the character n-grams."""

    name: ClassVar[str] = "chrf++"
    word_order: ClassVar[int] = 2
    columns: ClassVar[tuple[str, ...]] = columns(2)
