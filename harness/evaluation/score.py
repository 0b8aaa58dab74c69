"""Predictions to scores: one pass over samples and predictions, one row of statistics each.

Nothing but the sufficient statistics stays in memory, 8 bytes a number, so a million samples are cheap.
A sample without a prediction is counted as a failure and scored by nobody.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.statistics import Interval, interval, resampled_interval
from harness.metrics.base import CorpusMetric, Metric, build
from harness.metrics.normalizers import normalized, resolve
from harness.registry import NORMALIZERS
from harness.results.record import MetricIdentity, MetricPart
from harness.spec.schema import MetricSpec, Statistics, Task, metric_keys
from harness.types import Failure, Prediction, Sample

ROWS_PER_BATCH = 1024


@dataclass
class Scored:
    """A metric under way: what it has seen of each sample so far."""

    key: str
    spec: MetricSpec
    metric: Metric | CorpusMetric
    values: array[float] = field(default_factory=lambda: array("d"))
    groups: list[str] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    targets: list[Any] = field(default_factory=list)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its statistics in the sample rows."""
        if isinstance(self.metric, CorpusMetric):
            return ()
        return tuple(f"{self.key}.{column}" for column in self.metric.columns)

    def add(self, prediction: Any, target: Any, group: str) -> Sequence[float | None]:
        """Count one sample (normalised already); its row of statistics, nulls when it isn't scored."""
        if isinstance(self.metric, CorpusMetric):
            self.predictions.append(prediction)
            self.targets.append(target)
            self.groups.append(group)
            return ()
        stats = self.metric.stats(prediction, target)
        if stats is None:
            return [None] * len(self.metric.columns)
        self.values.extend(stats)
        self.groups.append(group)
        return stats

    def part(self, statistics: Statistics) -> MetricPart:
        """The score with its interval, as the record has it."""
        found = self._interval(statistics)
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

    def value(self) -> float:
        """The score alone, which is what `part` has; NaN when it is undefined."""
        if isinstance(self.metric, CorpusMetric):
            found = self.metric.compute(self.predictions, self.targets) if self.predictions else float("nan")
            return float(found)
        return float(self.metric.reduce(self.stats().sum(axis=0))) if self.values else float("nan")

    def _interval(self, statistics: Statistics) -> Interval:
        draws, seed = statistics.draws, statistics.seed
        if isinstance(self.metric, CorpusMetric):
            compute = self.metric.compute
            return resampled_interval(compute, self.predictions, self.targets, self.groups, draws, seed)
        return interval(self.stats(), self.groups, self.metric.reduce, draws, seed)

    def stats(self) -> NDArray[np.float64]:
        """Statistics of the scored samples, shape (n, columns)."""
        assert isinstance(self.metric, Metric)
        return np.frombuffer(self.values, dtype=np.float64).reshape(-1, len(self.metric.columns))


class Scorer:
    """Scores a task's predictions as they come, and makes their sample rows."""

    def __init__(self, task: Task) -> None:
        self._statistics = task.statistics
        self._language = task_language(task)
        self.scored = [
            Scored(key, spec, _build(spec, task, self._language)) for key, spec in metric_keys(task.metrics)
        ]
        self.failures: Counter[str] = Counter()
        self.n = 0

    def schema(self) -> Any:
        """Arrow schema of the sample rows."""
        import pyarrow as pa

        text = ("id", "group", "target", "prediction", "target_normalised", "prediction_normalised")
        columns = [column for scored in self.scored for column in scored.columns]
        return pa.schema(
            [
                *[(name, pa.string()) for name in text],
                *[(column, pa.float64()) for column in columns],
                ("seconds", pa.float64()),
                ("tokens", pa.int64()),
                ("truncated", pa.bool_()),
                ("error", pa.string()),
                ("extras", pa.string()),
            ]
        )

    def rows(self, outcomes: Iterable[tuple[Sample | None, str, Prediction]]) -> Iterable[Any]:
        """Score each outcome; the sample rows as RecordBatches."""
        import pyarrow as pa

        schema = self.schema()
        waiting: list[dict[str, Any]] = []
        for sample, id_, prediction in outcomes:
            waiting.append(self.add(sample, id_, prediction))
            if len(waiting) == ROWS_PER_BATCH:
                yield pa.RecordBatch.from_pylist(waiting, schema)
                waiting = []
        if waiting:
            yield pa.RecordBatch.from_pylist(waiting, schema)

    def add(self, sample: Sample | None, id_: str, prediction: Prediction) -> dict[str, Any]:
        """Score one outcome; its sample row. `sample` is None when its row could not be read."""
        self.n += 1
        row: dict[str, Any] = {
            "id": id_,
            "group": sample.group if sample else id_,
            "target": None if sample is None else as_text(sample.target),
            "prediction": prediction.output,
            "seconds": prediction.media_seconds,
            "tokens": prediction.tokens,
            "truncated": prediction.truncated,
            "extras": json.dumps(dict(prediction.extras), ensure_ascii=False, sort_keys=True),
        }
        if prediction.error is not None or sample is None:
            failure = prediction.error or Failure("RowError", "the row can't be read")
            self.failures[failure.type] += 1
            return {**row, "error": f"{failure.type}: {failure.message}"}
        return row | self._scores(sample, prediction.output)

    def _scores(self, sample: Sample, output: Any) -> dict[str, Any]:
        """Normalised texts (of the first metric) and every metric's statistics."""
        language = sample.meta.get("language") or self._language
        done: dict[str, tuple[Any, Any]] = {}
        found: dict[str, Any] = {}
        for scored in self.scored:
            name = resolve(scored.metric.normalizer, language)
            if name not in done:
                normalizer = NORMALIZERS.get(name)
                done[name] = normalized(output, normalizer), normalized(sample.target, normalizer)
            prediction, target = done[name]
            if scored is self.scored[0]:
                found |= {"prediction_normalised": prediction, "target_normalised": as_text(target)}
            stats = scored.add(prediction, target, sample.group)
            found |= dict(zip(scored.columns, stats, strict=True))
        return found

    def values(self) -> dict[str, float]:
        """Every metric's score alone; NaN where it is undefined."""
        return {scored.key: scored.value() for scored in self.scored}

    def parts(self) -> dict[str, MetricPart]:
        """Every metric's score with its interval."""
        return {scored.key: scored.part(self._statistics) for scored in self.scored}


def task_language(task: Task) -> str | None:
    """Language of the task's targets: English for translations, else the language that is spoken."""
    translated = task.kind == "speech_translation" or task.generate.task == "translate"
    return "en" if translated else task.generate.language


def as_text(target: Any) -> str:
    """A target as the sample rows hold it: text as it is, anything else as JSON."""
    return target if isinstance(target, str) else json.dumps(target, ensure_ascii=False)


def _build(spec: MetricSpec, task: Task, language: str | None) -> Metric | CorpusMetric:
    """The metric, with `whisper` replaced by the normalizer it means when every sample has one language."""
    options: Mapping[str, Any] = spec.options
    if options.get("normalizer") == "whisper" and "language" not in task.data.columns:
        options = {**options, "normalizer": resolve("whisper", language)}
    return build(spec.name, options)
