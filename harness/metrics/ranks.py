"""Answers of retrieval: the ranks of an image (or clip) and its own captions, 1 being the best.

An answer is {"text": r, "image": [r1, ..., r5]}: the rank of the best of the image's captions among all
captions, and of the image, for each of its captions, among all images. Of clips it says "audio".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS, Metric

TEXT, MEDIA = "text", ("image", "audio")


def text_rank(answer: Mapping[str, int | Sequence[int]]) -> int:
    """The rank of the best of its own captions."""
    rank = answer[TEXT]
    assert isinstance(rank, int)
    return rank


def media_ranks(answer: Mapping[str, int | Sequence[int]]) -> Sequence[int]:
    """For each of its captions, the rank of the image or clip."""
    ranks = next(answer[name] for name in MEDIA if name in answer)
    assert not isinstance(ranks, int)
    return ranks


class RankMetric(Metric):
    """A share or mean over queries, in percent."""

    unit: ClassVar[str] = "%"
    higher_is_better: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("ranks",)

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """100 times the first sum over the number of queries, (..., 2) to (...,); NaN without queries."""
        return 100 * sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan)


@dataclass(frozen=True, config=OPTIONS)
class Recall(RankMetric):
    """Recall@k; `text_recall@5` is short for k: 5."""

    k: int = Field(default=1, ge=1)
    """How many of the best candidates are looked at."""

    def correct(self, stats: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Samples all of whose queries are answered among the first k, (n, 2) to (n,)."""
        return np.equal(stats[:, 0], stats[:, 1])
