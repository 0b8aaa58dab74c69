"""What a model family is: the only code that knows how its checkpoints are prompted, encoded and run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import AdapterError
from harness.types import Json, Output, Sample

if TYPE_CHECKING:
    import numpy as np

    from harness.models.weights import Weights
    from harness.spec.training import SpecAugment

IGNORED_LABEL = -100
"""Label of a position that isn't learned."""


@dataclass(frozen=True)
class AdapterInfo:
    """What a family can do.

    `modes`: how it answers (generate, embed, choose, classify). `modalities`: the inputs it takes
    ("audio", "text"). `lora_targets`: names of modules that take LoRA. `parts`: part name to the prefix of
    its modules in the transformers model ("model.encoder"), for freezing. `version` changes whenever the
    family's outputs would: it is in the cache key.
    """

    family: str
    version: str
    modes: frozenset[str]
    modalities: frozenset[str]
    lora_targets: tuple[str, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Batch:
    """Encoded samples: `tensors` as the model takes them (CPU), and what `predict` must know besides.

    `seconds` is the time that feature extraction took, decoding and resampling left out: it counts as
    transcription time, and reading the file does not.
    """

    samples: Sequence[Sample]
    tensors: dict[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Rendered:
    """One sample as the model sees it, for `--dry-run`.

    `tokens` are the decoder's or the prompt's tokens in order, each with whether it is a label
    (trained on); `shapes` are the encoded tensors' names, dtypes and shapes.
    """

    tokens: Sequence[tuple[str, bool]]
    shapes: Mapping[str, str]
    notes: Mapping[str, str] = field(default_factory=dict)


class Adapter(ABC):
    """A loaded checkpoint, ready for one task.

    `encode` runs in worker threads while the model works on an earlier batch, so it must not touch
    the model or the device. Everything else runs in the main thread.
    """

    info: ClassVar[AdapterInfo]
    weights: Weights

    @abstractmethod
    def request(self, sample: Sample) -> Json:
        """All that decides this sample's output besides media, weights and settings: the rendered text.

        It is part of the prediction's cache key. Raises RowError when the sample lacks something.
        """

    def bucket(self, sample: Sample) -> Hashable:
        """Samples of different buckets never share a batch (translate and transcribe, say)."""
        return None

    @abstractmethod
    def cost(self, sample: Sample) -> float:
        """Relative work for this sample: batches hold similar costs, largest first. Raises MediaError."""

    @abstractmethod
    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        """Decode the media and make CPU tensors; with targets, labels too (-100 where not trained on).

        Raises MediaError or RowError naming the sample at fault.
        """

    @abstractmethod
    def prepare(self) -> None:
        """Load the network, so that loading doesn't count as prediction time."""

    @abstractmethod
    def predict(self, batch: Batch) -> list[Output]:
        """One output per sample of the batch, in its order."""

    @abstractmethod
    def render(self, sample: Sample) -> Rendered:
        """The sample as the model would see it in training: prompt, target and label mask."""

    @property
    def model(self) -> Any:
        """The network (a transformers model on the device); loaded when first asked for.

        Raises AdapterError for a family that has none.
        """
        raise AdapterError(f"family '{self.info.family}' has no network that could be trained")

    def items(self, batch: Batch) -> int:
        """How many units (tokens, pairs) of a batch encoded with targets the loss is a sum over."""
        return int((batch.tensors["labels"] != IGNORED_LABEL).sum())

    def loss(self, network: Any, batch: Batch) -> Any:
        """Sum of the losses over the batch's items, a float32 scalar to call backward on.

        `network` is `self.model`, or that wrapped for training (PEFT, data parallel): the forward pass must
        go through it. `batch` was encoded with targets and its tensors are on the device. Never a mean: the
        trainer divides by the items of the whole step, over all micro-batches and processes.
        """
        raise AdapterError(f"family '{self.info.family}' can't be fine-tuned")

    def spec_augment(
        self, batch: Batch, settings: SpecAugment, random: Sequence[np.random.Generator]
    ) -> None:
        """Mask the features of a batch in place; `random` has one generator for each sample.

        Raises AdapterError for a family without a spectrogram.
        """
        raise AdapterError(
            f"family '{self.info.family}' has no spectrogram to mask", "Leave out train.augment.spec_augment."
        )
