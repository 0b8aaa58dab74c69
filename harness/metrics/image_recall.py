"""Image (or audio) retrieval: for how many captions their image is among the k best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS
from harness.metrics.ranks import Recall, media_ranks


@dataclass(frozen=True, config=OPTIONS)
class ImageRecall(Recall):
    """Share of captions that find their image (or clip) among the first k (Karpathy & Li 2015)."""

    name: ClassVar[str] = "image_recall"
    columns: ClassVar[tuple[str, ...]] = ("hits", "queries")

    @property
    def signature(self) -> str:
        """What is asked, and how ties are read."""
        return f"k:{self.k}|queries:captions|ties:against"

    def stats(self, prediction: Mapping[str, Any], target: Any) -> tuple[float, ...]:
        """How many of the sample's captions find it, and how many there are."""
        ranks = media_ranks(prediction)
        return float(sum(rank <= self.k for rank in ranks)), float(len(ranks))
