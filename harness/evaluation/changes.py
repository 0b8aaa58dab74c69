"""Which samples made the difference between two runs, and in which words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from harness.evaluation.forms import nearest_reference
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

    `difference` is how much the corpus value changes, in the metric's unit, when this sample's result of a
    is swapped for that of b. Its sign is that of the runs' difference b - a: negative is a win for an error
    rate.
    """

    id: str
    difference: float
    target: str
    prediction_a: str
    prediction_b: str
    words_a: tuple[WordDifference, ...]
    words_b: tuple[WordDifference, ...]


def differences(
    metric: Metric, stats_a: NDArray[np.float64], stats_b: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each sample's `Change.difference`, (n, columns) twice to (n,).

    For an error rate this is the sample's added edits over all reference units, and they sum up to the
    difference of the runs.
    """
    total = stats_a.sum(axis=0)
    return metric.reduce(total - stats_a + stats_b) - metric.reduce(total)


def largest(
    difference: NDArray[np.float64], count: int, *, higher_is_better: bool
) -> tuple[list[int], list[int]]:
    """Rows of the `count` largest wins and losses, largest first, equal ones in their order."""
    gain = difference if higher_is_better else -difference
    order = np.argsort(gain, kind="stable")
    losses = [int(row) for row in order[:count] if gain[row] < 0]
    order = np.argsort(-gain, kind="stable")
    wins = [int(row) for row in order[:count] if gain[row] > 0]
    return wins, losses


def change(difference: float, a: Mapping[str, Any], b: Mapping[str, Any], form: str = "text") -> Change:
    """The change between two rows of the same sample, each with id, target and prediction.

    A class is taken as a whole, and ranks aren't made of the target's words (`harness.spec.kinds`).
    """
    words = _DIFFERENCES.get(form, _answer)
    return Change(
        id=a["id"],
        difference=difference,
        target=a["target"],
        prediction_a=a["prediction"],
        prediction_b=b["prediction"],
        words_a=words(a["target"], a["prediction"]),
        words_b=words(b["target"], b["prediction"]),
    )


def differing_words(reference: str, hypothesis: str) -> tuple[WordDifference, ...]:
    """Where the words differ, in order, along the alignment that the word error rate counts.

    Of several references the nearest is taken.
    """
    target, output = nearest_reference(reference, hypothesis).split(), hypothesis.split()
    return tuple(
        WordDifference(_KINDS[step.tag], _words(target, step.src_start, step.src_end), _words(output, *ends))
        for step in Levenshtein.opcodes(target, output)
        if step.tag in _KINDS and (ends := (step.dest_start, step.dest_end))
    )


def _class(target: str, answer: str) -> tuple[WordDifference, ...]:
    if target == answer:
        return ()
    return (WordDifference("substituted" if answer else "deleted", target, answer),)


def _answer(_: str, answer: str) -> tuple[WordDifference, ...]:
    return (WordDifference("inserted", "", answer),)


_DIFFERENCES = {"text": differing_words, "class": _class}


def _words(words: Sequence[str], start: int, end: int) -> str:
    return " ".join(words[start:end])
