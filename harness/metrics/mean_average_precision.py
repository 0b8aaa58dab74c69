"""Mean average precision over classes, several of which may be right at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from harness.errors import DataError
from harness.metrics.base import OPTIONS, Weighted, WeightedMetric
from harness.metrics.classes import mean_of_defined

Labels: TypeAlias = "tuple[tuple[str, ...], NDArray[np.float64], tuple[str, ...]]"
"""What is kept of a sample: the classes of its answer, their probabilities, and the classes it has."""


@plain_dataclass(frozen=True)
class Ranking:
    """The samples in the order of one class's probabilities, cut where a positive is.

    Samples of equal probability share one threshold. `order` are the samples down to the last positive;
    `ends` the lengths of `order` at each threshold that has a positive; `positives` the positive samples in
    that order, and `starts` where each threshold's begin among them.
    """

    order: NDArray[np.intp]
    ends: NDArray[np.intp]
    positives: NDArray[np.intp]
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Ranking:
        """From probabilities and truth of every sample, both of shape (n,); one at least is positive."""
        order = np.argsort(-scores, kind="stable")
        ordered = scores[order]
        threshold = np.cumsum(np.concatenate([[False], ordered[1:] != ordered[:-1]]))
        places = np.flatnonzero(positive[order])
        held, starts = np.unique(threshold[places], return_index=True)
        ends = np.searchsorted(threshold, held, side="right")
        return cls(order[: ends[-1]], ends, order[places], starts)

    def precision(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average precision by the samples' weights, (draws, n) to (draws,); NaN without positives."""
        begins = np.concatenate([[0], self.ends[:-1]])
        above = np.cumsum(np.add.reduceat(np.take(weights, self.order, axis=1), begins, axis=1), axis=1)
        right = np.add.reduceat(np.take(weights, self.positives, axis=1), self.starts, axis=1)
        precision = np.cumsum(right, axis=1) / np.where(above > 0, above, 1.0)
        total = right.sum(axis=1)
        found: NDArray[np.float64] = (right * precision).sum(axis=1) / np.where(total > 0, total, np.nan)
        return found


@dataclass(frozen=True, config=OPTIONS)
class MeanAveragePrecision(WeightedMetric):
    """The mean over classes of average precision without interpolation, as scikit-learn computes each.

    AP sums precision times the step of recall over the thresholds. Classes that no sample has are left
    out; a class that an answer doesn't name has probability 0.
    """

    name: ClassVar[str] = "map"
    unit: ClassVar[str] = "%"
    higher_is_better: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("labels",)

    @property
    def signature(self) -> str:
        """How precision is averaged, and over which classes."""
        return "average:macro|interpolation:none|classes:in targets"

    def kept(self, prediction: Mapping[str, float], target: Any) -> Labels:
        """Classes, their probabilities, and those the sample has. Raises DataError where it is one name."""
        if isinstance(target, str):
            raise DataError(
                f"metric '{self.name}' takes a list of classes a sample, not '{target}'",
                "Set classes.multilabel to true, or score with `accuracy`.",
            )
        names = tuple(sorted(prediction))
        return names, np.array([prediction[name] for name in names], dtype=np.float64), tuple(target)

    def weighted(self, kept: Sequence[Labels]) -> Weighted:
        """100 times the mean average precision of the classes that are drawn at all."""
        rankings = list(by_class(kept).values())

        def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            found = [ranking.precision(weights) for ranking in rankings]
            nothing = np.full((len(weights), 1), np.nan)
            return 100 * mean_of_defined(np.stack(found, axis=1) if found else nothing)

        return score


def by_class(kept: Sequence[Labels]) -> dict[str, Ranking]:
    """The ranking of every class that a sample has, in the order of the alphabet."""
    names = sorted({name for _, _, target in kept for name in target})
    columns = {name: column for column, name in enumerate(names)}
    scores = np.zeros((len(kept), len(names)))
    positive = np.zeros((len(kept), len(names)), dtype=np.bool_)
    places: dict[tuple[str, ...], tuple[list[int], list[int]]] = {}
    for row, (named, values, target) in enumerate(kept):
        if named not in places:
            held = [place for place, name in enumerate(named) if name in columns]
            places[named] = held, [columns[named[place]] for place in held]
        held, into = places[named]
        scores[row, into] = values[held]
        positive[row, [columns[name] for name in target]] = True
    return {name: Ranking.of(scores[:, at], positive[:, at]) for name, at in columns.items()}
