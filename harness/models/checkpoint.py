"""A checkpoint: one local folder with exactly the files that decide what the model says.

Only the configuration is fetched when a checkpoint is resolved, so a task that doesn't fit it fails before
any weights are downloaded; the rest arrives when somebody asks for the files.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from harness.errors import AdapterError

CONFIG = "config.json"
PLAIN_FILES = (
    "*config.json",
    "tokenizer*.json",
    "vocab*",
    "merges.txt",
    "normalizer.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template*",
    "*.model",
    "*.tiktoken",
)
WEIGHTS = (
    ("model.safetensors",),
    ("model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin",),
    ("pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
)
WEIGHT_SUFFIXES = (".safetensors", ".bin")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
LONGEST_SHOWN = 80
SHA256_BLOB = re.compile(r"[0-9a-f]{64}")


def needed(names: Iterable[str]) -> list[str]:
    """Which of a folder's files (paths relative to it) load the model: one format of the weights, never two.

    safetensors goes before PyTorch's pickles; other frameworks' copies, logs and sub-folders stay behind.
    """
    top = sorted(name for name in names if "/" not in name)
    plain = [name for name in top if any(fnmatch(name, pattern) for pattern in PLAIN_FILES)]
    for first, *shards in WEIGHTS:
        if first in top:
            chosen = [name for name in top if any(fnmatch(name, pattern) for pattern in shards)]
            return sorted({*plain, first, *chosen})
    return plain


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine: `name` as the user wrote it, its `folder` and its commit (`revision`).

    `revision` is None for a local folder. `offline` forbids downloads. `listed` are the files of a commit on
    the Hub, unless offline.
    """

    name: str
    folder: Path
    revision: str | None = None
    offline: bool = False
    listed: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        """The content of config.json. Raises AdapterError when it isn't a JSON object."""
        return dict(self._config)

    def files(self) -> list[Path]:
        """All files that matter, downloaded now if they aren't here yet, sorted by name.

        Raises RemoteError when they can't be fetched.
        """
        return self._files

    def settings(self) -> list[Path]:
        """The files that matter without the weights: config, tokenizer, processor; downloaded like `files`.

        They are enough to see that a checkpoint lacks a language or a task, before gigabytes arrive.
        """
        return self._settings

    def bytes(self) -> int:
        """Size of the files that matter, in bytes; downloads them like `files`."""
        return sum(path.stat().st_size for path in self._files)

    def digest(self) -> str:
        """SHA-256 (hex) over names and contents of all files that matter."""
        return self._digest

    def parameters(self) -> int:
        """Number of parameters, read from the weights' headers without loading them; 0 without weights."""
        files = [path for path in self._files if path.suffix in WEIGHT_SUFFIXES]
        return sum(sum(tensor_sizes(path).values()) for path in files)

    @cached_property
    def _config(self) -> dict[str, Any]:
        path = self.folder / CONFIG
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise AdapterError(f"{path} can't be read: {error}", "Is the download complete?") from error
        if not isinstance(config, dict):
            raise AdapterError(f"{path} is not a JSON object", "Is this a transformers checkpoint?")
        return config

    @cached_property
    def _files(self) -> list[Path]:
        if self.revision is not None:
            self._fetch(self.revision, weights=True)
        return [self.folder / name for name in needed(_file_names(self.folder))]

    @cached_property
    def _settings(self) -> list[Path]:
        if self.revision is not None:
            self._fetch(self.revision, weights=False)
        names = needed(_file_names(self.folder))
        return [self.folder / name for name in names if not name.endswith(WEIGHT_SUFFIXES)]

    def _fetch(self, commit: str, *, weights: bool) -> None:
        """Bring the needed files into the Hub's cache, beside the config that is there already."""
        from huggingface_hub import snapshot_download

        from harness.remote import not_cached, remote_errors

        what = f"the checkpoint {self.name}"
        if self.offline:
            if weights and not _has_weights(self.folder):
                raise not_cached(what)
            return
        with remote_errors(what):
            wanted = needed(self.listed)
            if not weights:
                wanted = [name for name in wanted if not name.endswith(WEIGHT_SUFFIXES)]
            snapshot_download(self.name, revision=commit, allow_patterns=wanted)

    @cached_property
    def _digest(self) -> str:
        total = hashlib.sha256()
        for path in self._files:
            total.update(f"{path.name} {content_digest(path)}\n".encode())
        return total.hexdigest()


def resolve(name: str, revision: str | None, *, base: Path, offline: bool) -> Checkpoint:
    """The checkpoint called `name`: a local folder ("./x" is relative to `base`), else a Hub id.

    Raises AdapterError when a folder or repository is no checkpoint, RemoteError when the Hub can't be
    reached or doesn't know the id or the revision.
    """
    folder = local_folder(name, base, "checkpoint")
    if folder is None:
        return _from_hub(name, revision, offline)
    if revision is not None:
        raise AdapterError(
            f"'{name}' is a local folder, so it has no revision '{revision}'", "Remove model.revision."
        )
    if not (folder / CONFIG).is_file():
        raise AdapterError(f"{folder} is not a checkpoint: it has no {CONFIG}", _why_not(folder))
    return Checkpoint(name, folder)


def local_folder(name: str, base: Path, what: str) -> Path | None:
    """The folder that a name means ("./x" is relative to `base`), or None for what can only be a Hub id.

    It need not exist when the name is a path. `what` is what messages call the thing. Raises AdapterError for
    a name that no path can have.
    """
    try:
        folder = _local(name, base)
        if folder is not None:
            folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, a NUL, ~ of nobody
        why = getattr(error, "strerror", None) or error
        raise AdapterError(
            f"the {what} name '{shown(name)}' can't be a path: {why}",
            "A Hub id is OWNER/NAME; a local path starts with ./",
        ) from error
    return folder


def _local(name: str, base: Path) -> Path | None:
    path = Path(name).expanduser()
    if name.startswith(("./", "../")) or name in {".", ".."}:
        return (base / path).resolve()
    if path.is_absolute() or path.is_dir():
        return path.resolve()
    return None


def shown(name: str) -> str:
    """A name fit for a message: short and printable."""
    text = name if name.isprintable() else ascii(name)[1:-1]
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _why_not(folder: Path) -> str:
    if not folder.is_dir():
        return "There is no such folder. A local checkpoint is a folder; a Hub id is OWNER/NAME."
    if (folder / "adapter_config.json").is_file():
        return (
            "It holds a LoRA adapter: name its base checkpoint with --model and this folder with --adapter."
        )
    return "Name the folder that save_pretrained wrote."


def _from_hub(name: str, revision: str | None, offline: bool) -> Checkpoint:
    from huggingface_hub import HfApi, hf_hub_download

    from harness.remote import remote_errors

    if not HUB_ID.fullmatch(name):
        raise AdapterError(
            f"'{shown(name)}' is neither a folder nor a Hub id",
            "A Hub id is OWNER/NAME; a local path starts with ./",
        )
    with remote_errors(f"the checkpoint {name}"):
        listed: tuple[str, ...] = ()
        if not offline:
            # Asked first because it fails at once when the Hub is down; a download tries for half a minute.
            found = HfApi().model_info(name, revision=revision)
            listed = tuple(file.rfilename for file in found.siblings or ())
            if CONFIG not in listed:
                raise AdapterError(
                    f"the repository {name} is not a checkpoint: it has no {CONFIG}",
                    "An adapter repository goes to --adapter; its base checkpoint to --model.",
                )
        # By the branch's name, so that the cache knows offline which commit it stands for.
        path = hf_hub_download(name, CONFIG, revision=revision, local_files_only=offline)
    folder = Path(path).parent
    return Checkpoint(name, folder, folder.name, offline, listed)


def _file_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def _has_weights(folder: Path) -> bool:
    """Whether a snapshot has its weights, all shards of them."""
    names = _file_names(folder)
    chosen = needed(names)
    shards: set[str] = set()
    for name in chosen:
        if name.endswith(".index.json"):
            shards |= set(json.loads((folder / name).read_text(encoding="utf-8"))["weight_map"].values())
    return shards <= names and any(name.endswith(WEIGHT_SUFFIXES) for name in chosen)


def content_digest(path: Path) -> str:
    """SHA-256 (hex) of a file; the Hub's cache names large files by it, which saves reading gigabytes."""
    target = path.resolve()
    if target.parent.name == "blobs" and SHA256_BLOB.fullmatch(target.name):
        return target.name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensor_sizes(path: Path) -> dict[str, int]:
    """Names of a weights file's tensors and their numbers of elements; no value is loaded."""
    shapes = _safetensors_shapes(path) if path.suffix == ".safetensors" else _pickle_shapes(path)
    return {name: prod(shape) for name, shape in shapes.items()}


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes from the header, which is a length (uint64, little endian) and that many bytes of JSON."""
    with path.open("rb") as file:
        [length] = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


def _pickle_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    import torch

    tensors = torch.load(path, map_location="meta", weights_only=True)
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
