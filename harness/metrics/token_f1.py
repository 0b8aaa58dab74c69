"""Token F1: how far the words of an answer are those of a reference (Rajpurkar et al. 2016, SQuAD)."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import ClassVar

from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS
from harness.metrics.mean_score import MeanScore, TextTarget, references

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True, config=OPTIONS)
class TokenF1(MeanScore):
    """The mean over samples of the best F1 over references, in percent, as SQuAD 1.1's script has it.

    Words are compared as bags: in lower case, without ASCII punctuation and articles. An answer that has no
    words left scores 0, also against a reference that has none.
    """

    name: ClassVar[str] = "token_f1"

    @property
    def signature(self) -> str:
        """How words are made, and what becomes of several references."""
        return "normalizer:squad-1.1|references:best"

    def score(self, prediction: str, target: TextTarget) -> float:
        """F1 against the reference that gives the highest, 0 to 1."""
        said = Counter(words(prediction))
        return max(_f1(said, Counter(words(reference))) for reference in references(target))


def words(text: str) -> list[str]:
    """The words of `text` as SQuAD 1.1 normalises it."""
    return _ARTICLE.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split()


def _f1(said: Counter[str], meant: Counter[str]) -> float:
    common = (said & meant).total()
    return 2 * common / (said.total() + meant.total()) if common else 0.0
