"""ROUGE-L (Lin 2004): the longest common subsequence of words, as COCO's or as Google's code has it."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass
from rapidfuzz.distance import LCSseq

from harness.metrics.base import OPTIONS
from harness.metrics.mean_score import MeanScore, TextTarget, references
from harness.metrics.ptb_tokenizer import SIGNATURE, words

BETA = 1.2
"""How much more recall counts than precision in COCO's F."""
_GOOGLE_WORD = re.compile("[a-z0-9]+")


@dataclass(frozen=True, config=OPTIONS)
class RougeL(MeanScore):
    """The mean over samples of ROUGE-L's F, times 100."""

    name: ClassVar[str] = "rouge_l"
    unit: ClassVar[str] = ""

    flavour: Literal["coco", "google"] = "coco"
    """coco: words of captions, F with beta 1.2 of the best precision and the best recall of any reference.
    google: as `rouge_score`, and so `evaluate`'s rouge, without a stemmer: F1 of the best reference, words of
    ASCII letters and digits."""

    @property
    def signature(self) -> str:
        """The flavour, what becomes of several references, and who makes the words."""
        if self.flavour == "google":
            return "flavour:google|beta:1|references:best F|stemmer:no"
        return f"flavour:coco|beta:{BETA}|references:best precision and recall|tokenizer:{SIGNATURE}"

    def score(self, prediction: str, target: TextTarget) -> float:
        """F of one sample, 0 to 1."""
        texts = references(target)
        return _google(prediction, texts) if self.flavour == "google" else _coco(prediction, texts)


def _coco(prediction: str, texts: list[str]) -> float:
    # COCO's code splits an empty caption into one empty word
    said, meant = words(prediction) or ("",), [words(text) or ("",) for text in texts]
    common = [LCSseq.similarity(said, reference) for reference in meant]
    precision = max(common) / len(said)
    recall = max(length / len(reference) for length, reference in zip(common, meant, strict=True))
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision) if max(common) else 0.0


def _google(prediction: str, texts: list[str]) -> float:
    said = _GOOGLE_WORD.findall(prediction.lower())
    return max(_f1(said, _GOOGLE_WORD.findall(text.lower())) for text in texts)


def _f1(said: list[str], meant: list[str]) -> float:
    common = LCSseq.similarity(said, meant)
    return 2 * common / (len(said) + len(meant)) if common else 0.0
