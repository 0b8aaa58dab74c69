"""POPE (Li et al. 2023): does a model see objects that aren't there? Yes or no, and "yes" is the positive."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from harness.errors import RowError
from harness.metrics.base import OPTIONS, Metric

NO = frozenset({"No", "not", "no"})


class Counts(NamedTuple):
    """How often each was said, rightly and wrongly; all of one shape."""

    true_yes: NDArray[np.float64]
    false_yes: NDArray[np.float64]
    true_no: NDArray[np.float64]
    false_no: NDArray[np.float64]


def said_no(text: str) -> bool:
    """Whether an answer counts as no: by its words before the first period, commas apart.

    Everything else counts as yes, as in POPE's own code: "NO", "None" and an empty answer too.
    """
    return not NO.isdisjoint(text.strip().split(".")[0].replace(",", "").split(" "))


class Pope(Metric):
    """A score of yes-and-no answers, as a share of counts."""

    unit: ClassVar[str] = "%"
    higher_is_better: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = Counts._fields

    @property
    def signature(self) -> str:
        """Which answer is the positive, and who reads the answers."""
        return "positive:yes|parser:pope"

    def stats(self, prediction: str, target: str | list[str]) -> tuple[float, ...]:
        """One of the four counts is 1. Raises RowError where the target is neither yes nor no."""
        meant = target.strip().lower() if isinstance(target, str) else None
        if meant not in ("yes", "no"):
            raise RowError(f"{self.name} is of yes and no, and the target is {target!r}")
        said = "no" if said_no(prediction) else "yes"
        counted = f"{'true' if said == meant else 'false'}_{said}"
        return tuple(float(column == counted) for column in self.columns)

    @abstractmethod
    def share(self, of: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Numerator and denominator; the share is undefined where the denominator is 0."""

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """100 numerator / denominator, shape (..., 4) to (...,); NaN where that is undefined."""
        numerator, denominator = self.share(Counts(*np.moveaxis(sums, -1, 0)))
        return 100 * numerator / np.where(denominator > 0, denominator, np.nan)


@dataclass(frozen=True, config=OPTIONS)
class PopeAccuracy(Pope):
    """The share of answers that are right."""

    name: ClassVar[str] = "pope_accuracy"

    def share(self, of: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Right answers, of all."""
        return of.true_yes + of.true_no, of.true_yes + of.false_yes + of.true_no + of.false_no

    def correct(self, stats: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Right answers, (n, 4) to (n,)."""
        of = Counts(*stats.T)
        return np.equal(of.true_yes + of.true_no, 1)


@dataclass(frozen=True, config=OPTIONS)
class PopePrecision(Pope):
    """Of the objects that were said to be there, the share that is; undefined where none was."""

    name: ClassVar[str] = "pope_precision"

    def share(self, of: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Right yes, of all yes."""
        return of.true_yes, of.true_yes + of.false_yes


@dataclass(frozen=True, config=OPTIONS)
class PopeRecall(Pope):
    """Of the objects that are there, the share that was said to be; undefined where there is none."""

    name: ClassVar[str] = "pope_recall"

    def share(self, of: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Right yes, of all questions whose answer is yes."""
        return of.true_yes, of.true_yes + of.false_no


@dataclass(frozen=True, config=OPTIONS)
class PopeF1(Pope):
    """The harmonic mean of precision and recall."""

    name: ClassVar[str] = "pope_f1"

    def share(self, of: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Twice the right yes, of every yes that was said and every one that should have been."""
        return 2 * of.true_yes, 2 * of.true_yes + of.false_yes + of.false_no


@dataclass(frozen=True, config=OPTIONS)
class PopeYesRate(Pope):
    """The share of answers that are yes. Half of POPE's targets are; more is a bias towards yes.

    Tables show it as better when higher, since they know of no middle: read it beside the others.
    """

    name: ClassVar[str] = "pope_yes_rate"

    def share(self, of: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Yes, of all answers."""
        return of.true_yes + of.false_yes, of.true_yes + of.false_yes + of.true_no + of.false_no
