"""Which samples made the difference between two runs, and in which words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from harness.metrics.base import Metric

_KINDS: dict[str, Literal["substituted", "deleted", "inserted"]] = {
    "replace": "substituted",
    "delete": "deleted",
    "insert": "inserted",
}


@dataclass(frozen=True)
class WordDifference:
    """Words where a hypothesis departs from the reference; a side without words is empty."""

    kind: Literal["substituted", "deleted", "inserted"]
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class Change:
    """A sample that one run does better than the other.

    `gain` is how much better (positive) or worse (negative) the corpus value becomes, in the metric's
    unit, when this sample's result of a is swapped for that of b.
    """

    id: str
    gain: float
    target: str
    prediction_a: str
    prediction_b: str
    words_a: tuple[WordDifference, ...]
    words_b: tuple[WordDifference, ...]


def gains(metric: Metric, stats_a: NDArray[np.float64], stats_b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each sample's `Change.gain`, (n, columns) twice to (n,).

    For an error rate this is the sample's saved edits over all reference units.
    """
    total = stats_a.sum(axis=0)
    moved = metric.reduce(total - stats_a + stats_b) - metric.reduce(total)
    return moved if metric.higher_is_better else -moved


def largest(gain: NDArray[np.float64], count: int) -> tuple[list[int], list[int]]:
    """Rows of the `count` largest wins and losses, largest first, equal ones in their order."""
    order = np.argsort(gain, kind="stable")
    losses = [int(row) for row in order[:count] if gain[row] < 0]
    order = np.argsort(-gain, kind="stable")
    wins = [int(row) for row in order[:count] if gain[row] > 0]
    return wins, losses


def change(gain: float, a: Mapping[str, Any], b: Mapping[str, Any]) -> Change:
    """The change between two rows of the same sample, each with id, target and prediction."""
    return Change(
        id=a["id"],
        gain=gain,
        target=a["target"],
        prediction_a=a["prediction"],
        prediction_b=b["prediction"],
        words_a=differing_words(a["target"], a["prediction"]),
        words_b=differing_words(b["target"], b["prediction"]),
    )


def differing_words(reference: str, hypothesis: str) -> tuple[WordDifference, ...]:
    """Where the words differ, in order, along the alignment that the word error rate counts."""
    target, output = reference.split(), hypothesis.split()
    return tuple(
        WordDifference(_KINDS[step.tag], _words(target, step.src_start, step.src_end), _words(output, *ends))
        for step in Levenshtein.opcodes(target, output)
        if step.tag in _KINDS and (ends := (step.dest_start, step.dest_end))
    )


def _words(words: Sequence[str], start: int, end: int) -> str:
    return " ".join(words[start:end])
