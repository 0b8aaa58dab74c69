"""A metric under way: what it has seen of each sample so far, and the score of it.

Of most metrics that is a row of sufficient statistics; of others what they keep; of a metric that is known
only as a function of lists, the lists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.statistics import Interval, interval, resampled_interval, weighted_interval
from harness.metrics.base import CorpusMetric, Metric, WeightedMetric, mean
from harness.results.record import MetricIdentity, MetricPart
from harness.spec.schema import MetricSpec, Statistics


class Scored(ABC):
    """One metric of a task; `key` is its name in the record."""

    metric: Metric | CorpusMetric

    def __init__(self, key: str, spec: MetricSpec) -> None:
        self.key = key
        self.spec = spec
        self.groups: list[str] = []

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its statistics in the sample rows."""
        return ()

    @abstractmethod
    def seen(self, prediction: Any, target: Any) -> Any:
        """What the metric needs of one sample (normalised already), which isn't counted yet.

        Raises SampleError where the sample can't be scored.
        """

    @abstractmethod
    def add(self, seen: Any, group: str) -> Sequence[float | None]:
        """Count a sample by what was seen of it; its row of statistics, nulls when it isn't scored."""

    @abstractmethod
    def value(self) -> float:
        """The score alone, which is what `part` has; NaN when it is undefined."""

    @abstractmethod
    def interval(self, draws: int, seed: int) -> Interval:
        """The score with its interval."""

    def part(self, statistics: Statistics) -> MetricPart:
        """The score with its interval, as the record has it."""
        found = self.interval(statistics.draws, statistics.seed)
        return MetricPart(
            value=None if np.isnan(found.value) else found.value,
            ci95=found.bounds,
            n=found.n,
            clusters=found.clusters,
            unit=self.metric.unit,
            higher_is_better=self.metric.higher_is_better,
            signature=self.metric.signature,
            columns=self.columns,
            metric=MetricIdentity(name=self.spec.name, options=self.spec.options),
        )


class ScoredSums(Scored):
    """A metric of sums: 8 bytes a number, so a million samples are cheap."""

    def __init__(self, key: str, spec: MetricSpec, metric: Metric) -> None:
        super().__init__(key, spec)
        self.metric: Metric = metric
        self._values = array("d")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its statistics in the sample rows."""
        return tuple(f"{self.key}.{column}" for column in self.metric.columns)

    def seen(self, prediction: Any, target: Any) -> Any:
        """Its statistics; None when it isn't scored."""
        return self.metric.stats(prediction, target)

    def add(self, seen: Any, group: str) -> Sequence[float | None]:
        """Count one sample's statistics."""
        if seen is None:
            return [None] * len(self.metric.columns)
        stats: tuple[float, ...] = seen
        self._values.extend(stats)
        self.groups.append(group)
        return stats

    def value(self) -> float:
        """The score of the sums; NaN without any."""
        return float(self.metric.reduce(self._stats().sum(axis=0))) if self._values else float("nan")

    def interval(self, draws: int, seed: int) -> Interval:
        """The bootstrap over sums."""
        return interval(self._stats(), self.groups, self.metric.reduce, draws, seed)

    def _stats(self) -> NDArray[np.float64]:
        """Statistics of the scored samples, shape (n, columns)."""
        return np.frombuffer(self._values, dtype=np.float64).reshape(-1, len(self.metric.columns))


class ScoredWeights(Scored):
    """A metric of how often each sample counts."""

    def __init__(self, key: str, spec: MetricSpec, metric: WeightedMetric) -> None:
        super().__init__(key, spec)
        self.metric: WeightedMetric = metric
        self._kept: list[Any] = []

    def seen(self, prediction: Any, target: Any) -> Any:
        """What the metric wants of a sample; None when it isn't scored."""
        return self.metric.kept(prediction, target)

    def add(self, seen: Any, group: str) -> Sequence[float | None]:
        """Keep it."""
        if seen is not None:
            self._kept.append(seen)
            self.groups.append(group)
        return ()

    def value(self) -> float:
        """The score in which every sample counts once; NaN without any."""
        if not self._kept:
            return float("nan")
        return float(self.metric.weighted(self._kept)(np.ones((1, len(self._kept))))[0])

    def interval(self, draws: int, seed: int) -> Interval:
        """The bootstrap over weights."""
        return weighted_interval(self.metric.weighted(self._kept), self.groups, draws, seed)


class ScoredLists(Scored):
    """A metric of whole lists."""

    def __init__(self, key: str, spec: MetricSpec, metric: CorpusMetric) -> None:
        super().__init__(key, spec)
        self.metric: CorpusMetric = metric
        self._predictions: list[Any] = []
        self._targets: list[Any] = []

    def seen(self, prediction: Any, target: Any) -> Any:
        """A sample's prediction and target."""
        return prediction, target

    def add(self, seen: Any, group: str) -> Sequence[float | None]:
        """Keep both."""
        prediction, target = seen
        self._predictions.append(prediction)
        self._targets.append(target)
        self.groups.append(group)
        return ()

    def value(self) -> float:
        """The score of the lists; NaN without any."""
        lists = self._predictions, self._targets
        return float(self.metric.compute(*lists)) if self._predictions else float("nan")

    def interval(self, draws: int, seed: int) -> Interval:
        """The bootstrap over lists, made anew for every draw, or over each sample's own score."""
        if self.metric.averaged:
            scores = self.metric.alone(self._predictions, self._targets)
            return interval(scores, self.groups, mean, draws, seed)
        compute = self.metric.compute
        return resampled_interval(compute, self._predictions, self._targets, self.groups, draws, seed)


def begin(key: str, spec: MetricSpec, metric: Metric | CorpusMetric) -> Scored:
    """A metric that has seen nothing yet."""
    if isinstance(metric, Metric):
        return ScoredSums(key, spec, metric)
    if isinstance(metric, WeightedMetric):
        return ScoredWeights(key, spec, metric)
    return ScoredLists(key, spec, metric)
