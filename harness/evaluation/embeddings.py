"""What heads have in common: arithmetic of embeddings, and classes as answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from harness.evaluation.heads import Outcome
from harness.types import Json, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT = 20
"""Classes of an answer where one is right: as many as accuracy@k could ask for."""
BLOCK = 256
"""Samples that are answered at once."""
ClassAnswer: TypeAlias = Mapping[str, Json]


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors along the last axis with an L2 norm of 1; those of length 0 stay 0."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found


def stacked(predictions: Iterable[Prediction]) -> NDArray[np.float32]:
    """Embeddings of predictions, none of them a failure, shape (samples, dimensions)."""
    vectors: list[Any] = [prediction.output for prediction in predictions]
    return np.stack(vectors)


def without_media(outcome: Outcome) -> Outcome:
    """What is left to do needs no media, and those of all samples at once may not fit into memory."""
    sample, id_, prediction = outcome
    return (replace(sample, inputs={}) if sample else None), id_, prediction


def answered(
    outcomes: Iterable[Outcome],
    answers: Callable[[NDArray[np.float32]], Iterable[ClassAnswer]],
    extras: Mapping[str, Json] | None = None,
) -> Iterator[Outcome]:
    """The outcomes with answers in place of embeddings, and `extras` added; failures as they are.

    `answers` takes the embeddings of up to `BLOCK` samples at once.
    """
    coming = iter(outcomes)
    while block := list(islice(coming, BLOCK)):
        good = [prediction for _, _, prediction in block if prediction.error is None]
        found = iter(answers(stacked(good)) if good else ())
        for sample, id_, prediction in block:
            if prediction.error is not None:
                yield sample, id_, prediction
                continue
            more = {**prediction.extras, **(extras or {})}
            yield sample, id_, replace(prediction, output=next(found), extras=more)


def by_class(
    order_of: NDArray[np.float64], values: NDArray[np.float64], names: Sequence[str], kept: int
) -> Iterator[ClassAnswer]:
    """The `kept` classes of each row by falling `order_of` (equal ones in their order), with their `values`.

    Both arrays have the shape (samples, classes).
    """
    order = np.argsort(-order_of, axis=1, kind="stable")[:, :kept]
    for places, row in zip(order, values, strict=True):
        yield {names[place]: float(row[place]) for place in places}
