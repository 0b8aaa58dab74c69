"""A fine-tune as a whole checkpoint that needs neither PEFT nor the harness: an adapter merged into its base,
or weights between a base and its fine-tune.

Merging happens in float32 only. In half precision it would round the weights, and what was scored with the
adapter beside them would not be what is exported.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, UsageError
from harness.models.base import Adapter
from harness.models.checkpoint import Checkpoint, resolve
from harness.models.head import Head
from harness.models.trained import MANIFEST, TrainedAdapter
from harness.models.weights import Weights
from harness.training.curve import CSV, PNG
from harness.training.folders import new_folder
from harness.training.interpolate import interpolate, new_head, snapshot
from harness.training.output import describe, save_checkpoint
from harness.training.parity import LIMIT, Parity, Probe, distance
from harness.training.usage import base_name

if TYPE_CHECKING:
    from torch import Tensor

SHARE = "interpolate"
"""The manifest's key of the fine-tune's share in the weights."""


def export(adapter: Adapter, out: Path, dtype: str = "float32", share: float = 1.0) -> Parity:
    """Merge the trained adapter that `adapter.weights` has into its checkpoint, and write that to `out`.

    A `share` below one leaves the rest of the way to the base's weights (WiSE-FT). One network is in memory
    at a time, and then the base's weights besides. Raises AdapterError when there is nothing to merge, when
    merging would round, when a new head has nothing to be interpolated with, and when the merged network
    doesn't say the same (nothing is written then); UsageError when `out` holds something else.
    """
    trained = _mergeable(adapter, dtype)
    checkpoint, head = adapter.weights.checkpoint, adapter.weights.head
    if share < 1 and head is not None:
        raise new_head(f"the adapter {trained.name}")
    _check_out(out, checkpoint)
    adapter.weights.release()
    working = _with(adapter, checkpoint, head=head)
    probe = Probe.of(working, trained.manifest().get("spec") or {})
    base = snapshot(working.model) if share < 1 else {}
    network = trained.attach(working.model)
    before = probe.said(working)
    _merge(network, trained)
    merged = distance(before, probe.said(working))
    _check("merging", merged, trained.name)
    if share < 1:
        interpolate(working.model, base, share)
        before = probe.said(working)
    del network, base
    told = _manifest("lora", checkpoint, trained.manifest())
    told["merged"] = {"name": base_name(trained.name, trained.revision), "digest": trained.digest()}
    return Parity(merged, _written(out, working, probe, before, trained.folder, told, share))


def export_between(
    tuned: Adapter, manifest: Mapping[str, Any], base: Checkpoint, out: Path, dtype: str, share: float
) -> Parity:
    """Write what is `share` of the way from a base's weights to those of its full fine-tune (WiSE-FT).

    `manifest` is the fine-tune's, empty for one from elsewhere. Raises AdapterError when the two are not of
    one architecture or the result would be rounded, UsageError when `out` holds something else.
    """
    checkpoint = tuned.weights.checkpoint
    _refuse_rounding(base, dtype)
    if manifest.get("head"):
        raise new_head(checkpoint.name)
    for source in (base, checkpoint):
        _check_out(out, source)
    tuned.weights.release()
    start, working = snapshot(_with(tuned, base).model), _with(tuned, checkpoint)
    interpolate(working.model, start, share)
    probe = Probe.of(working, manifest.get("spec") or {})
    said, name = probe.said(working), base_name(checkpoint.name, checkpoint.revision)
    told = _manifest("full", base, manifest)
    told["interpolated"] = {"name": name, "digest": checkpoint.digest()}
    return Parity(0.0, _written(out, working, probe, said, checkpoint.folder, told, share))


def _written(
    out: Path,
    working: Adapter,
    probe: Probe,
    before: Sequence[Tensor],
    source: Path,
    manifest: Mapping[str, Any],
    share: float,
) -> float:
    """Write the network of `working`, its manifest and the curve of `source`; how far it is from what it said
    `before` when it is loaded again."""
    with new_folder(out) as writing:
        save_checkpoint(writing, working.model, working)
        for name in (CSV, PNG):
            if (source / name).is_file():
                shutil.copyfile(source / name, writing / name)
        told = {SHARE: share} if share < 1 else {}
        describe(writing, working, {**manifest, **told}, whole=True)
        working.weights.release()
        reloaded = _with(working, resolve(str(writing), None, base=writing, offline=True))
        moved = distance(before, probe.said(reloaded))
        _check("saving and loading", moved, source.name)
    return moved


def _with(adapter: Adapter, checkpoint: Checkpoint, head: Head | None = None) -> Adapter:
    """The adapter with a checkpoint in float32, without what was trained, where its own would be."""
    made, weights = copy(adapter), adapter.weights
    made.weights = Weights(checkpoint, "float32", weights.device, weights.attention, head=head)
    return made


def _mergeable(adapter: Adapter, dtype: str) -> TrainedAdapter:
    """The adapter to merge. Raises AdapterError when there is none, or when merging it would round."""
    weights = adapter.weights
    if weights.adapter is None:
        raise AdapterError(
            f"there is nothing to merge into {weights.checkpoint.name}", "Name an adapter with --adapter."
        )
    _refuse_rounding(weights.checkpoint, dtype)
    weights.adapter.check_base(weights.checkpoint)
    return weights.adapter


def _refuse_rounding(base: Checkpoint, dtype: str) -> None:
    if dtype != "float32":
        raise AdapterError(
            f"merging in {dtype} would round the weights, and the result would not say what was scored",
            "Export in float32. To save memory, use the adapter beside a checkpoint in half precision.",
        )
    if "quantization_config" in base.config():
        raise AdapterError(
            f"{base.name} is quantised, so merging would round the fine-tune away",
            "Name the checkpoint that it was quantised from with --model.",
        )


def _check_out(out: Path, base: Checkpoint) -> None:
    """What stands there is replaced, so it has to be an export: what was trained can't be made again."""
    if out.resolve() == base.folder.resolve():
        raise UsageError(f"{out} belongs to what is exported", "Name another folder with --out.")
    if out.exists() and not _is_export(out) and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an exported checkpoint", "Name another folder with --out.")


def _is_export(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return "merged" in manifest or "interpolated" in manifest
    except (OSError, ValueError):  # nothing that this code wrote
        return False


def _merge(network: Any, trained: TrainedAdapter) -> None:
    """Add the adapter's updates to the weights, in place."""
    try:
        network.merge_and_unload(safe_merge=True)
    except (NotImplementedError, ValueError, AttributeError) as error:
        raise AdapterError(
            f"the adapter {trained.name} can't be merged: {error}", "Use it beside its base with --adapter."
        ) from error


def _check(what: str, moved: float, name: str) -> None:
    if not moved <= LIMIT:  # NaN is refused too
        raise AdapterError(
            f"{what} the adapter {name} changes the logits by {moved:.2g}, more than {LIMIT:.0e}",
            "Nothing was written. Use the adapter beside its base with --adapter.",
        )


def _manifest(method: str, base: Checkpoint, trained: Mapping[str, Any]) -> dict[str, Any]:
    """The fine-tune's manifest, filled in for one from elsewhere; its path to the base isn't the export's."""
    of = {"checkpoint": base.name, "revision": base.revision, "digest": base.digest()}
    told = {"method": method, "base": of, **trained, "dtype": "float32"}
    return told | {"base": {key: value for key, value in told["base"].items() if key != "path"}}
