"""BLEU (Papineni et al. 2002) as sacrebleu computes it (Post 2018)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS
from harness.metrics.sacrebleu_base import SacrebleuMetric

ORDER = 4
"""Longest n-gram, in words."""
LOG_OF_ZERO = -9999999999.0
"""sacrebleu's stand-in for log(0): one order without a precision makes the score 0."""
SMOOTH_VALUES = {"none": 0.0, "floor": 0.1, "add-k": 1.0, "exp": 0.0}
"""Default parameter of each smoothing method (Chen & Cherry 2014)."""

Tokenizer = Literal[
    "13a", "intl", "char", "zh", "ja-mecab", "ko-mecab", "spm", "flores101", "flores200", "none"
]


@dataclass(frozen=True, config=OPTIONS)
class Bleu(SacrebleuMetric):
    """Corpus BLEU: geometric mean of clipped n-gram precisions times the brevity penalty."""

    name: ClassVar[str] = "bleu"
    columns: ClassVar[tuple[str, ...]] = (
        "hypothesis_words",
        "reference_words",
        *(f"matches_{n}" for n in range(1, ORDER + 1)),
        *(f"total_{n}" for n in range(1, ORDER + 1)),
    )

    tokenize: Tokenizer = "13a"
    """sacrebleu's tokenizer; char where words aren't separated (cmn, jpn, tha, lao, mya). spm and flores
    download a model."""
    smooth: Literal["exp", "floor", "add-k", "none"] = "exp"
    """Smoothing of orders without a match."""
    smooth_value: float | None = Field(default=None, gt=0)
    """Parameter of floor and add-k; sacrebleu's default when not given."""
    effective_order: bool = False
    """Leave out orders that no hypothesis is long enough for."""

    def make_scorer(self) -> Any:
        """sacrebleu's BLEU. `force` only silences its warning about tokenized text."""
        from sacrebleu.metrics import BLEU

        return BLEU(
            lowercase=self.lowercase,
            tokenize=self.tokenize,
            smooth_method=self.smooth,
            smooth_value=self.smooth_value,
            effective_order=self.effective_order,
            force=True,
        )

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corpus BLEU of summed counts, shape (..., 10) to (...,); 0, as in sacrebleu, without any match."""
        hypothesis, reference = sums[..., 0], sums[..., 1]
        matches, totals = sums[..., 2 : 2 + ORDER], sums[..., 2 + ORDER :]
        logs, used = self._log_precisions(matches, totals)
        orders = np.maximum(used.sum(axis=-1), 1) if self.effective_order else ORDER
        with np.errstate(divide="ignore", invalid="ignore"):
            penalty = np.minimum(0.0, 1 - reference / hypothesis)
        included = logs * used if self.effective_order else logs
        score: NDArray[np.float64] = np.exp(penalty + included.sum(axis=-1) / orders)
        return np.where(matches.any(axis=-1), score, 0.0)

    def _log_precisions(
        self, matches: NDArray[np.float64], totals: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Smoothed log precisions in percent and which orders occur at all, both of shape (..., 4)."""
        value = SMOOTH_VALUES[self.smooth] if self.smooth_value is None else self.smooth_value
        if self.smooth == "add-k":
            added = value * (np.arange(ORDER) > 0)
            matches, totals = matches + added, totals + added
        used = np.logical_and.accumulate(totals > 0, axis=-1)
        counted = matches
        if self.smooth == "floor":
            counted = np.where(matches == 0, value, matches)
        elif self.smooth == "exp":
            halvings = np.cumsum(used & (matches == 0), axis=-1)
            counted = np.where(matches == 0, 0.5**halvings, matches)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(100 * counted / totals)
        return np.where(used & (counted > 0), logs, LOG_OF_ZERO), used
