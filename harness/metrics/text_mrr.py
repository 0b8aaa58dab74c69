"""Mean reciprocal rank of text retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS
from harness.metrics.ranks import RankMetric, text_rank


@dataclass(frozen=True, config=OPTIONS)
class TextReciprocalRank(RankMetric):
    """100 times the mean over images (or clips) of 1 / rank of the best of their own captions."""

    name: ClassVar[str] = "text_mrr"
    columns: ClassVar[tuple[str, ...]] = ("reciprocal_ranks", "queries")

    @property
    def signature(self) -> str:
        """What is asked, whose rank counts, and how ties are read."""
        return "queries:images or clips|rank:best own caption|ties:against"

    def stats(self, prediction: Mapping[str, Any], target: Any) -> tuple[float, ...]:
        """1 / rank, and 1."""
        return 1 / text_rank(prediction), 1.0
