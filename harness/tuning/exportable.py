"""An adapter with its base, ready to be merged: found by what its manifest says, or as the user names it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from harness import models
from harness.errors import AdapterError
from harness.models.base import Adapter
from harness.models.checkpoint import CONFIG
from harness.models.trained import TrainedAdapter
from harness.spec.kinds import KINDS
from harness.spec.schema import Data, MetricSpec, Model, Task


def exportable(adapter: TrainedAdapter, device: str, offline: bool, model: str | None) -> Adapter:
    """The adapter beside its base's weights; `model` names that base where the manifest can't.

    Raises AdapterError when the base isn't known or isn't what the adapter was trained on.
    """
    manifest = adapter.manifest()
    checkpoint = _base(adapter, manifest, model, offline)
    adapter.check_base(checkpoint)
    spec = manifest.get("spec") or {}
    family = models.family_of(checkpoint, (spec.get("model") or {}).get("family"))
    kind = spec.get("kind") or _kind_of(family)
    weights = models.Weights(checkpoint, "float32", device, adapter=adapter)
    return models.load(_task(spec, kind, checkpoint, family), base=Path.cwd(), weights=weights)


def _task(spec: dict[str, Any], kind: str, checkpoint: models.Checkpoint, family: str) -> Task:
    """As much of the task that it was trained on as the family's adapter needs."""
    inputs = KINDS[kind].columns(models.info(family).modalities)
    columns = {name: name for name in (*inputs, "target")}
    given = {key: spec[key] for key in ("generate", "classes") if spec.get(key)}
    return Task(
        name=str(spec.get("name", "export")),
        kind=kind,
        data=Data(path=".", columns=(spec.get("data") or {}).get("columns") or columns),
        model=Model(checkpoint=checkpoint.name, family=family),
        metrics=(MetricSpec(name="wer"),),
        **given,
    )


def _base(
    adapter: TrainedAdapter, manifest: dict[str, Any], model: str | None, offline: bool
) -> models.Checkpoint:
    base = manifest.get("base") or {}
    if model is not None:
        return models.resolve(model, None, base=Path.cwd(), offline=offline)
    if base.get("revision"):
        return models.resolve(base["checkpoint"], base["revision"], base=Path.cwd(), offline=offline)
    if not base.get("checkpoint"):
        raise AdapterError(
            f"{adapter.name} doesn't say which checkpoint it was trained on", "Name that with --model."
        )
    return _local_base(adapter, base)


def _local_base(adapter: TrainedAdapter, base: dict[str, Any]) -> models.Checkpoint:
    """The base where it was when the adapter was trained, or under its name in the working directory.

    Of several that are there, the one whose files are the same as then.
    """
    places = [adapter.folder.resolve() / base["path"]] if base.get("path") else []
    places.append(Path(base["checkpoint"]).expanduser())
    folders = list(dict.fromkeys(Path(os.path.normpath(Path.cwd() / place)) for place in places))
    found = [
        models.resolve(str(folder), None, base=Path.cwd(), offline=True)
        for folder in folders
        if (folder / CONFIG).is_file()
    ]
    same = [checkpoint for checkpoint in found if checkpoint.digest() == base.get("digest")]
    if not found:
        raise AdapterError(
            f"{adapter.name} was trained on {base['checkpoint']}, which isn't there: looked for a checkpoint "
            f"in {' and in '.join(map(str, folders))}",
            "One of them was moved: name the base with --model PATH_OF_THE_BASE.",
        )
    return (same or found)[0]


def _kind_of(family: str) -> str:
    """A kind of task that the family can answer."""
    modes = models.info(family).modes
    return next(name for name, kind in KINDS.items() if kind.mode in modes)
