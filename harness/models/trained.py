"""A trained adapter: a folder in PEFT's format that changes what a checkpoint says.

Beside PEFT's files it may hold `harness.json` (what it was trained on, and how) and
`extra_parameters.safetensors` (parameters that PEFT doesn't know: bare `nn.Parameter`s, Flamingo's gates).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import AdapterError
from harness.models import checkpoint as checkpoints
from harness.models.checkpoint import HUB_ID, Checkpoint, content_digest, local_folder, shown, tensor_sizes
from harness.models.head import Head

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
EXTRA_PARAMETERS = "extra_parameters.safetensors"
MANIFEST = "harness.json"
FILES = (ADAPTER_CONFIG, *ADAPTER_WEIGHTS, EXTRA_PARAMETERS, MANIFEST)
FORMAT = 1
"""Of the manifest."""
DTYPES = ("float32", "bfloat16", "float16")
# Keys of adapter_config.json that say where an adapter comes from, not what it does.
DESCRIPTIVE = frozenset(
    ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type")
)


@dataclass(frozen=True)
class TrainedAdapter:
    """An adapter on this machine: `name` as the user wrote it, its `folder` and its commit (`revision`).

    `revision` is None for a local folder.
    """

    name: str
    folder: Path
    revision: str | None = None

    def digest(self) -> str:
        """SHA-256 (hex) of what the adapter does: its settings and weights, not where it comes from."""
        return self._digest

    def manifest(self) -> dict[str, Any]:
        """What the harness wrote about it; empty for an adapter from elsewhere.

        Raises AdapterError when it can't be read.
        """
        return dict(self._manifest)

    def dtype(self) -> str | None:
        """The precision that it was trained and chosen in; None for an adapter from elsewhere."""
        dtype = self._manifest.get("dtype")
        return dtype if dtype in DTYPES else None

    def head(self) -> Head | None:
        """The classification head that it was trained with, where that isn't its base's own."""
        return Head.from_json(self._manifest.get("head"))

    def parameters(self) -> int:
        """Number of parameters that it holds: those it adds and those that replace the checkpoint's."""
        return sum(sum(tensor_sizes(path).values()) for path in self._weight_files)

    def added_parameters(self) -> int:
        """Number of parameters that it adds to the checkpoint's."""
        from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

        prefix = PEFT_TYPE_TO_PREFIX_MAPPING.get(self._config.get("peft_type"), "lora_")
        sizes = [tensor_sizes(path) for path in self._weight_files]
        return sum(size for file in sizes for name, size in file.items() if f".{prefix}" in name)

    def check_base(self, checkpoint: Checkpoint) -> None:
        """Raises AdapterError when it was trained on other files than this checkpoint's, which are fetched.

        An adapter from elsewhere doesn't tell, and passes.
        """
        check_base(f"the adapter {self.name}", self._manifest, checkpoint)

    def apply(self, model: Any) -> None:
        """Put the adapter into a freshly loaded transformers model, in place, in evaluation mode.

        Raises AdapterError when it doesn't fit, down to the last tensor.
        """
        self.attach(model)

    def attach(self, model: Any) -> Any:
        """Like `apply`; returns the PeftModel around the model, which can merge the adapter into it."""
        from safetensors.torch import load_file

        from harness.models.attach import attach

        extra = self.folder / EXTRA_PARAMETERS
        return attach(model, self.folder, self.name, load_file(extra) if extra.is_file() else {})

    @cached_property
    def _config(self) -> dict[str, Any]:
        return _json_object(self.folder / ADAPTER_CONFIG)

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        path = self.folder / MANIFEST
        return _json_object(path) if path.is_file() else {}

    @cached_property
    def _weight_files(self) -> list[Path]:
        """The adapter's weights in one format, and the sidecar."""
        chosen = [self.folder / name for name in ADAPTER_WEIGHTS if (self.folder / name).is_file()][:1]
        extra = self.folder / EXTRA_PARAMETERS
        return [*chosen, extra] if extra.is_file() else chosen

    @cached_property
    def _digest(self) -> str:
        meaning = {
            key: sorted(value, key=str) if isinstance(value, list) else value
            for key, value in self._config.items()
            if key not in DESCRIPTIVE
        }
        total = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode())
        for path in self._weight_files:
            total.update(f"\n{path.name} {content_digest(path)}".encode())
        return total.hexdigest()


def check_base(what: str, manifest: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Raises AdapterError when a fine-tune's manifest says that it was trained on other files than these."""
    base = manifest.get("base")
    if not isinstance(base, dict) or base.get("digest") == checkpoint.digest():
        return
    revision = f" (revision {base['revision']})" if base.get("revision") else ""
    raise AdapterError(
        f"{what} was not trained on {checkpoint.name} as it is now",
        f"It was trained on {base.get('checkpoint')}{revision}: name that with --model. If it is the "
        "same, its files have changed since.",
    )


def resolve_adapter(name: str, *, base: Path, offline: bool) -> TrainedAdapter:
    """The adapter called `name`: a local folder ("./x" is relative to `base`), else a Hub id.

    Raises AdapterError when there is no adapter, with a hint for a whole checkpoint; RemoteError when the
    Hub can't be reached or doesn't know the id.
    """
    folder = local_folder(name, base, "adapter")
    if folder is None:
        return _from_hub(name, offline)
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not folder.is_dir():
        raise AdapterError(f"{folder} is not an adapter: there is no such folder", "A Hub id is OWNER/NAME.")
    _check_files(str(folder), present)
    return TrainedAdapter(name, folder)


def _check_files(where: str, present: set[str]) -> None:
    """Raises AdapterError when the files of a folder or a repository are not those of an adapter."""
    if ADAPTER_CONFIG not in present:
        hint = "Name the folder that training or PEFT's save_pretrained wrote."
        if checkpoints.CONFIG in present:
            hint = "It is a whole checkpoint: name it with --model, without --adapter."
        raise AdapterError(f"{where} is not an adapter: it has no {ADAPTER_CONFIG}", hint)
    if present.isdisjoint(ADAPTER_WEIGHTS):
        raise AdapterError(
            f"{where} is an adapter without weights: it has no {ADAPTER_WEIGHTS[0]}",
            "Is the download complete?",
        )


def _from_hub(name: str, offline: bool) -> TrainedAdapter:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    from harness.remote import not_cached, remote_errors

    if not HUB_ID.fullmatch(name):
        raise AdapterError(
            f"'{shown(name)}' is neither a folder nor a Hub id",
            "A Hub id is OWNER/NAME; a local path starts with ./",
        )
    what = f"the adapter {name}"
    with remote_errors(what):
        if not offline:
            # Asked first because it fails at once when the Hub is down; a download tries for half a minute.
            found = HfApi().model_info(name)
            _check_files(f"the repository {name}", {file.rfilename for file in found.siblings or ()})
        # By the branch's name, so that the cache knows offline which commit it stands for.
        folder = Path(hf_hub_download(name, ADAPTER_CONFIG, local_files_only=offline)).parent
        if not offline:
            snapshot_download(name, revision=folder.name, allow_patterns=list(FILES))
    if not any((folder / file).is_file() for file in ADAPTER_WEIGHTS):
        raise not_cached(what)
    return TrainedAdapter(name, folder, folder.name)


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise AdapterError(f"{path} can't be read: {error}", "Is the download complete?") from error
    if not isinstance(content, dict):
        raise AdapterError(f"{path} is not a JSON object", "Is this an adapter of PEFT's?")
    return content
