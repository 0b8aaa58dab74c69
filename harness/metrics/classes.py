"""Answers and targets that are classes, and sums over each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError

ClassAnswer: TypeAlias = "str | Mapping[str, float]"
"""Classes and their probabilities, the most probable first; or a name, which is that class alone."""


def first(answer: ClassAnswer, k: int = 1) -> tuple[str, ...]:
    """The k most probable classes, fewer where the answer has fewer."""
    return (answer,) if isinstance(answer, str) else tuple(islice(answer, k))


def one_class(target: Any, metric: str) -> str:
    """The class of a sample. Raises DataError for a list of them."""
    if isinstance(target, str):
        return target
    raise DataError(
        f"metric '{metric}' takes one class a sample, not a list of {len(target)}",
        "Where several classes may be right at once, score with `map`.",
    )


def numbered(names: Sequence[str]) -> tuple[NDArray[np.intp], dict[str, int]]:
    """Each name's number, shape (n,), and the number of each distinct name, in the order of the alphabet."""
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.fromiter((numbers[name] for name in names), dtype=np.intp, count=len(names)), numbers


def summed(weights: NDArray[np.float64], codes: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """Weights summed by code, (draws, n) to (draws, count)."""
    return np.stack([np.bincount(codes, weights=row, minlength=count) for row in weights])


def mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the last axis of what isn't NaN, (draws, k) to (draws,); NaN where nothing is defined."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=-1)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    mean: NDArray[np.float64] = total / np.where(count > 0, count, np.nan)
    return mean
