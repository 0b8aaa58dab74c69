"""What a model family is: the only code that knows how its checkpoints are prompted, encoded and run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import AdapterError
from harness.types import Failure, Json, Output, Sample

if TYPE_CHECKING:
    import numpy as np

    from harness.models.weights import Weights
    from harness.spec.schema import Task
    from harness.spec.training import SpecAugment
    from harness.spec.values import PartState

IGNORED_LABEL = -100
"""Label of a position that isn't learned."""


@dataclass(frozen=True)
class AdapterInfo:
    """What a family can do.

    `modes`: how it answers (generate, embed, choose, classify). `modalities`: the inputs it takes
    ("audio", "text"). `lora_targets`: names of modules that take LoRA. `parts`: part name to the prefixes of
    its modules in the transformers model ("model.encoder"), for freezing. `towers`: input to the part that
    alone embeds it, where there is one for each. `version` changes whenever the
    family's outputs would: it is in the cache key. `hosted` models run on a server: there are no files and
    nothing to train. `unread`: prefixes of modules whose output nobody reads, so that they are never trained.
    """

    family: str
    version: str
    modes: frozenset[str]
    modalities: frozenset[str]
    lora_targets: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    towers: Mapping[str, str] = field(default_factory=dict)
    hosted: bool = False
    unread: tuple[str, ...] = ()


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


class PartlyFailedError(Exception):
    """Samples of a batch failed by themselves, and the others needn't be predicted again.

    `outcomes` has an output or a failure for each sample, in order.
    """

    def __init__(self, outcomes: Sequence[Output | Failure]) -> None:
        super().__init__("some samples failed")
        self.outcomes = list(outcomes)


@dataclass(frozen=True)
class Similarity:
    """How a dual encoder reads cosine similarities: logits are `scale` * cosine + `bias`, and `scoring` says
    whether classes compete for them ("softmax") or each stands alone ("sigmoid")."""

    scale: float
    bias: float = 0.0
    scoring: Literal["softmax", "sigmoid"] = "softmax"


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

    info: AdapterInfo
    weights: Weights
    coupled: bool = False
    """Whether what a sample teaches depends on the others of its step (contrastive losses)."""

    @classmethod
    def for_task(
        cls,
        weights: Weights,
        task: Task,
        classes: Sequence[str] | None = None,  # noqa: ARG003 - for families that answer with them
    ) -> Adapter:
        """The adapter of a checkpoint that answers as this task asks.

        `classes` are the names of the dataset's classes, where it is known and has any. Raises AdapterError
        when the checkpoint can't do it.
        """
        return cls(weights, task.generate, task.kind)  # type: ignore[call-arg]

    @abstractmethod
    def request(self, sample: Sample) -> Json:
        """All that decides this sample's output besides media, weights and settings: the rendered text.

        It is part of the prediction's cache key. Raises RowError when the sample lacks something.
        """

    def bucket(self, sample: Sample) -> Hashable:
        """Samples of different buckets never share a batch (translate and transcribe, say)."""
        return None

    def prefix(self, sample: Sample) -> str | None:
        """What names the beginning that this sample's prompt shares with others (the digest of its image).

        Samples of one prefix are kept together, so that it goes through the network once. None shares
        nothing. Raises MediaError, RowError.
        """
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
        """One output per sample of the batch, in its order. Raises PartlyFailedError where some have none."""

    @abstractmethod
    def render(self, sample: Sample) -> Rendered:
        """The sample as the model would see it in training: prompt, target and label mask."""

    def stream(self, sample: Sample) -> Iterator[str]:
        """The answer to one sample in pieces, as they are generated; together they are `predict`'s.

        Raises AdapterError for a family that doesn't write.
        """
        raise AdapterError(f"family '{self.info.family}' can't stream its answers")

    @property
    def model(self) -> Any:
        """The network (a transformers model on the device); loaded when first asked for.

        Raises AdapterError for a family that has none.
        """
        raise AdapterError(f"family '{self.info.family}' has no network that could be trained")

    def similarity(self) -> Similarity:
        """How the family reads its embeddings' cosines. Raises AdapterError for one that doesn't embed."""
        raise AdapterError(f"family '{self.info.family}' has no embeddings to compare")

    def new_settings(self) -> Mapping[str, Json]:
        """Keys of config.json that a fine-tune in full has otherwise than its base: names of its classes."""
        return {}

    def part_states(self) -> Mapping[str, PartState]:
        """What becomes of parts of which the task doesn't say it: frozen, lora or full.

        Raises AdapterError when this kind of task can't be learned by this family.
        """
        return {}

    def chosen(self, sample: Sample, random: np.random.Generator) -> Sample:
        """The sample as one step learns from it, where its target leaves a choice (one of five captions)."""
        return sample

    def constrain(self, network: Any) -> None:  # noqa: B027 - most families have nothing to constrain
        """Bring parameters back to where they may be, after each step of the optimizer."""

    def items(self, batch: Batch) -> int:
        """How many units (tokens, pairs) of a batch encoded with targets the loss is a sum over."""
        return int((batch.tensors["labels"] != IGNORED_LABEL).sum())

    def partial(self, batch: Batch) -> bool:
        """Whether a batch encoded with targets leaves a part of the network out (texts without an image), so
        that no gradient of its loss reaches that."""
        return False

    def loss(self, network: Any, batch: Batch) -> Any:
        """Sum of the losses over the batch's items, a float32 scalar to call backward on.

        `network` is `self.model`, or that wrapped for training (PEFT, data parallel): the forward pass must
        go through it. `batch` was encoded with targets and its tensors are on the device. Never a mean: the
        trainer divides by the items of the whole step, over all micro-batches and processes.
        """
        raise AdapterError(f"family '{self.info.family}' can't be fine-tuned")

    def pair_embeddings(self, network: Any, batch: Batch) -> tuple[Any, Any]:
        """Both sides of a coupled loss for a batch encoded with targets, through one call of `network`.

        Two tensors of shape (samples, dimensions), float32, L2-normalised. Only for a `coupled` family.
        """
        raise AdapterError(f"family '{self.info.family}' has no pairs to learn from")

    def pair_loss(self, network: Any, left: Any, right: Any) -> Any:
        """Sum over the pairs of a whole step of their losses, a float32 scalar.

        `left` and `right` are what `pair_embeddings` returned for all of it, over micro-batches and
        processes; learned scales are read from `network`. Only for a `coupled` family.
        """
        raise AdapterError(f"family '{self.info.family}' has no pairs to learn from")

    def spec_augment(
        self, batch: Batch, settings: SpecAugment, random: Sequence[np.random.Generator]
    ) -> None:
        """Mask the features of a batch in place; `random` has one generator for each sample.

        Raises AdapterError for a family without a spectrogram.
        """
        raise AdapterError(
            f"family '{self.info.family}' has no spectrogram to mask", "Leave out train.augment.spec_augment."
        )
