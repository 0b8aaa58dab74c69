"""The expensive part of a model: the processor and the network, loaded once and shared by many tasks."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, HarnessError
from harness.models.checkpoint import Checkpoint
from harness.models.head import Head, always_the_same, renew

if TYPE_CHECKING:
    from harness.models.trained import TrainedAdapter


class Weights:
    """A checkpoint, and an adapter if there is one, with processor and network, loaded when first needed.

    A run whose predictions all come from the cache never loads the network. `dtype` "auto" is what the
    adapter was trained in; without one, the checkpoint's own on a GPU and float32 on a CPU. `device` "auto"
    is CUDA, else MPS, else the CPU. `head` replaces the checkpoint's classification head; when not given, it
    is the one that the adapter was trained with, if that was new.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: str = "auto",
        device: str = "auto",
        attention: str | None = None,
        adapter: TrainedAdapter | None = None,
        head: Head | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.attention = attention
        self.adapter = adapter
        self._wanted_dtype = dtype
        self._wanted_device = device
        self._head = head
        self._models: dict[tuple[str, Head | None], Any] = {}

    @property
    def head(self) -> Head | None:
        """The head that isn't the checkpoint's own; None where the checkpoint's is used."""
        if self._head is None and self.adapter is not None:
            return self.adapter.head()
        return self._head

    def with_head(self, head: Head | None) -> Weights:
        """The same weights with another head: loaded anew, released together."""
        made = copy(self)
        made._head = head
        made.__dict__.pop("config", None)
        return made

    @cached_property
    def device(self) -> str:
        """The device's name, "cpu" or "cuda:1". Raises AdapterError when this machine doesn't have it."""
        return _device(self._wanted_device)

    @cached_property
    def dtype(self) -> str:
        """Precision of the weights on this device: "float32", "bfloat16" or "float16"."""
        if self._wanted_dtype != "auto":
            return self._wanted_dtype
        if self.adapter is not None and (trained_in := self.adapter.dtype()) is not None:
            return trained_in
        config = self.checkpoint.config()
        own = config.get("dtype") or config.get("torch_dtype") or "float32"
        return "float32" if self.device == "cpu" else str(own)

    @property
    def warms_up(self) -> bool:
        """Whether the first prediction is slow for reasons of the device's."""
        return not self.device.startswith("cpu")

    @cached_property
    def processor(self) -> Any:
        """The checkpoint's own processor.

        Raises AdapterError when its files are missing or broken, the tokenizer's above all.
        """
        from transformers import AutoProcessor

        self.checkpoint.settings()
        with quiet(), _loading(self.checkpoint, "processor"):
            processor = AutoProcessor.from_pretrained(self.checkpoint.folder, local_files_only=True)
        _refuse_empty_vocabulary(self.checkpoint, getattr(processor, "tokenizer", processor))
        return processor

    def preprocessor(self, auto_class: str) -> Any:
        """A part of the checkpoint's processor through transformers' class `auto_class` (AutoImageProcessor).

        For checkpoints that have no tokenizer, or aren't asked about text. Raises AdapterError like
        `processor`.
        """
        import transformers

        self.checkpoint.settings()
        with quiet(), _loading(self.checkpoint, "processor"), warnings.catch_warnings():
            # AST's own filter bank: some of its 128 filters lie between two bins, in every checkpoint.
            warnings.filterwarnings("ignore", "At least one mel filter has all zero values", UserWarning)
            return getattr(transformers, auto_class).from_pretrained(
                self.checkpoint.folder, local_files_only=True
            )

    @cached_property
    def config(self) -> Any:
        """The checkpoint's config as transformers reads it, defaults filled in, and `head`'s classes."""
        from transformers import AutoConfig

        with quiet(), _loading(self.checkpoint, "config"):
            config = AutoConfig.from_pretrained(self.checkpoint.folder, local_files_only=True)
        for name, value in (self.head.settings() if self.head else {}).items():
            setattr(config, name, value)
        return config

    def generation_config(self) -> Any:
        """A fresh copy of the checkpoint's generation settings; derived from its config if it has none."""
        from transformers import GenerationConfig

        self.checkpoint.settings()
        with quiet(), _loading(self.checkpoint, "generation config"):
            if (self.checkpoint.folder / "generation_config.json").is_file():
                return GenerationConfig.from_pretrained(self.checkpoint.folder, local_files_only=True)
            return GenerationConfig.from_model_config(self.config)

    def model(self, auto_class: str) -> Any:
        """The network in evaluation mode on the device, loaded through transformers' class `auto_class`.

        It is the transformers model itself, with the adapter's layers inside. Raises AdapterError when
        weights are missing, left over or of another shape: a checkpoint with random layers must never be
        scored. Only a new head may be lacking; its outputs are then zero.
        """
        return self.kept(auto_class, lambda: self._load(auto_class))

    def kept(self, name: str, load: Callable[[], Any]) -> Any:
        """What `load` returned under this name, kept until `release` or until something else is loaded."""
        key = name, self.head
        if key not in self._models:
            self._models.clear()  # one network in memory at a time
            self._models[key] = load()
        return self._models[key]

    def holds(self, auto_class: str) -> bool:
        """Whether that network is in memory."""
        return (auto_class, self.head) in self._models

    def digest(self) -> str:
        """SHA-256 (hex) of all files that decide what the model says, the adapter's included.

        Raises AdapterError when the adapter was trained on other files than the checkpoint's.
        """
        if self.adapter is None:
            return self.checkpoint.digest()
        self.adapter.check_base(self.checkpoint)
        return hashlib.sha256(f"{self.checkpoint.digest()} {self.adapter.digest()}".encode()).hexdigest()

    def parameters(self) -> int:
        """Number of parameters in use, those that the adapter adds included; no weights are loaded."""
        added = self.adapter.added_parameters() if self.adapter is not None else 0
        return self.checkpoint.parameters() + added

    def release(self) -> None:
        """Forget the networks, so that another fits into memory; the next use loads them again."""
        import torch

        self._models.clear()
        gc.collect()  # a network in training is part of cycles
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _load(self, auto_class: str) -> Any:
        import torch
        import transformers

        self.checkpoint.files()
        settings: dict[str, Any] = {"dtype": getattr(torch, self.dtype), "output_loading_info": True}
        if self.attention is not None:
            settings["attn_implementation"] = self.attention
        if self.head is not None:
            settings |= {"config": deepcopy(self.config), "ignore_mismatched_sizes": True}
        with quiet(), _loading(self.checkpoint, "weights"), always_the_same():
            model, report = getattr(transformers, auto_class).from_pretrained(
                self.checkpoint.folder, local_files_only=True, **settings
            )
            _refuse_gaps(self.checkpoint, renew(model, report) if self.head is not None else report)
            if self.adapter is not None:
                self.adapter.check_base(self.checkpoint)
                self.adapter.apply(model)
            return model.eval().to(self.device)


@contextmanager
def single_thread() -> Iterator[None]:
    """Keep torch from sharing this thread's work among cores: in a worker they belong to the model.

    The number of threads is each thread's own, so the main thread's stays.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' advice and progress bars off the user's screen; its errors still raise."""
    from transformers.utils import logging as library

    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity(logging.ERROR)
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()


@contextmanager
def _loading(checkpoint: Checkpoint, what: str) -> Iterator[None]:
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # a broken folder raises whatever its reader stumbles over
        raise AdapterError(
            f"the {what} of {checkpoint.name} can't be loaded: {error}",
            f"Its files are in {checkpoint.folder}. Is it complete, and of the family that the task names?",
        ) from error


def _refuse_empty_vocabulary(checkpoint: Checkpoint, tokenizer: Any) -> None:
    """Without its files transformers makes a tokenizer of special tokens alone, and every text is empty."""
    if tokenizer.get_vocab().keys() <= tokenizer.added_tokens_encoder.keys():
        raise AdapterError(
            f"the tokenizer of {checkpoint.name} has no vocabulary, so every text would be empty",
            "Copy the tokenizer's files (tokenizer.json, tokenizer_config.json) from the checkpoint that it "
            f"was trained from to {checkpoint.folder}: a Trainer's checkpoint-500/ often lacks them.",
        )


def _refuse_gaps(checkpoint: Checkpoint, report: dict[str, Any]) -> None:
    wrong = {
        "missing": report.get("missing_keys"),
        "not part of the model": report.get("unexpected_keys"),
        "of another shape": report.get("mismatched_keys"),
        "unreadable": report.get("error_msgs"),
    }
    faults = [f"{len(keys)} {what} ({_few(keys)})" for what, keys in wrong.items() if keys]
    if faults:
        raise AdapterError(
            f"the weights of {checkpoint.name} don't fit its config: {'; '.join(faults)}",
            "Such layers would be random, and their score meaningless. Is the download complete?",
        )


def _few(keys: Any) -> str:
    names = sorted(str(key[0] if isinstance(key, tuple) else key) for key in keys)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _device(wanted: str) -> str:
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return _own_gpu()
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise AdapterError(f"there is no device '{wanted}'", "Devices are cpu, cuda, cuda:1, mps.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise AdapterError(
            f"this machine has no device '{wanted}': torch sees {torch.cuda.device_count()} CUDA GPUs",
            "Use --device cpu, or see `harness doctor`.",
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise AdapterError(f"this machine has no device '{wanted}'", "Use --device cpu.")
    return _own_gpu() if wanted == "cuda" else wanted


def _own_gpu() -> str:
    """The GPU of this process: under `accelerate launch` each local process has its own."""
    import torch

    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
