"""BLEU of captions as COCO's evaluation code has it, which is not sacrebleu's: other words, no smoothing."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS, Metric
from harness.metrics.mean_score import TextTarget, references
from harness.metrics.ngrams import ORDER, NGram, counted
from harness.metrics.ptb_tokenizer import SIGNATURE, words

TINY, SMALL = 1e-15, 1e-9
"""Added to numerators and denominators, so that nothing is divided by zero: no matches give almost 0."""


@dataclass(frozen=True, config=OPTIONS)
class CaptionBleu(Metric):
    """Corpus BLEU-1 to BLEU-4 (Papineni et al. 2002), times 100; `caption_bleu@1` is short for k: 1.

    Of several references the one of the nearest length counts for the brevity penalty, the shorter of two.
    """

    name: ClassVar[str] = "caption_bleu"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = (
        "words",
        "reference_words",
        *(f"matches_{n}" for n in range(1, ORDER + 1)),
        *(f"total_{n}" for n in range(1, ORDER + 1)),
    )

    k: int = Field(default=ORDER, ge=1, le=ORDER)
    """Longest n-gram, in words."""

    @property
    def signature(self) -> str:
        """The order, how reference lengths are chosen, smoothing, and who makes the words."""
        return f"n:{self.k}|length:closest|smooth:none|implementation:coco|tokenizer:{SIGNATURE}"

    def stats(self, prediction: str, target: TextTarget) -> tuple[float, ...]:
        """Lengths in words, and matching and all n-grams of 1 to 4 words."""
        said, texts = counted(prediction), references(target)
        length = len(words(prediction))
        nearest = min((abs(other - length), other) for other in (len(words(text)) for text in texts))[1]
        most: Counter[NGram] = Counter()
        for text in texts:
            most |= counted(text)
        matches = [0.0] * ORDER
        for ngram, count in (said & most).items():
            matches[len(ngram) - 1] += count
        totals = [float(max(length - n + 1, 0)) for n in range(1, ORDER + 1)]
        return (float(length), float(nearest), *matches, *totals)

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """100 BLEU of summed counts, shape (..., 10) to (...,)."""
        matches, totals = sums[..., 2 : 2 + self.k], sums[..., 2 + ORDER : 2 + ORDER + self.k]
        precision = ((matches + TINY) / (totals + SMALL)).prod(axis=-1) ** (1 / self.k)
        ratio = (sums[..., 0] + TINY) / (sums[..., 1] + SMALL)
        score: NDArray[np.float64] = 100 * precision * np.exp(np.minimum(0.0, 1 - 1 / ratio))
        return score
