"""Networks that were trained a little, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness.models import Adapter, TrainedAdapter, Weights, resolve
from harness.models.whisper import Whisper
from harness.spec.training import Train
from harness.training import output
from harness.training.curve import Curve
from harness.training.method import Tuning, prepare
from tests.models.clips import adapter as load
from tests.models.clips import sample
from tests.models.tiny import tiny_moonshine, tiny_speech2text, tiny_whisper

MAKERS: dict[str, Callable[[Path], Path]] = {
    "whisper": lambda folder: tiny_whisper(folder, layers=2),
    "moonshine": tiny_moonshine,
    "speech2text": lambda folder: tiny_speech2text(folder, multilingual=False),
}
LANGUAGE = {"whisper": "en", "moonshine": None, "speech2text": None}


def fresh(folder: Path, *, dtype: str = "auto", trained: Path | None = None) -> Whisper:
    """The checkpoint in `folder`, named after its kind, with an adapter if there is one."""
    made = load(folder, dtype=dtype, language=LANGUAGE.get(folder.name))
    if trained is not None:
        adapter = TrainedAdapter(trained.name, trained)
        made.weights = Weights(made.weights.checkpoint, dtype, "cpu", None, adapter)
    return made


def moved(adapter: Adapter, **train: Any) -> Tuning:
    """Its network prepared and changed as if it had been trained; in evaluation mode."""
    tuning = prepare(adapter.model, adapter.info, Train(steps=1, **train))
    nudge(tuning.network)
    return tuning


def nudge(network: Any) -> None:
    """Change what is trained of a network, and leave it in evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    network.eval()


def said(adapter: Adapter, network: Any = None) -> torch.Tensor:
    """Logits for two clips, (2, tokens, vocabulary)."""
    batch = adapter.encode([sample(), sample(seed=1)], with_targets=True)
    network = network or adapter.model
    first = next(network.parameters())
    tensors = {
        name: tensor.to(first.dtype) if tensor.is_floating_point() else tensor
        for name, tensor in batch.tensors.items()
        if name != "labels"
    }
    with torch.inference_mode():
        logits: torch.Tensor = network(**tensors, use_cache=False).logits
    return logits


def written(folder: Path, adapter: Adapter, tuning: Tuning, **manifest: Any) -> Path:
    """The folder with what was trained."""
    output.save(folder, tuning, adapter, manifest_of(adapter) | manifest, curve())
    return folder


def manifest_of(adapter: Adapter, **train: Any) -> dict[str, Any]:
    """As the pipeline makes it."""
    checkpoint = adapter.weights.checkpoint
    settings = Train(steps=2, **train)
    return {
        "format": 1,
        "task": "digits",
        "method": settings.method,
        "base": {
            "checkpoint": checkpoint.name,
            "revision": checkpoint.revision,
            "digest": checkpoint.digest(),
        },
        "dtype": adapter.weights.dtype,
        "spec": {
            "name": "digits",
            "kind": "asr",
            "data": {"path": "google/fleurs"},
            "generate": {"language": "en_us"},
            "train": settings.model_dump(mode="json"),
        },
        "train": {"steps": 2, "best_step": 1, "trainable_parameters": 10, "total_parameters": 100},
        "scores": {"wer": 12.5},
        "versions": {"torch": "2"},
    }


def curve() -> Curve:
    made = Curve()
    made.add_loss(1, 2.0, 1e-3, 1.0)
    made.add_scores(1, {"wer": 12.5})
    return made


def open_adapter(folder: Path) -> TrainedAdapter:
    return TrainedAdapter(folder.name, folder)


def open_checkpoint(folder: Path) -> Any:
    return resolve(str(folder), None, base=folder, offline=True)
