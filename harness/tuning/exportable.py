"""A fine-tune with its base, to be exported: found by what its manifest says, or as the user names it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import models
from harness.errors import AdapterError
from harness.models.base import Adapter
from harness.models.checkpoint import CONFIG, local_folder
from harness.models.trained import ADAPTER_CONFIG, TrainedAdapter, check_base
from harness.spec.kinds import KINDS, Kind
from harness.spec.schema import Data, MetricSpec, Model, Task
from harness.training.export import export, export_between
from harness.training.parity import Parity
from harness.tuning.made import read_manifest


def exported(
    name: str, out: Path, dtype: str, share: float, *, device: str, offline: bool, model: str | None
) -> Parity:
    """Export the adapter or the full fine-tune called `name`; `model` names its base where it doesn't say.

    Raises AdapterError when the base isn't known or isn't what was trained, and what exporting raises.
    """
    folder = local_folder(name, Path.cwd(), "adapter")
    if share < 1 and folder is not None and (folder / CONFIG).is_file() and not _is_adapter(folder):
        checkpoint, manifest = models.Checkpoint(name, folder), read_manifest(folder)
        base = _base(checkpoint, manifest, model, offline)
        check_base(name, manifest, base)
        weights = models.Weights(checkpoint, "float32", device)
        return export_between(_opened(weights, manifest), manifest, base, out, dtype, share)
    adapter = models.resolve_adapter(name, base=Path.cwd(), offline=offline)
    return export(exportable(adapter, device, offline, model), out, dtype, share)


def exportable(adapter: TrainedAdapter, device: str, offline: bool, model: str | None) -> Adapter:
    """The adapter beside its base's weights; `model` names that base where the manifest can't.

    Raises AdapterError when the base isn't known or isn't what the adapter was trained on.
    """
    manifest = adapter.manifest()
    checkpoint = _base(adapter, manifest, model, offline)
    adapter.check_base(checkpoint)
    return _opened(models.Weights(checkpoint, "float32", device, adapter=adapter), manifest)


def _is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER_CONFIG).is_file()


def _opened(weights: models.Weights, manifest: Mapping[str, Any]) -> Adapter:
    """The family's adapter for as much as it needs of the task that a fine-tune was trained on.

    Of one from elsewhere, which doesn't say on what, for the kind and the medium that fit.
    """
    spec = manifest.get("spec") or {}
    family = models.family_of(weights.checkpoint, (spec.get("model") or {}).get("family"))
    kind = spec.get("kind") or _kind_of(family)
    mapped = (spec.get("data") or {}).get("columns")
    given = {key: spec[key] for key in ("generate", "classes", "prompt", "choice") if spec.get(key)}
    for columns in [mapped] if mapped else _columns(KINDS[kind], family):
        task = Task(
            name=str(spec.get("name", "export")),
            kind=kind,
            data=Data(path=".", columns=columns),
            model=Model(checkpoint=weights.checkpoint.name, family=family),
            metrics=(MetricSpec(name="wer"),),
            **given,
        )
        try:
            return models.load(task, base=Path.cwd(), weights=weights)
        except AdapterError as error:  # of another medium, it may be
            failure = error
    raise failure


def _columns(kind: Kind, family: str) -> list[dict[str, str]]:
    """Columns that a task of this kind may map for the family, in the order in which to try."""
    media = [medium for medium in kind.media if medium in models.info(family).modalities]
    inputs = [(*kind.inputs, medium) for medium in media] or [kind.inputs]
    return [{name: name for name in (*own, "target")} for own in inputs]


def _base(
    adapter: TrainedAdapter | models.Checkpoint, manifest: dict[str, Any], model: str | None, offline: bool
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


def _local_base(adapter: TrainedAdapter | models.Checkpoint, base: dict[str, Any]) -> models.Checkpoint:
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
