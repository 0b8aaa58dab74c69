"""An adapter with its base, ready to be merged: found by what its manifest says, or as the user names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import models
from harness.errors import AdapterError
from harness.models.base import Adapter
from harness.models.trained import TrainedAdapter
from harness.spec.kinds import KINDS
from harness.spec.schema import Generate, Model


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
    generate = Generate.model_validate(spec.get("generate") or {})
    section = Model(checkpoint=checkpoint.name, family=family)
    return models.load(section, generate, kind, base=Path.cwd(), weights=weights)


def _base(
    adapter: TrainedAdapter, manifest: dict[str, Any], model: str | None, offline: bool
) -> models.Checkpoint:
    base = manifest.get("base") or {}
    if model is not None:
        return models.resolve(model, None, base=Path.cwd(), offline=offline)
    if base.get("path"):
        folder = (adapter.folder / base["path"]).resolve()
        if not folder.is_dir():
            raise AdapterError(
                f"{adapter.name} was trained on {base.get('checkpoint')}, which is not at {folder} any more",
                "One of them was moved: name the checkpoint with --model.",
            )
        return models.resolve(str(folder), None, base=Path.cwd(), offline=offline)
    if base.get("revision"):
        return models.resolve(base["checkpoint"], base["revision"], base=Path.cwd(), offline=offline)
    raise AdapterError(
        f"{adapter.name} doesn't say which checkpoint it was trained on", "Name that with --model."
    )


def _kind_of(family: str) -> str:
    """A kind of task that the family can answer."""
    modes = models.info(family).modes
    return next(name for name, kind in KINDS.items() if kind.mode in modes)
