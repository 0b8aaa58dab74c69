"""Dual encoders: one tower for images or audio, one for texts, and a temperature between them.

An embedding is what the network gives for one thing, unnormalised, and depends on nothing else: no task, no
class, no template. What families share is here; what differs between checkpoints is in `cousins`.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

from harness.errors import AdapterError, PredictionError, RowError
from harness.models import losses, temperature
from harness.models.base import Adapter, Batch, Rendered, Similarity
from harness.models.class_targets import ClassTargets
from harness.models.cousins import cousin
from harness.models.prompt_classifier import PromptClassifier, prompt_classifier
from harness.models.texts import Texts
from harness.models.weights import quiet, single_thread
from harness.spec.classes import PLACE, Classes
from harness.types import Json, Output, Sample

if TYPE_CHECKING:
    import numpy as np

    from harness.models.weights import Weights
    from harness.spec.schema import Task
    from harness.spec.values import PartState

LABELS = "labels"
ATTENTION = r".*\.(self_attn\.(q|k|v|out)_proj|self\.(query|key|value))"
"""The projections of every self-attention, as CLIP's kin and BERT's kin call them. SigLIP's pooling head is
left out: it reads its weights past LoRA."""


class DualEncoder(Adapter):
    """Embeds one kind of medium and texts; learns from pairs, or from classes that prompts name.

    Raises AdapterError when the task's samples are of another medium.
    """

    medium: ClassVar[str]
    """Name of the input besides "text"."""
    auto_class: ClassVar[str]

    @classmethod
    def for_task(cls, weights: Weights, task: Task, classes: Sequence[str] | None = None) -> DualEncoder:
        """Ready to embed; `classes` (the dataset's, else the task's) are only needed to learn from them."""
        return cls(weights, task, classes or (task.classes.names if task.classes else None))

    def __init__(self, weights: Weights, task: Task, classes: Sequence[str] | None) -> None:
        if self.medium not in task.inputs:
            raise AdapterError(
                f"{weights.checkpoint.name} embeds {self.medium} and texts, the task gives it "
                f"{' and '.join(task.inputs)}",
                "Choose another checkpoint with --model.",
            )
        self.weights = weights
        self._task = task
        self._kind = task.kind
        self._cousin = cousin(weights.config)
        positions = int(weights.config.text_config.max_position_embeddings)
        self._texts = Texts(weights.processor.tokenizer, self._cousin, positions)
        self._targets = ClassTargets(classes, multilabel=bool(task.classes and task.classes.multilabel))
        self.coupled = task.kind == "retrieval"

    @abstractmethod
    def load_medium(self, sample: Sample) -> Any:
        """The decoded image or clip of a sample. Raises MediaError or RowError."""

    @abstractmethod
    def features(self, samples: Sequence[Sample], media: Sequence[Any]) -> tuple[dict[str, Any], list[bool]]:
        """Tensors of decoded media as the network takes them, and of which a part was cut off.

        Raises MediaError.
        """

    @property
    def model(self) -> Any:
        """The network; loaded when first asked for."""
        return self.weights.model(self.auto_class)

    def prepare(self) -> None:
        """Load the network, so that loading doesn't count as prediction time."""
        _ = self.model

    def request(self, sample: Sample) -> Json:
        """What is embedded; of a medium nothing more, since its bytes are told apart by their digest."""
        if self._embeds(sample) == "text":
            return {"embed": "text", "text": _text(sample, sample.inputs["text"])}
        return {"embed": self.medium}

    def bucket(self, sample: Sample) -> Hashable:
        """Media and texts go through towers of their own."""
        return self._embeds(sample)

    def cost(self, sample: Sample) -> float:
        """Characters of a text. A medium costs 1: whatever its size, the network sees as much of each."""
        if self._embeds(sample) == "text":
            return float(len(_text(sample, sample.inputs["text"])))
        return 1.0

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        """Media as the checkpoint's processor makes them, or tokenised texts; all samples are of one kind.

        With targets, media and what they are learned from: tokenised captions (`input_ids`, int64, (samples,
        tokens)), or `labels`: numbers of classes, int64 (samples,), or zeros and ones, float32 (samples,
        classes). Raises MediaError, and RowError for an empty text or a class that isn't there.
        """
        if self._embeds(samples[0]) == "text":
            texts = [_text(sample, sample.inputs["text"]) for sample in samples]
            return self._encode_texts(samples, texts)
        media = [self.load_medium(sample) for sample in samples]
        started = time.perf_counter()
        with single_thread():
            tensors, cut = self.features(samples, media)
            if with_targets:
                tensors |= self._learned(samples)
        return Batch(samples, tensors, {"cut": cut}, time.perf_counter() - started)

    def predict(self, batch: Batch) -> list[Output]:
        """Embeddings as the network gives them, float32 (dimensions,); `truncated` when a part was cut off.

        Raises PredictionError when the network computes NaN or infinity.
        """
        import torch

        embed = getattr(self.model, f"get_{self._embeds(batch.samples[0])}_features")
        with torch.inference_mode(), quiet():
            found = embed(**self._inputs(batch.tensors)).pooler_output
        vectors = found.float().cpu()
        if not vectors.isfinite().all():
            raise PredictionError("the network computes NaN or infinity")
        rows = zip(vectors.numpy(), batch.settings["cut"], strict=True)
        return [Output(vector, truncated=cut) for vector, cut in rows]

    def similarity(self) -> Similarity:
        """The checkpoint's own temperature, from the network if it is loaded, else from its files.

        Raises AdapterError for one that makes NaN or infinity of every cosine.
        """
        scales = (
            None if self.weights.holds(self.auto_class) else temperature.of_files(self.weights, self._cousin)
        )
        scales = scales or temperature.of_network(self.model, self._cousin)
        found = Similarity(scales.forth.item(), scales.bias.item(), self._cousin.scoring)
        if not (isfinite(found.scale) and isfinite(found.bias)):
            raise AdapterError(
                f"{self.weights.checkpoint.name} multiplies cosines by {found.scale} and adds {found.bias}",
                "Its temperature is damaged, or its training went wrong: choose another checkpoint.",
            )
        return found

    def part_states(self) -> Mapping[str, PartState]:
        """The temperature is trained in full; texts that stand for classes stay as they are.

        Raises AdapterError for a linear probe, and for a text tower that is to learn from classes.
        """
        if self._kind == "linear_probe":
            raise AdapterError(
                "a linear probe reads frozen embeddings: there is nothing to fine-tune",
                "Leave out the train section, or set kind to zero_shot_classification or classification.",
            )
        if self.coupled:
            return {"temperature": "full"}
        wanted = (self._task.train.named_parts if self._task.train else {}).get("text", "frozen")
        if wanted != "frozen":
            raise AdapterError(
                f"train.parts.text: can't be {wanted}: classes are learned against their prompts, which the "
                "frozen text tower embeds",
                "Leave it out. Both towers learn from captions (kind: retrieval).",
            )
        return {"text": "frozen", "temperature": "full"}

    def chosen(self, sample: Sample, random: np.random.Generator) -> Sample:
        """With one of its captions, where it has several. Raises RowError when it has none."""
        if not self.coupled or not isinstance(sample.target, list | tuple):
            return sample
        if not sample.target:
            raise RowError(f"sample '{sample.id}' has no caption to learn from")
        return replace(sample, target=sample.target[int(random.integers(len(sample.target)))])

    def constrain(self, network: Any) -> None:
        """Keep the temperature within what its paper allows."""
        temperature.clamp(network, self._cousin)

    def items(self, batch: Batch) -> int:
        """Pairs, or media with a class."""
        return len(batch.samples)

    def loss(self, network: Any, batch: Batch) -> Any:
        """Sum of the losses: of pairs among each other, or of media against the prompts of the classes."""
        if self.coupled:
            return self.pair_loss(network, *self.pair_embeddings(network, batch))
        # A text goes along: what wraps the network (data parallel training, autocast) sees only its own
        # forward pass, which wants both towers.
        left, _ = self._both(network, {**batch.tensors, **self._classifier.tokens})
        labels = batch.tensors[LABELS].to(left.device)
        scales = temperature.of_network(network, self._cousin)
        return losses.of_classes(left, self._classifier.weights, labels, scales)

    def pair_embeddings(self, network: Any, batch: Batch) -> tuple[Any, Any]:
        """Media and texts of a batch, float32 (samples, dimensions), L2-normalised."""
        return self._both(network, batch.tensors)

    def pair_loss(self, network: Any, left: Any, right: Any) -> Any:
        """As the checkpoint was trained: each against the others both ways, or each by itself."""
        loss = losses.pairwise if self._cousin.scoring == "sigmoid" else losses.symmetric
        return loss(left, right, temperature.of_network(network, self._cousin))

    def render(self, sample: Sample) -> Rendered:
        """Tokens of what the sample is compared with: its first caption, or its class's first prompt."""
        shapes = {
            name: f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            for name, tensor in self.encode([sample]).tensors.items()
        }
        text = self._shown(sample)
        tokens = [(token, False) for token in self._texts.tokens(text)] if text else []
        return Rendered(tokens, shapes, {"text": text} | self._notes())

    @cached_property
    def _classifier(self) -> PromptClassifier:
        """The classes of the task as its prompts name them; embedded once, since their tower is frozen."""
        return prompt_classifier(self.model, self._texts, self._targets.names, self._templates)

    @property
    def _templates(self) -> Sequence[str]:
        return (self._task.classes or Classes()).templates

    @property
    def _scoring(self) -> str:
        """Whether classes compete (softmax) or each stands alone: as the task says, else the checkpoint."""
        wanted = (self._task.classes or Classes()).scoring
        return self._cousin.scoring if wanted == "checkpoint" else wanted

    def _embeds(self, sample: Sample) -> str:
        """What of a sample is embedded: its medium, or "text". Raises RowError when it has neither."""
        for what in (self.medium, "text"):
            if what in sample.inputs:
                return what
        raise RowError(f"sample '{sample.id}' has no {self.medium}")

    def _encode_texts(self, samples: Sequence[Sample], texts: Sequence[str]) -> Batch:
        started = time.perf_counter()
        with single_thread():
            tensors, cut = self._texts.encode(texts)
        return Batch(samples, tensors, {"cut": cut}, time.perf_counter() - started)

    def _learned(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """What the media of samples are learned from: their captions, or the numbers of their classes."""
        if not self.coupled:
            return {LABELS: self._targets.tensor(samples, apart=self._scoring == "sigmoid")}
        tensors, _ = self._texts.encode([_text(sample, sample.target) for sample in samples])
        return tensors

    def _both(self, network: Any, tensors: Mapping[str, Any]) -> tuple[Any, Any]:
        """Embeddings of media and texts through the network's own forward pass, float32, L2-normalised."""
        from torch.nn.functional import normalize

        found = network(**self._inputs(tensors))
        sides = found[f"{self.medium}_embeds"], found["text_embeds"]
        left, right = (normalize(side.float(), dim=-1) for side in sides)
        return left, right

    def _inputs(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """What the network takes, on its device; features in its precision."""
        import torch

        device, dtype = self.model.device, getattr(torch, self.weights.dtype)
        return {
            name: tensor.to(device, dtype if tensor.is_floating_point() else None)
            for name, tensor in tensors.items()
            if name != LABELS
        }

    def _shown(self, sample: Sample) -> str:
        """The text that a sample is compared with: its first caption, or the first prompt of its class."""
        first = sample.target[:1] if isinstance(sample.target, list | tuple) else [sample.target]
        if self._kind == "linear_probe" or not first:
            return ""
        return str(first[0]) if self.coupled else self._templates[0].replace(PLACE, str(first[0]))

    def _notes(self) -> dict[str, str]:
        """What else decides how embeddings become answers."""
        if self._kind != "zero_shot_classification":
            return {}
        return {"templates": " | ".join(self._templates), "scoring": self._scoring}


def _text(sample: Sample, text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise RowError(f"sample '{sample.id}' has no text, but {text!r}")
    return text
