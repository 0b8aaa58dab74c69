"""Text retrieval: for how many images one of their own captions is among the k best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS
from harness.metrics.ranks import Recall, text_rank


@dataclass(frozen=True, config=OPTIONS)
class TextRecall(Recall):
    """Share of images (or clips) that find a caption of theirs among the first k (Karpathy & Li 2015)."""

    name: ClassVar[str] = "text_recall"
    columns: ClassVar[tuple[str, ...]] = ("hits", "queries")

    @property
    def signature(self) -> str:
        """What is asked, what counts as found, and how ties are read."""
        return f"k:{self.k}|queries:images or clips|found:any own caption|ties:against"

    def stats(self, prediction: Mapping[str, Any], target: Any) -> tuple[float, ...]:
        """Whether a caption is found (1 or 0), and 1."""
        return float(text_rank(prediction) <= self.k), 1.0
