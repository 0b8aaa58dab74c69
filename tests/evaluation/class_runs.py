"""Stored runs of classes, without a model: a task file and a file of predictions, scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import pipeline
from harness.results.record import Record
from harness.results.store import Store
from harness.spec.load import load

NAMES = ["cat", "dog", "emu"]


def task_file(folder: Path, *, kind: str = "classification", **sections: Any) -> Path:
    """A task whose data isn't there: the predictions bring their targets."""
    task = {
        "name": "animals",
        "kind": kind,
        "data": {"path": "./nowhere", "columns": {"image": "image", "target": "label"}},
        "model": {"checkpoint": "none"},
        "classes": {"names": NAMES},
        "metrics": ["accuracy", "balanced_accuracy", "ece"],
    }
    file = folder / "task.yaml"
    file.write_text(json.dumps(task | sections), encoding="utf-8")  # JSON is YAML
    return file


def predictions_file(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows of target and prediction, with ids of their own."""
    file = folder / "stored.jsonl"
    lines = (json.dumps({"id": f"img{number}", **row}) for number, row in enumerate(rows))
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def run_of(folder: Path, rows: Sequence[Mapping[str, Any]], **sections: Any) -> tuple[Record, Any]:
    """The record and the sample rows."""
    options = pipeline.Options(results=folder / "results")
    [cell] = load(task_file(folder, **sections))
    record = pipeline.score(cell, predictions_file(folder, rows), options)
    return record, Store(folder / "results").samples(record.run_id)


def said(target: Any, *answers: str, sure: float = 0.9) -> dict[str, Any]:
    """A row whose first answer has the probability `sure`; the others share the rest."""
    rest = (1 - sure) / max(len(answers) - 1, 1)
    return {"target": target, "prediction": {name: rest if n else sure for n, name in enumerate(answers)}}
