"""N-grams of captions: what BLEU and CIDEr count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from harness.metrics.ptb_tokenizer import words

ORDER = 4
"""Longest n-gram, in words."""
NGram: TypeAlias = "tuple[str, ...]"


def ngrams(caption: Sequence[str]) -> Counter[NGram]:
    """How often each n-gram of 1 to 4 words occurs in a caption's words."""
    return Counter(
        tuple(caption[start : start + n])
        for n in range(1, ORDER + 1)
        for start in range(len(caption) - n + 1)
    )


@lru_cache(maxsize=1 << 10)  # B@1 to B@4 ask for the captions of a sample one after another
def counted(caption: str) -> Counter[NGram]:
    """The n-grams of a caption that is still text. Not to be changed by the caller."""
    return ngrams(words(caption))
