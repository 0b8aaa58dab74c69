"""What a network says to samples made up on the spot: whether two say the same, without a dataset at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.data.probe import probe_samples
from harness.errors import AdapterError, SampleError
from harness.models.base import Adapter, Batch
from harness.models.weights import quiet
from harness.spec.kinds import KINDS

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 1e-5
"""Largest difference of logits that float32's rounding explains."""


@dataclass(frozen=True)
class Parity:
    """How far logits on probe samples moved: by merging (`merged`), and by saving and loading (`reloaded`).

    Largest absolute differences, as a share of the largest logit when that is above one. For the logits of a
    dual encoder stand its embeddings and its temperature.
    """

    merged: float
    reloaded: float
    limit: float = LIMIT


@dataclass(frozen=True)
class Probe:
    """Samples encoded once, and how a network is heard about them."""

    batches: Sequence[Batch]
    hear: Callable[[Adapter, Batch], Sequence[Tensor]]

    @classmethod
    def of(cls, adapter: Adapter, spec: Mapping[str, Any]) -> Probe:
        """Samples of the kind that `spec`, the task of a training, has; else of one that the family can do.

        Raises AdapterError when none can be made.
        """
        info = adapter.info
        kind = KINDS.get(spec.get("kind", "")) or next(k for k in KINDS.values() if k.mode in info.modes)
        try:
            if kind.mode == "embed":  # pictures and prompts, each alone, whatever the loss made of them
                alone = [adapter.encode(probe_samples((one,))) for one in sorted(info.modalities)]
                return cls(alone, _embeddings)
            if kind.mode == "classify":
                return cls([adapter.encode(probe_samples(sorted(info.modalities)))], _scores)
            mapped = (spec.get("data") or {}).get("columns") or info.modalities
            language = (spec.get("generate") or {}).get("language") or "en"
            samples = probe_samples(kind.columns(mapped), language)
            return cls([adapter.encode(samples, with_targets=True)], _tokens)
        except SampleError as error:
            raise AdapterError(f"no probe sample can be made for {info.family}: {error}") from error

    def said(self, adapter: Adapter) -> list[Tensor]:
        """What the adapter's network says to all of them: float32, on the CPU."""
        import torch

        with torch.inference_mode(), quiet():
            found = [tensor for batch in self.batches for tensor in self.hear(adapter, batch)]
        return [tensor.float().cpu() for tensor in found]


def distance(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Largest difference of what two networks said, as `Parity` has it."""
    pairs = zip(before, after, strict=True)
    return max(float((one - other).abs().max()) / max(1.0, float(one.abs().max())) for one, other in pairs)


def _tokens(adapter: Adapter, batch: Batch) -> Sequence[Tensor]:
    """All logits that the loss is made of."""
    return _logits(adapter, lambda: adapter.loss(adapter.model, batch))


def _scores(adapter: Adapter, batch: Batch) -> Sequence[Tensor]:
    """Logits of all classes that the head has, whichever the task asks for."""
    return _logits(adapter, lambda: adapter.predict(batch))


def _logits(adapter: Adapter, run: Callable[[], Any]) -> Sequence[Tensor]:
    import torch

    found: list[Any] = []
    speaker = getattr(adapter, "speaker", adapter.model)  # not every network's own output has them
    hook = speaker.register_forward_hook(
        lambda _module, _inputs, said: found.append(
            said if isinstance(said, torch.Tensor) else said["logits"]
        )
    )
    try:
        run()
    finally:
        hook.remove()
    return found


def _embeddings(adapter: Adapter, batch: Batch) -> Sequence[Tensor]:
    """A vector of each sample, and how similarities of such vectors are read."""
    import torch

    reading = adapter.similarity()
    vectors = [torch.as_tensor(one.output) for one in adapter.predict(batch)]
    return [torch.stack(vectors), torch.tensor([reading.scale, reading.bias])]
