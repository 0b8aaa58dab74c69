"""ANLS: average normalised Levenshtein similarity (Biten et al. 2019), for answers read off documents."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from rapidfuzz.distance import Levenshtein

from harness.metrics.base import OPTIONS
from harness.metrics.mean_score import MeanScore, TextTarget, references


@dataclass(frozen=True, config=OPTIONS)
class Anls(MeanScore):
    """The mean over samples, in percent, of 1 - edits / characters of the longer text.

    Case doesn't count, nor does how much white space there is. Of several references the nearest counts.
    A similarity below the threshold is 0; one at it stays, as in DocVQA's script (the paper drops it).
    """

    name: ClassVar[str] = "anls"

    threshold: float = Field(default=0.5, ge=0, le=1)
    """Least similarity that counts."""

    @property
    def signature(self) -> str:
        """The threshold, and how texts are compared."""
        return f"threshold:{self.threshold:g}|case:ignored|references:best"

    def score(self, prediction: str, target: TextTarget) -> float:
        """0, or the similarity to the nearest reference, from the threshold to 1."""
        said = _compared(prediction)
        best = max(_similarity(said, _compared(reference)) for reference in references(target))
        return best if best >= self.threshold else 0.0


def _similarity(a: str, b: str) -> float:
    longer = max(len(a), len(b))
    return 1 - Levenshtein.distance(a, b) / longer if longer else 1.0


def _compared(text: str) -> str:
    return " ".join(text.lower().split())
