"""Classifiers and dual encoders that were trained a little, on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.models import Adapter, TrainedAdapter, Weights, load, resolve
from harness.spec.schema import Task
from harness.spec.training import Train
from harness.training import output
from harness.training.method import prepare
from tests.tasks import task_of
from tests.training.networks import curve, manifest_of, nudge

PLAIN = ("cat", "dog", "red fox", "newt")


def asked(folder: Path, kind: str = "classification", *, column: str = "image", **sections: Any) -> Task:
    family = "classifier" if kind == "classification" else None
    return task_of(
        folder, kind, column=column, **{"model": {"checkpoint": str(folder), "family": family}, **sections}
    )


def opened(task: Task, classes: Sequence[str] | None = None, *, trained: Path | None = None) -> Adapter:
    """The task's checkpoint, with an adapter if there is one."""
    base = resolve(task.model.checkpoint, None, base=Path(), offline=True)
    adapter = TrainedAdapter(trained.name, trained) if trained else None
    return load(task, base=Path(), classes=classes, weights=Weights(base, device="cpu", adapter=adapter))


def tuned(folder: Path, task: Task, classes: Sequence[str] | None = None, **train: Any) -> Adapter:
    """A fine-tune in `folder`, as training leaves it; the adapter that it was made with."""
    adapter = opened(task, classes)
    tuning = prepare(adapter.model, adapter.info, Train(steps=1, **train), adapter.part_states())
    nudge(tuning.network)
    manifest = manifest_of(adapter, **train) | {"spec": task.model_dump(mode="json")}
    manifest["method"] = train.get("method", "lora")
    manifest["base"] |= {"path": os.path.relpath(adapter.weights.checkpoint.folder, folder.resolve())}
    output.save(folder, tuning, adapter, manifest, curve())
    return adapter
