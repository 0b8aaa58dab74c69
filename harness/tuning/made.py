"""What a training left behind, read again: its manifest, the model, where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import models
from harness.errors import ResultError
from harness.evaluation.evaluate import Lineage
from harness.models.base import Adapter
from harness.models.trained import ADAPTER_CONFIG, MANIFEST
from harness.results.record import TrainPart, TrainStagePart
from harness.results.store import Store
from harness.spec.load import ResolvedTask
from harness.spec.training import Train
from harness.training.curve import Curve
from harness.tuning.bases import with_weights


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in a folder; empty where there is none. Raises ResultError for a damaged one."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("it isn't a JSON object")
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} can't be read: {error}", "Delete the folder and train again.") from error
    return manifest


def trained_model(cell: ResolvedTask, base: Adapter, folder: Path) -> Adapter:
    """The fine-tune in a folder as anybody would load it: its base with an adapter, or a whole checkpoint."""
    old = base.weights
    if (folder / ADAPTER_CONFIG).is_file():
        adapter = models.resolve_adapter(str(folder), base=Path.cwd(), offline=True)
        checkpoint = old.checkpoint
    else:
        adapter, checkpoint = None, models.resolve(str(folder), None, base=Path.cwd(), offline=True)
    weights = models.Weights(checkpoint, old.dtype, old.device, old.attention, adapter)
    return with_weights(cell, weights)


def lineage(cell: ResolvedTask, model: Adapter, store: Store, limit: int | None) -> Lineage:
    """Where a model that is scored by itself comes from: nothing for a base.

    Its parent is named when that run stands in the same results and scored the same samples.
    """
    weights = model.weights
    manifest = weights.adapter.manifest() if weights.adapter else read_manifest(weights.checkpoint.folder)
    parent = manifest.get("parent")
    if parent is None or parent not in store.run_ids():
        return Lineage(None, train_part(manifest))
    run = store.get(parent)
    same = (run.spec_id, run.data.limit) == (cell.spec_id, limit)
    return Lineage(parent if same else None, train_part(manifest))


def train_part(manifest: Mapping[str, Any]) -> TrainPart | None:
    """How a fine-tune was made, as records have it; None when its manifest doesn't tell.

    Raises ResultError for one that is damaged, or of a version that has other settings.
    """
    found, spec = manifest.get("train"), manifest.get("spec") or {}
    if not isinstance(found, dict) or not isinstance(spec, dict) or not isinstance(spec.get("train"), dict):
        return None
    try:
        return _train_part(manifest, found, Train.model_validate(spec["train"]))
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ResultError(
            f"the fine-tune's {MANIFEST} doesn't say how it was made: {type(error).__name__}: {reason}",
            f"It is damaged, or another version wrote it. Without {MANIFEST}, the model can still be scored.",
        ) from error


def _train_part(manifest: Mapping[str, Any], found: Mapping[str, Any], train: Train) -> TrainPart:
    curve, last = Curve.from_json(found["curve"]), list(train.staged.values())[-1]
    return TrainPart(
        method=manifest["method"],
        train_id=manifest["train_id"],
        steps=found["steps"],
        seconds=found["seconds"],
        best_step=found["best_step"],
        trainable_parameters=found["trainable_parameters"],
        total_parameters=found["total_parameters"],
        batch=last.batch,
        learning_rate=last.peak_learning_rate,
        curve=tuple({"step": step, **scores} for step, scores in curve.scores),
        left_out=len(found["left_out"]),
        data=manifest.get("data"),
        stages=tuple(TrainStagePart.model_validate(stage) for stage in found.get("stages", ())),
        settings=manifest["spec"]["train"],
    )
