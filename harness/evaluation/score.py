"""Predictions to scores: one pass over samples and predictions, one row of statistics each.

Nothing but what the metrics need of a sample stays in memory, mostly its sufficient statistics.
A sample without a prediction is counted as a failure and scored by nobody, and so is one that a metric
can't score (too few answers): either every metric counts it or none does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from harness.errors import SampleError
from harness.evaluation.forms import as_text, in_short
from harness.evaluation.scored import Scored, begin
from harness.metrics.base import CorpusMetric, Metric, WeightedMetric, build
from harness.metrics.normalizers import normalized, resolve
from harness.registry import NORMALIZERS
from harness.results.record import MetricPart
from harness.spec.schema import MetricSpec, Task, metric_keys
from harness.types import Failure, Prediction, Sample

ROWS_PER_BATCH = 1024
_as_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


class Scorer:
    """Scores a task's predictions as they come, and makes their sample rows."""

    def __init__(self, task: Task) -> None:
        self._statistics = task.statistics
        self._language = task_language(task)
        self._form = task.form
        self.scored = [
            begin(key, spec, _build(spec, task, self._language)) for key, spec in metric_keys(task.metrics)
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
            "prediction": None if prediction.output is None else as_text(prediction.output),
            "seconds": prediction.media_seconds,
            "tokens": prediction.tokens,
            "truncated": prediction.truncated,
            "extras": _as_json(dict(prediction.extras)),
        }
        if prediction.error is not None or sample is None:
            failure = prediction.error or Failure("RowError", "the row can't be read")
            return row | self._failed(failure)
        try:
            return row | self._scores(sample, prediction.output)
        except SampleError as error:
            return row | self._failed(Failure.of(error))

    def _failed(self, failure: Failure) -> dict[str, str]:
        self.failures[failure.type] += 1
        return {"error": f"{failure.type}: {failure.message}"}

    def _scores(self, sample: Sample, output: Any) -> dict[str, Any]:
        """What is compared (by the first metric) as text, and every metric's statistics.

        Raises SampleError, with nothing counted, where a metric can't score the sample.
        """
        language = sample.meta.get("language") or self._language
        done: dict[str, tuple[Any, Any]] = {}
        found: dict[str, Any] = {}
        seen: list[Any] = []
        for scored in self.scored:
            name, normalizer = _normalizer(scored.metric.normalizer, language)
            if name not in done:
                done[name] = self._normalised(output, sample.target, normalizer)
            prediction, target = done[name]
            if scored is self.scored[0]:
                shown = in_short(prediction, self._form)
                found |= {"prediction_normalised": shown, "target_normalised": as_text(target)}
            seen.append(scored.seen(self._shown(scored, prediction), target))
        for scored, one in zip(self.scored, seen, strict=True):
            found |= dict(zip(scored.columns, scored.add(one, sample.group), strict=True))
        return found

    def _normalised(self, output: Any, target: Any, normalizer: Callable[[str], str]) -> tuple[Any, Any]:
        """Prediction and target; texts are normalised, classes and ranks have nothing to normalise."""
        if self._form != "text":
            return output, target
        return normalized(output, normalizer), normalized(target, normalizer)

    def _shown(self, scored: Scored, prediction: Any) -> Any:
        """What a metric is shown: those of the `evaluate` library know texts only."""
        foreign = isinstance(scored.metric, CorpusMetric) and not isinstance(scored.metric, WeightedMetric)
        return in_short(prediction, self._form) if foreign else prediction

    def values(self) -> dict[str, float]:
        """Every metric's score alone; NaN where it is undefined."""
        return {scored.key: scored.value() for scored in self.scored}

    def parts(self) -> dict[str, MetricPart]:
        """Every metric's score with its interval."""
        return {scored.key: scored.part(self._statistics) for scored in self.scored}


@cache  # asked for every sample and metric
def _normalizer(name: str, language: str | None) -> tuple[str, Callable[[str], str]]:
    """The normalizer that a metric means for text in a language, with its name."""
    resolved = resolve(name, language)
    return resolved, NORMALIZERS.get(resolved)


def task_language(task: Task) -> str | None:
    """Language of the task's targets: English for translations, else the language that is spoken."""
    translated = task.kind == "speech_translation" or task.generate.task == "translate"
    return "en" if translated else task.generate.language


def _build(spec: MetricSpec, task: Task, language: str | None) -> Metric | CorpusMetric:
    """The metric, with `whisper` replaced by the normalizer it means when every sample has one language."""
    options: Mapping[str, Any] = spec.options
    if options.get("normalizer") == "whisper" and "language" not in task.data.columns:
        options = {**options, "normalizer": resolve("whisper", language)}
    return build(spec.name, options)
