"""Zero-shot classification: images and clips against prompts that name the classes (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.errors import DataError
from harness.evaluation.embeddings import KEPT, ClassAnswer, answered, by_class, normalised
from harness.evaluation.heads import Head, Means, Outcome
from harness.models.base import Similarity
from harness.spec.classes import Classes, prompts

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ZeroShot(Head):
    """Classes by their probabilities, the most probable first.

    A class is the mean of its prompts' embeddings, each normalised before and the mean after. Where several
    classes may be right the answer has all of them, else the `KEPT` most probable. Raises DataError when
    nobody says which classes there are.
    """

    def __init__(self, means: Means) -> None:
        classes = means.task.classes or Classes()
        self._names = _names(means)
        self._similarity = means.adapter.similarity()
        self._scoring: Literal["softmax", "sigmoid"] = (
            self._similarity.scoring if classes.scoring == "checkpoint" else classes.scoring
        )
        self._kept = len(self._names) if classes.multilabel else KEPT
        asked = prompts(self._names, classes.templates)
        found = means.embed.texts([prompt for own in asked for prompt in own], "prompts")
        self._classifier = classifier(found.reshape(len(asked), len(classes.templates), -1))

    def answers(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """The outcomes with probabilities of classes in place of embeddings."""
        return answered(outcomes, self._answers)

    def _answers(self, vectors: NDArray[np.float32]) -> Iterator[ClassAnswer]:
        found = logits(vectors, self._classifier, self._similarity)
        return by_class(found, probabilities(found, self._scoring), self._names, self._kept)


def classifier(embedded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights of the classes, shape (classes, dimensions), from prompts (classes, templates, dimensions)."""
    return normalised(normalised(embedded).mean(axis=1))


def logits(
    vectors: NDArray[np.float32], classes: NDArray[np.float32], similarity: Similarity
) -> NDArray[np.float64]:
    """Logits, shape (samples, classes), of embeddings (samples, dimensions)."""
    cosines = (normalised(vectors) @ classes.T).astype(np.float64)
    return cosines * similarity.scale + similarity.bias


def probabilities(found: NDArray[np.float64], scoring: Literal["softmax", "sigmoid"]) -> NDArray[np.float64]:
    """Probabilities of logits: classes compete for them (softmax), or each stands alone (sigmoid)."""
    if scoring == "sigmoid":
        alone: NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -found))
        return alone
    powers = np.exp(found - found.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _names(means: Means) -> Sequence[str]:
    if means.dataset.class_names is None:
        raise DataError(
            f"nothing says which classes there are: the labels of {means.dataset.path} have no names",
            "List them under classes.names, or name a file of the dataset with classes.names_file.",
        )
    return means.dataset.class_names
