"""Networks with a classification head: ViT (Dosovitskiy et al. 2020), AST (Gong et al. 2021), their cousins.

What transformers' Auto classes for image and audio classification open, nothing is known of beyond that: the
checkpoint's own processor makes the features, its config names the classes. Where those aren't the task's,
the head is a new one, which says exactly chance until it is trained.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, MediaError, PredictionError, RowError
from harness.models.base import Adapter, AdapterInfo, Batch, Rendered
from harness.models.class_names import BY_NUMBER, Fitted
from harness.models.class_targets import ClassTargets
from harness.models.finite import check_finite
from harness.models.head import MODULES, Head
from harness.models.masks import mask
from harness.models.weights import Weights, quiet, single_thread
from harness.types import Audio, Image, Json, Output, Sample

if TYPE_CHECKING:
    import numpy as np

    from harness.spec.schema import Task
    from harness.spec.training import SpecAugment
    from harness.spec.values import PartState

SHOWN = 20
"""Classes in an answer, where only one is right."""
MULTILABEL = "multi_label_classification"
FRAME_SECONDS, HOP_SECONDS = 0.025, 0.010
"""Of Kaldi's filter banks, which AST hears."""


class Classifier(Adapter):
    """An image or audio classifier, ready for one task.

    Raises AdapterError when the checkpoint classifies something else than the task's samples, and when an
    adapter was trained for other classes.
    """

    info = AdapterInfo(
        family="classifier",
        version="1",
        modes=frozenset({"classify"}),
        modalities=frozenset({"image", "audio"}),
        lora_targets=("q_proj", "v_proj"),
        parts={"backbone": ("",), "head": MODULES},
    )

    @classmethod
    def for_task(cls, weights: Weights, task: Task, classes: Sequence[str] | None = None) -> Classifier:
        """Ready to tell `classes` apart: the dataset's, else the task's, else the checkpoint's own."""
        return cls(weights, task, classes or (task.classes.names if task.classes else None))

    def __init__(self, weights: Weights, task: Task, classes: Sequence[str] | None) -> None:
        self.modality, self.auto_class = _modality(weights)
        if self.modality not in task.inputs:
            raise AdapterError(
                f"{weights.checkpoint.name} classifies {self.modality}, the task gives it "
                f"{' and '.join(task.inputs)}",
                "Choose another checkpoint with --model.",
            )
        asked = task.classes is not None and task.classes.multilabel
        self._fitted = Fitted.of(weights, classes, multilabel=asked)
        self.weights, self.classes = self._fitted.weights, self._fitted.classes
        self.multilabel = asked or self.weights.config.problem_type == MULTILABEL
        self._targets = ClassTargets(self.classes, multilabel=self.multilabel)
        self._head_state = (task.train.named_parts if task.train else {}).get("head")
        reader = "AutoImageProcessor" if self.modality == "image" else "AutoFeatureExtractor"
        self._processor = weights.preprocessor(reader)

    @property
    def model(self) -> Any:
        """The network; loaded when first asked for."""
        network = self.weights.model(self.auto_class)
        if hasattr(network.config, "apply_spec_augment"):  # the task says what is masked, from its own seed
            network.config.apply_spec_augment = False
        return network

    @property
    def rate_hz(self) -> int:
        """Sampling rate of the audio that it hears."""
        return int(self._processor.sampling_rate)

    def request(self, sample: Sample) -> Json:
        """What is classified. Raises RowError for a sample of a class that no output stands for: whatever the
        network says of it would be counted as wrong."""
        self._targets.check(sample)
        return {"classify": self.modality}

    def cost(self, sample: Sample) -> float:
        """Seconds of audio; 1 for an image, which the processor brings to one size. Raises MediaError."""
        return _audio(sample).seconds() if self.modality == "audio" else 1.0

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        """What the checkpoint's processor makes of the media, float32; with targets, `labels`.

        Images: `pixel_values` (samples, channels, height, width). AST: `input_values` (samples, frames, mel
        bins); waveforms: (samples, length), padded with zeros. `labels` are the numbers of the classes,
        (samples,), or zeros and ones, float32 (samples, classes), when several may be right. Raises
        MediaError when features are NaN or infinite, RowError for a target that isn't a class.
        """
        media = [self._load(sample) for sample in samples]
        started = time.perf_counter()
        with single_thread():
            features = self._features(samples, media)
        seconds = time.perf_counter() - started
        check_finite(samples, features, "features that are")
        lengths = [len(clip) for clip in media] if self.modality == "audio" else []
        if with_targets:
            features["labels"] = self._targets.tensor(samples, apart=self.multilabel)
        return Batch(samples, features, {"lengths": lengths}, seconds)

    def prepare(self) -> None:
        """Load the network, so that loading doesn't count as prediction time."""
        _ = self.model

    def predict(self, batch: Batch) -> list[Output]:
        """Class to probability, the most probable first; equal ones in the order of the classes.

        The 20 most probable of a softmax; all classes of sigmoids when several may be right. An output of a
        head that wasn't trained says so in `extras`. Raises PredictionError when the network computes NaN.
        """
        import torch

        with torch.inference_mode(), quiet():
            logits = self._logits(self.model, batch).cpu()
        if not logits.isfinite().all():
            raise PredictionError("the network computes NaN or infinity")
        probabilities = logits.sigmoid() if self.multilabel else logits.softmax(-1)
        ranked = probabilities.sort(descending=True, stable=True)
        shown = len(self.classes) if self.multilabel else SHOWN
        rows = zip(ranked.indices[:, :shown].tolist(), ranked.values[:, :shown].tolist(), strict=True)
        untrained = (logits == 0).all(-1).tolist()
        return [
            Output(
                {self.classes[number]: value for number, value in zip(*row, strict=True)},
                extras={"untrained_head": True} if zero else {},
            )
            for row, zero in zip(rows, untrained, strict=True)
        ]

    def items(self, batch: Batch) -> int:
        """Samples."""
        return len(batch.samples)

    def loss(self, network: Any, batch: Batch) -> Any:
        """Sum of the samples' cross entropies, a float32 scalar; when several classes may be right, of binary
        ones, each a sum over the classes."""
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        logits = self._logits(network, batch)
        labels = batch.tensors["labels"].to(logits.device)
        lossy = binary_cross_entropy_with_logits if self.multilabel else cross_entropy
        return lossy(logits, labels, reduction="sum")

    def new_settings(self) -> Mapping[str, Json]:
        """The task's names of the classes, where those of the checkpoint only agree in number."""
        named = Head(self.classes).settings() if self._fitted.how == BY_NUMBER else {}
        return {key: named[key] for key in named.keys() - {"problem_type"}}

    def part_states(self) -> Mapping[str, PartState]:
        """The head is trained in full. Raises AdapterError when a new one would stay zero."""
        if self._head_state == "frozen" and self.weights.head is not None:
            raise AdapterError(
                f"train.parts.head: {self.weights.checkpoint.name} has no head for these "
                f"{len(self.classes)} classes, so the new one has to be trained",
                "Leave it out: the head is then trained in full.",
            )
        return {"head": "full"}

    def spec_augment(
        self, batch: Batch, settings: SpecAugment, random: Sequence[np.random.Generator]
    ) -> None:
        """Mask AST's spectrograms where the clips are, never their padding."""
        spectrograms = batch.tensors.get("input_values")
        if self._frames is None or spectrograms is None:
            super().spec_augment(batch, settings, random)
            return
        rows = zip(spectrograms, batch.settings["lengths"], random, strict=True)
        with single_thread():
            for clip, length, generator in rows:
                frames = 1 + (length - FRAME_SECONDS * self.rate_hz) / (HOP_SECONDS * self.rate_hz)
                mask(clip[: min(int(frames), self._frames)], settings, generator)

    def render(self, sample: Sample) -> Rendered:
        """The target, the features' shapes, and how outputs stand for classes."""
        batch = self.encode([sample])
        shapes = {
            name: f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            for name, tensor in batch.tensors.items()
        }
        notes = {"classes": f"{len(self.classes)}, {self._fitted.how}"}
        if self._frames is not None:
            notes["window"] = f"{self._frames * HOP_SECONDS:g} s, the rest of a longer clip isn't heard"
        return Rendered([(name, True) for name in _names(sample)], shapes, notes)

    @property
    def _frames(self) -> int | None:
        """Frames of AST's spectrogram, to which clips are padded or cut; None for other features."""
        spectral = self.modality == "audio" and hasattr(self._processor, "num_mel_bins")
        return int(self._processor.max_length) if spectral else None

    def _load(self, sample: Sample) -> Any:
        return _image(sample).load() if self.modality == "image" else _audio(sample).load(self.rate_hz)

    def _features(self, samples: Sequence[Sample], media: Sequence[Any]) -> dict[str, Any]:
        if self.modality == "image":
            return dict(self._processor(images=list(media), return_tensors="pt"))
        return _stacked([self._heard(sample, clip) for sample, clip in zip(samples, media, strict=True)])

    def _heard(self, sample: Sample, clip: Any) -> dict[str, Any]:
        try:
            return dict(self._processor(clip, sampling_rate=self.rate_hz, return_tensors="pt"))
        except ValueError as error:  # too short for a single frame
            seconds = len(clip) / self.rate_hz
            raise MediaError(
                f"sample '{sample.id}' has {seconds:.3f} s of audio, of which no features can be made"
            ) from error

    def _logits(self, network: Any, batch: Batch) -> Any:
        """Logits of the task's classes, float32 (samples, classes)."""
        import torch

        found: dict[int, Any] = {}
        for rows, inputs in self._parts(batch):
            found |= dict(zip(rows, network(**inputs).logits.float(), strict=True))
        logits = torch.stack([found[row] for row in range(len(batch.samples))])
        return logits if self._fitted.outputs is None else logits[:, list(self._fitted.outputs)]

    def _parts(self, batch: Batch) -> Iterator[tuple[Sequence[int], dict[str, Any]]]:
        """Rows of the batch and the network's inputs for them. Waveforms go in with those of their own length
        only, unpadded, because padding would change what they sound like."""
        first = next(self.model.parameters())
        inputs = {
            name: tensor.to(first.device, first.dtype if tensor.is_floating_point() else None)
            for name, tensor in batch.tensors.items()
            if name != "labels"
        }
        lengths = batch.settings["lengths"]
        waveforms = inputs.get("input_values")
        if waveforms is None or waveforms.ndim != 2:
            yield range(len(batch.samples)), inputs
            return
        for length in sorted(set(lengths)):
            rows = [row for row, own in enumerate(lengths) if own == length]
            yield rows, {name: tensor[rows, :length] for name, tensor in inputs.items()}


def _modality(weights: Weights) -> tuple[str, str]:
    """What a checkpoint classifies, and transformers' class that opens it, by transformers' own tables."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
        MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    )

    model_type = str(weights.checkpoint.config().get("model_type", ""))
    if model_type in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        return "image", "AutoModelForImageClassification"
    if model_type in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES:
        return "audio", "AutoModelForAudioClassification"
    raise AdapterError(
        f"{weights.checkpoint.name} can't be run as a classifier: transformers has none of type "
        f"'{model_type}'",
        "Leave out model.family, or choose another checkpoint with --model.",
    )


def _stacked(clips: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Tensors of single clips as a batch, those that are shorter padded with zeros."""
    import torch

    return {
        name: torch.nn.utils.rnn.pad_sequence([clip[name][0] for clip in clips], batch_first=True)
        for name in clips[0]
    }


def _names(sample: Sample) -> list[str]:
    """The classes of a sample."""
    target = sample.target
    return [str(name) for name in target] if isinstance(target, list | tuple) else [str(target)]


def _image(sample: Sample) -> Image:
    image = sample.inputs.get("image")
    if not isinstance(image, Image):
        raise RowError(f"sample '{sample.id}' has no image")
    return image


def _audio(sample: Sample) -> Audio:
    audio = sample.inputs.get("audio")
    if not isinstance(audio, Audio):
        raise RowError(f"sample '{sample.id}' has no audio")
    return audio
