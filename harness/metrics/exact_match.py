"""Exact match: the share of answers that are one of the right texts."""

from __future__ import annotations

import string
from typing import ClassVar

from pydantic.dataclasses import dataclass

from harness.metrics import normalizers
from harness.metrics.base import OPTIONS
from harness.metrics.mean_score import MeanScore, TextTarget, references

WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, config=OPTIONS)
class ExactMatch(MeanScore):
    """The share of answers, in percent, that equal one of the sample's references.

    White space at the ends never counts. GQA is scored with `ignore_case` and `ignore_punctuation`.
    """

    name: ClassVar[str] = "exact_match"

    normalizer: str = "none"
    """Text normalizer of answer and references: none, lower, vqa, m4c, whisper-english or whisper-basic."""
    ignore_case: bool = False
    """Compare in lower case."""
    ignore_punctuation: bool = False
    """Drop ASCII punctuation first."""

    @property
    def signature(self) -> str:
        """The normalizer, and what is ignored."""
        case = "ignored" if self.ignore_case else "counts"
        punctuation = "ignored" if self.ignore_punctuation else "counts"
        return f"normalizer:{normalizers.signature(self.normalizer)}|case:{case}|punctuation:{punctuation}"

    def score(self, prediction: str, target: TextTarget) -> float:
        """1 where the answer is one of the references, else 0."""
        said = self._compared(prediction)
        return float(any(self._compared(reference) == said for reference in references(target)))

    def _compared(self, text: str) -> str:
        if self.ignore_case:
            text = text.lower()
        if self.ignore_punctuation:
            text = text.translate(WITHOUT_PUNCTUATION)
        return text.strip()
