"""Stored runs made in code, to be compared."""

import hashlib
import json
from datetime import UTC, datetime
from io import StringIO

import numpy as np
import pyarrow as pa
from rich.console import Console

from harness.evaluation.comparable import RunData
from harness.evaluation.compare_table import comparison_table
from harness.metrics import Metric, build
from harness.results.record import (
    DataPart,
    Draft,
    MetricIdentity,
    MetricPart,
    ModelPart,
    seal,
)

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
TARGETS = [f"word{n} and then some more words here" for n in range(40)]
GROUPS = [f"speaker{n % 20}" for n in range(40)]


def metric_part(name, metric, key=None, **changes):
    columns = tuple(f"{key or name}.{column}" for column in getattr(metric, "columns", ()))
    fields = {
        "value": 1.0,
        "n": 40,
        "clusters": 20,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "signature": metric.signature,
        "columns": columns,
        "metric": MetricIdentity(name=name),
    }
    return MetricPart(**{**fields, **changes})


def run(
    predictions,
    *,
    checkpoint="base",
    metrics=("wer", "bleu"),
    order=None,
    parts=None,
    groups=GROUPS,
    **changes,
):
    """A stored run over TARGETS; a prediction of None failed."""
    built = {name: build(name) for name in metrics}
    rows = []
    for n in order if order is not None else range(len(predictions)):
        prediction, target = predictions[n], TARGETS[n]
        row = {"id": f"utt{n:02}", "group": groups[n], "target": target, "prediction": prediction}
        row |= {"target_normalised": target.lower(), "prediction_normalised": prediction}
        for name, metric in built.items():
            assert isinstance(metric, Metric)
            stats = metric.stats(prediction, target) if prediction is not None else None
            row |= {f"{name}.{c}": stats and float(stats[i]) for i, c in enumerate(metric.columns)}
        rows.append(row)
    fields = {
        "spec_id": "5" * 64,
        "task": "digits",
        "kind": "asr",
        "family": "whisper",
        "model": ModelPart(checkpoint=checkpoint),
        "data": DataPart(path="synthetic:x", split="test", n=len(rows), fingerprint="f" * 64),
        "primary": metrics[0],
        "metrics": {name: metric_part(name, metric) for name, metric in built.items()} | (parts or {}),
        "started": WHEN,
        "ended": WHEN,
        "samples_sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
    }
    return RunData(seal(Draft(**{**fields, **changes})), pa.Table.from_pylist(rows))


def garbled(share, seed=0):
    """TARGETS with some words replaced."""
    rng = np.random.default_rng(seed)
    return [" ".join("oops" if rng.random() < share else word for word in t.split()) for t in TARGETS]


def printed(found):
    console = Console(width=80, file=StringIO())
    console.print(comparison_table(found))
    return console.file.getvalue()  # type: ignore[attr-defined]


def data(**changes):
    return DataPart(**{"path": "synthetic:x", "split": "test", "n": 40, "fingerprint": "f" * 64, **changes})
