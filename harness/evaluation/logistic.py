"""Logistic regression on embeddings, with the strength of its penalty chosen on other samples."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ITERATIONS = 1000
"""Steps of the solver, as in CLIP's own linear probe."""


@dataclass(frozen=True)
class Labelled:
    """Embeddings, shape (n, dimensions), and their labels: numbers of classes, shape (n,), or where several
    may be right zeros and ones, shape (n, classes)."""

    vectors: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Regression:
    """A regression that has learned. `strength` is the inverse strength of its penalty (scikit-learn's C);
    `value` in [0, 1] is how well it did where that was chosen, None where there was no choice."""

    model: Any
    strength: float
    converged: bool
    value: float | None = None

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities of the classes, shape (n, classes)."""
        found: NDArray[np.float64] = self.model.predict_proba(vectors.astype(np.float64))
        return found


def chosen(learned: Labelled, chosen_on: Labelled | None, strengths: Sequence[float]) -> Regression:
    """The regression on `learned` that does best on `chosen_on`; of equal ones, the strongest penalty's.

    Best by accuracy, or by mean average precision where several classes may be right (classes that the
    samples don't have left out).
    """
    if chosen_on is None:
        return _fitted(learned, strengths[0])
    best: Regression | None = None
    for strength in sorted(strengths):
        found = _fitted(learned, strength)
        value = _value(found, chosen_on)
        if best is None or value > (best.value or 0.0):
            best = Regression(found.model, strength, found.converged, value)
    assert best is not None
    return best


def _fitted(learned: Labelled, strength: float) -> Regression:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    model: Any = LogisticRegression(C=strength, max_iter=ITERATIONS)
    if learned.labels.ndim == 2:
        model = OneVsRestClassifier(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(learned.vectors, learned.labels)
    missed = [warning for warning in caught if issubclass(warning.category, ConvergenceWarning)]
    for other in caught:
        if other not in missed:
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return Regression(model, strength, converged=not missed)


def _value(found: Regression, samples: Labelled) -> float:
    probabilities = found.model.predict_proba(samples.vectors)
    if samples.labels.ndim == 1:
        return float((probabilities.argmax(axis=1) == samples.labels).mean())
    from sklearn.metrics import average_precision_score

    present = samples.labels.any(axis=0)
    return float(average_precision_score(samples.labels[:, present], probabilities[:, present]))
