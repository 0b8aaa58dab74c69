"""Mean reciprocal rank of image (or audio) retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS
from harness.metrics.ranks import RankMetric, media_ranks


@dataclass(frozen=True, config=OPTIONS)
class ImageReciprocalRank(RankMetric):
    """100 times the mean over captions of 1 / rank of their image (or clip)."""

    name: ClassVar[str] = "image_mrr"
    columns: ClassVar[tuple[str, ...]] = ("reciprocal_ranks", "queries")

    @property
    def signature(self) -> str:
        """What is asked, and how ties are read."""
        return "queries:captions|ties:against"

    def stats(self, prediction: Mapping[str, Any], target: Any) -> tuple[float, ...]:
        """The sum of 1 / rank over the sample's captions, and how many there are."""
        ranks = media_ranks(prediction)
        return sum(1 / rank for rank in ranks), float(len(ranks))
