"""An adapter merged into its base: a whole checkpoint that needs neither PEFT nor the harness.

Merging happens in float32 only. In half precision it would round the weights, and what was scored with the
adapter beside them would not be what is exported.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.probe import probe_samples
from harness.errors import AdapterError, SampleError, UsageError
from harness.models.base import Adapter, Batch
from harness.models.checkpoint import Checkpoint, resolve
from harness.models.trained import MANIFEST, TrainedAdapter
from harness.models.weights import Weights, quiet
from harness.spec.kinds import KINDS
from harness.training.curve import CSV, PNG
from harness.training.folders import new_folder
from harness.training.output import describe, save_checkpoint
from harness.training.usage import base_name

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 1e-5
"""Largest difference of logits that float32's rounding explains."""


@dataclass(frozen=True)
class Parity:
    """How far logits on probe samples moved: by merging (`merged`), and by saving and loading (`reloaded`).

    Largest absolute differences, as a share of the largest logit when that is above one.
    """

    merged: float
    reloaded: float
    limit: float = LIMIT


def export(adapter: Adapter, out: Path, dtype: str = "float32") -> Parity:
    """Merge the trained adapter that `adapter.weights` has into its checkpoint, and write that to `out`.

    One network is in memory at a time. Raises AdapterError when there is nothing to merge, when merging would
    round, and when the merged network doesn't say the same (nothing is written then); UsageError when `out`
    holds something else.
    """
    trained = _mergeable(adapter, dtype)
    _check_out(out, adapter.weights.checkpoint)
    adapter.weights.release()
    probe = copy(adapter)
    probe.weights = _float32(adapter, adapter.weights.checkpoint.folder)
    batch = _batch(probe, trained)
    network = trained.attach(probe.model)
    before = _logits(probe, batch)
    _merge(network, trained)
    merged = _distance(before, _logits(probe, batch))
    with new_folder(out) as writing:
        save_checkpoint(writing, probe.model, adapter.weights)
        for name in (CSV, PNG):
            if (trained.folder / name).is_file():
                shutil.copyfile(trained.folder / name, writing / name)
        describe(writing, adapter, _manifest(adapter, trained), whole=True)
        del network
        probe.weights.release()
        probe.weights = _float32(adapter, writing)
        parity = Parity(merged, _distance(before, _logits(probe, batch)))
        _check(parity, trained)
    return parity


def _mergeable(adapter: Adapter, dtype: str) -> TrainedAdapter:
    """The adapter to merge. Raises AdapterError when there is none, or when merging it would round."""
    weights = adapter.weights
    if weights.adapter is None:
        raise AdapterError(
            f"there is nothing to merge into {weights.checkpoint.name}", "Name an adapter with --adapter."
        )
    if dtype != "float32":
        raise AdapterError(
            f"merging in {dtype} would round the weights, and the result would not say what was scored",
            "Export in float32. To save memory, use the adapter beside a checkpoint in half precision.",
        )
    if "quantization_config" in weights.checkpoint.config():
        raise AdapterError(
            f"{weights.checkpoint.name} is quantised, so merging would round the adapter away",
            "Name the checkpoint that it was quantised from with --model.",
        )
    weights.adapter.check_base(weights.checkpoint)
    return weights.adapter


def _check_out(out: Path, base: Checkpoint) -> None:
    """What stands there is replaced, so it has to be an export: what was trained can't be made again."""
    if out.resolve() == base.folder.resolve():
        raise UsageError(
            f"{out} is the checkpoint that the adapter belongs to", "Name another folder with --out."
        )
    if out.exists() and not _is_export(out) and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an exported checkpoint", "Name another folder with --out.")


def _is_export(folder: Path) -> bool:
    try:
        return "merged" in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # nothing that this code wrote
        return False


def _float32(adapter: Adapter, folder: Path) -> Weights:
    """The checkpoint in `folder` in float32, without an adapter, where the adapter's own would be."""
    weights = adapter.weights
    checkpoint = weights.checkpoint
    if folder != checkpoint.folder:
        checkpoint = resolve(str(folder), None, base=folder, offline=True)
    return Weights(checkpoint, "float32", weights.device, weights.attention)


def _batch(adapter: Adapter, trained: TrainedAdapter) -> Batch:
    """Probe samples of the kind that the adapter was trained for, else of one that its family can do."""
    info, spec = adapter.info, trained.manifest().get("spec") or {}
    columns = (spec.get("data") or {}).get("columns") or info.modalities
    able = [
        inputs
        for kind in KINDS.values()
        if kind.mode in info.modes and info.modalities >= {*(inputs := kind.columns(info.modalities))}
    ]
    inputs = KINDS[spec["kind"]].columns(columns) if spec.get("kind") in KINDS else able[0]
    language = (spec.get("generate") or {}).get("language") or "en"
    try:
        return adapter.encode(probe_samples(inputs, language), with_targets=True)
    except SampleError as error:
        raise AdapterError(f"no probe sample can be made for {info.family}: {error}") from error


def _logits(adapter: Adapter, batch: Batch) -> list[Tensor]:
    """All logits that the loss is made of, on the CPU."""
    import torch

    found: list[Any] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        found.append(output["logits" if "logits" in output else "logits_per_image"].float().cpu())

    hook = adapter.model.register_forward_hook(keep)
    try:
        with torch.inference_mode(), quiet():
            adapter.loss(adapter.model, batch)
    finally:
        hook.remove()
    return found


def _merge(network: Any, trained: TrainedAdapter) -> None:
    """Add the adapter's updates to the weights, in place."""
    try:
        network.merge_and_unload(safe_merge=True)
    except (NotImplementedError, ValueError, AttributeError) as error:
        raise AdapterError(
            f"the adapter {trained.name} can't be merged: {error}", "Use it beside its base with --adapter."
        ) from error


def _distance(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    pairs = list(zip(before, after, strict=True))
    largest = max(1.0, *(float(tensor.abs().max()) for tensor in before))
    return max(float((one - other).abs().max()) for one, other in pairs) / largest


def _check(parity: Parity, trained: TrainedAdapter) -> None:
    for what, value in (("merging", parity.merged), ("saving and loading", parity.reloaded)):
        if not value <= parity.limit:  # NaN is refused too
            raise AdapterError(
                f"{what} the adapter {trained.name} changes the logits by {value:.2g}, more than "
                f"{parity.limit:.0e}",
                "Nothing was written. Use the adapter beside its base with --adapter.",
            )


def _manifest(adapter: Adapter, trained: TrainedAdapter) -> dict[str, Any]:
    """The adapter's manifest, filled in for one from elsewhere, and what was merged."""
    checkpoint = adapter.weights.checkpoint
    base = {
        "checkpoint": checkpoint.name,
        "revision": checkpoint.revision,
        "digest": checkpoint.digest(),
    }
    merged = {"name": base_name(trained.name, trained.revision), "digest": trained.digest()}
    told = {"method": "lora", "base": base} | trained.manifest()
    told["base"] = {key: value for key, value in told["base"].items() if key != "path"}  # from the adapter's
    return told | {"dtype": "float32", "merged": merged}
