"""Whisper (Radford et al. 2022) and its cousins: sequence-to-sequence speech recognisers.

Nothing here knows a size, a vocabulary or a token number: the window, the languages, the tasks and the
special tokens are what the checkpoint's config, generation config and processor declare. A cousin without a
fixed window (Moonshine, Speech2Text) takes clips of any length; Whisper hears longer ones through its
long-form algorithm, so nothing is cut.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, RowError
from harness.models import generation
from harness.models.base import IGNORED_LABEL, Adapter, AdapterInfo, Batch, Rendered
from harness.models.finite import check_finite
from harness.models.labels import TARGETS, Labels
from harness.models.languages import UNSPACED, Controls, complete
from harness.models.masks import mask
from harness.models.transcripts import Reader
from harness.models.weights import quiet, single_thread
from harness.spec.kinds import KINDS
from harness.spec.schema import Generate
from harness.types import Audio, Json, Output, Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.models.weights import Weights
    from harness.spec.training import SpecAugment


class Whisper(Adapter):
    """A speech recogniser, ready for one task.

    Raises AdapterError at once when the checkpoint lacks the language or the task that is asked for.
    """

    info = AdapterInfo(
        family="whisper",
        version="2",
        modes=frozenset({"generate"}),
        modalities=frozenset({"audio"}),
        lora_targets=("q_proj", "v_proj"),
        parts={"encoder": ("model.encoder",), "decoder": ("model.decoder",)},
    )
    auto_class = "AutoModelForSpeechSeq2Seq"

    def __init__(self, weights: Weights, generate: Generate, kind: str) -> None:
        if KINDS[kind].prompt is not None:
            raise AdapterError(
                f"kind '{kind}' asks in words, and a speech recogniser hears nothing but the clip",
                "Choose a chat model with --model.",
            )
        self.weights = weights
        self.generate = generate
        self._extractor = weights.processor.feature_extractor
        self._tokenizer = weights.processor.tokenizer
        self._rate_hz = int(self._extractor.sampling_rate)
        own = weights.generation_config()
        complete(own, weights.checkpoint.config(), self._tokenizer, weights.checkpoint.name)
        self._controls = Controls.of(weights.checkpoint.name, own, self._tokenizer)
        self._controls.language(generate.language)
        self._controls.check_task(generate.task)
        self._controls.check_timestamps(generate.timestamps)
        self._prompt = 1 + self._controls.prefix_length()
        positions = generation.positions(weights.config)
        self._settings = generation.settings(own, weights.config, generate, self._prompt)
        self._labels = Labels(self._tokenizer, self._controls, self._settings, positions)
        self._reader = Reader(self._tokenizer, self._controls.first_timestamp)

    @property
    def model(self) -> Any:
        """The network; loaded when first asked for."""
        network = self.weights.model(self.auto_class)
        if hasattr(network.config, "apply_spec_augment"):  # the task says what is masked, from its own seed
            network.config.apply_spec_augment = False
        return network

    def request(self, sample: Sample) -> Json:
        """Language and task; a null language is detected. Raises RowError when the sample's own are wrong."""
        language, task = self._wanted(sample)
        return {"language": language, "task": task}

    def bucket(self, sample: Sample) -> Hashable:
        """Task, and whether the clip is longer than the window.

        Where a batch would change the output, clips don't share one: a cousin without a window is
        normalised over its padding, and sampling draws for the whole batch.
        """
        _, task = self._wanted(sample)
        length = round(_audio(sample).seconds() * self._rate_hz)
        alone = sample.id if generation.samples(self.generate) else ""
        return task, length if self._window is None else length > self._window, alone

    def cost(self, sample: Sample) -> float:
        """Seconds of audio. Raises MediaError."""
        return _audio(sample).seconds()

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        """Features as the extractor makes them, float32; with targets, `labels` and `decoder_input_ids`.

        Whisper: `input_features` (clips, mel bins, frames), frames of the window or of the longest clip
        if it is longer. Others: what their extractor calls its input, and `attention_mask`. Raises
        MediaError when a clip's features are NaN or infinite, RowError for a clip to learn from that is
        longer than the window: nobody knows where in its text the window ends.
        """
        waveforms = [_audio(sample).load(self._rate_hz) for sample in samples]
        if with_targets:
            self._check_window(samples, waveforms)
        long = self._window is not None and max(map(len, waveforms)) > self._window
        started = time.perf_counter()
        with single_thread():
            tensors = self._features(waveforms)
        check_finite(samples, tensors, "audio whose features are")
        seconds = time.perf_counter() - started
        if with_targets:
            tensors |= self._targets(samples)
        languages = [self._wanted(sample)[0] for sample in samples]
        return Batch(samples, tensors, {"long": long, "languages": languages}, seconds)

    def prepare(self) -> None:
        """Load the network, so that loading doesn't count as transcription time."""
        _ = self.model

    def predict(self, batch: Batch) -> list[Output]:
        """Transcripts or translations; surrounding spaces are stripped, special tokens left out.

        Raises PredictionError when the network computes NaN or infinity.
        """
        import torch

        with torch.inference_mode(), quiet(), self._seeded(batch), generation.only_numbers(self.model):
            inputs = self._inputs(batch)
            if self._window is None:
                return self._by_prompt(batch, inputs)
            return self._by_window(batch, inputs)

    def loss(self, network: Any, batch: Batch) -> Any:
        """Cross entropy summed over the labels, a float32 scalar.

        Clips of a cousin without a window go through the network with those of their own length only, as
        in prediction: it would be normalised over their padding.
        """
        import torch

        return torch.stack([self._loss(network, part) for part in self._parts(batch)]).sum()

    def spec_augment(
        self, batch: Batch, settings: SpecAugment, random: Sequence[np.random.Generator]
    ) -> None:
        """Mask the features where the clips are, never their padding."""
        features = batch.tensors.get("input_features")
        if features is None:
            super().spec_augment(batch, settings, random)
        else:
            clips = features if self._window is None else features.transpose(1, 2)
            lengths = batch.tensors["attention_mask"].sum(1).tolist()
            with single_thread():
                for clip, frames, generator in zip(clips, lengths, random, strict=True):
                    mask(clip[:frames], settings, generator)

    def render(self, sample: Sample) -> Rendered:
        """The decoder's tokens with the label mask, the encoder's shapes, the language and the task."""
        language, task = self._wanted(sample)
        batch = self.encode([sample])
        start, labels = self._labels.start, self._labels.row(sample, language, task)
        tokens = [(self._tokenizer.convert_ids_to_tokens(start), False)]
        tokens += [(self._tokenizer.convert_ids_to_tokens(label), True) for label in labels]
        shapes = {
            name: f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            for name, tensor in batch.tensors.items()
        }
        chosen = language or ("detected" if self._controls.languages else "the checkpoint's own")
        return Rendered(tokens, shapes, {"language": chosen, "task": task})

    def arguments(self) -> dict[str, Any]:
        """What transformers' own `generate` must be told besides features, to say what `predict` says.

        Holds for a clip that fits into the window.
        """
        own, told = self.weights.generation_config(), {}
        for name, default in generation.DEFAULTS.items():
            wanted, set_before = getattr(self._settings, name), getattr(own, name)
            if wanted is not None and wanted != (default if set_before is None else set_before):
                told[name] = wanted
        language = self._controls.language(self.generate.language)
        if self._window is None:
            prefix = self._controls.prefix(language, self.generate.task)
            return told | ({"decoder_input_ids": [[self._labels.start, *prefix]]} if prefix else {})
        told |= {"language": language} if self._controls.languages and language else {}
        told |= {"task": self.generate.task} if self._controls.tasks else {}
        if isinstance(self.generate.temperature, tuple):
            told |= {"temperature": self.generate.temperature, **generation.FALLBACK}
        return told | ({"return_timestamps": True} if generation.needs_segments(self.generate) else {})

    @property
    def rate_hz(self) -> int:
        """Sampling rate of the audio that it hears."""
        return self._rate_hz

    @property
    def window_seconds(self) -> float | None:
        """Longest clip that it hears at once; None when there is no limit."""
        return None if self._window is None else self._window / self._rate_hz

    @cached_property
    def _window(self) -> int | None:
        """Audio samples that the encoder takes at once; None when it takes any number."""
        size = getattr(self._extractor, "n_samples", None)
        return None if size is None else int(size)

    @property
    def _frames(self) -> int:
        """Feature frames of a window."""
        return int(self._extractor.nb_max_frames)

    def _wanted(self, sample: Sample) -> tuple[str | None, str]:
        """The sample's language code (None: detect) and task; its own columns go before the settings."""
        language = sample.meta.get("language", self.generate.language)
        task = sample.meta.get("task", self.generate.task)
        try:
            self._controls.check_task(str(task))
            return self._controls.language(None if language is None else str(language)), str(task)
        except AdapterError as error:
            raise RowError(f"sample '{sample.id}': {error.message}. {error.hint}") from error

    def _check_window(self, samples: Sequence[Sample], waveforms: Sequence[NDArray[np.float32]]) -> None:
        for sample, waveform in zip(samples, waveforms, strict=True):
            if self._window is not None and len(waveform) > self._window:
                seconds, window = len(waveform) / self._rate_hz, self._window / self._rate_hz
                raise RowError(
                    f"sample '{sample.id}' lasts {seconds:.2f} s: a clip to learn from must fit into the "
                    f"window of {window:g} s"
                )

    def _features(self, waveforms: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
        """Extract one clip at a time: a batch of spectrograms doesn't fit the caches and takes longer."""
        import torch

        if self._window is None:
            return dict(
                self._extractor(
                    list(waveforms),
                    sampling_rate=self._rate_hz,
                    padding="longest",
                    return_attention_mask=True,
                    return_tensors="pt",
                )
            )
        length = max(self._window, *map(len, waveforms))
        found = [
            self._extractor(
                waveform,
                sampling_rate=self._rate_hz,
                padding="max_length",
                max_length=length,
                truncation=False,
                return_attention_mask=True,
                return_tensors="pt",
            )
            for waveform in waveforms
        ]
        return {name: torch.cat([clip[name] for clip in found]) for name in found[0]}

    def _targets(self, samples: Sequence[Sample]) -> dict[str, Any]:
        rows = []
        for sample in samples:
            language, task = self._wanted(sample)
            if self._controls.languages and language is None:
                raise RowError(f"sample '{sample.id}' has no language, which its labels begin with")
            rows.append(self._labels.row(sample, language, task))
        return self._labels.tensors(rows)

    def _parts(self, batch: Batch) -> Iterator[dict[str, Any]]:
        """The batch's tensors; cut into clips of one length, without padding, for a cousin."""
        import torch

        tensors = self._inputs(batch) | {name: batch.tensors[name] for name in TARGETS}
        if self._window is not None:
            yield tensors
            return
        lengths = tensors["attention_mask"].sum(1)
        for length in lengths.unique().tolist():
            rows = torch.nonzero(lengths == length).flatten()
            part = {name: tensor[rows] for name, tensor in tensors.items()}
            yield {name: tensor if name in TARGETS else tensor[:, :length] for name, tensor in part.items()}

    def _loss(self, network: Any, tensors: dict[str, Any]) -> Any:
        from torch.nn.functional import cross_entropy

        # Without labels: some of these networks would make means of them, and some would shift them again.
        inputs = {name: tensor for name, tensor in tensors.items() if name != "labels"}
        logits = network(**inputs, use_cache=False).logits.flatten(0, 1).float()
        labels = tensors["labels"].to(logits.device).flatten()
        return cross_entropy(logits, labels, ignore_index=IGNORED_LABEL, reduction="sum")

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        """The encoder's inputs on the model's device; features in the precision of its first layer."""
        first = next(self.model.get_encoder().parameters())
        return {
            name: tensor.to(first.device, first.dtype)
            if tensor.is_floating_point()
            else tensor.to(first.device)
            for name, tensor in batch.tensors.items()
            if name not in TARGETS
        }

    def _by_prompt(self, batch: Batch, inputs: dict[str, Any]) -> list[Output]:
        import torch

        prompts = [
            [self._labels.start, *self._controls.prefix(*self._wanted(sample))] for sample in batch.samples
        ]
        prompt = torch.tensor(prompts, device=self.weights.device)
        return self._read(generation.by_prompt(self.model, inputs, self._settings, prompt))

    def _by_window(self, batch: Batch, inputs: dict[str, Any]) -> list[Output]:
        """Encode once, detect the languages that nobody named, decode; in segments where that is needed."""
        segmented = batch.settings["long"] or generation.needs_segments(self.generate)
        named = batch.settings["languages"]
        detecting = bool(self._controls.languages) and None in named
        states = None
        if detecting or not segmented:
            first_window = inputs["input_features"][..., : self._frames]
            states = generation.encode(self.model, first_window)
        heard = self._detect(states) if detecting else named
        pairs = list(zip(named, heard, strict=True))
        extras: list[dict[str, Json]] = [
            {} if name or not code else {"language": code} for name, code in pairs
        ]
        languages = [name or code for name, code in pairs]
        control = self._control(batch, languages)
        if segmented:
            return self._by_segments(inputs, control, languages, extras)
        return self._read(
            generation.by_window(self.model, states, self._settings, control, self._prompt), extras
        )

    def _by_segments(
        self,
        inputs: dict[str, Any],
        control: dict[str, Any],
        languages: Sequence[str | None],
        extras: Sequence[dict[str, Json]],
    ) -> list[Output]:
        clips = generation.by_segments(self.model, inputs, self._settings, control, self.generate)
        decoded = [generation.joined(segments, self._settings) for segments in clips]
        if self.generate.timestamps != "none":
            words = self.generate.timestamps == "word"
            for extra, segments, language in zip(extras, clips, languages, strict=True):
                extra["segments"] = [
                    self._reader.segment(segment, language, words=words) for segment in segments
                ]
        # A translation is English. A checkpoint without a choice of language is taken to write spaces.
        translated = control.get("task") == "translate"
        spaced = [translated or language not in UNSPACED for language in languages]
        return self._reader.outputs(decoded, spaced, extras)

    def _control(self, batch: Batch, languages: Sequence[str | None]) -> dict[str, Any]:
        """Language and task as `generate` takes them; nothing for a checkpoint without a choice."""
        control: dict[str, Any] = {}
        if self._controls.languages:
            control["language"] = [f"<|{code}|>" for code in languages]
        if self._controls.tasks:
            control["task"] = self._wanted(batch.samples[0])[1]
        return control

    def _detect(self, states: Any) -> list[str]:
        codes = {token: code for code, token in self._controls.languages.items()}
        return [codes[token] for token in generation.detect(self.model, states, self._settings)]

    def _read(
        self, decoded: Sequence[generation.Decoded], extras: Sequence[dict[str, Json]] | None = None
    ) -> list[Output]:
        return self._reader.outputs(decoded, [True] * len(decoded), extras or [{} for _ in decoded])

    @contextmanager
    def _seeded(self, batch: Batch) -> Iterator[None]:
        """Draws that depend on the seed and on what is heard, not on the order of the work."""
        import torch

        if not generation.samples(self.generate):
            yield
            return
        key = " ".join([str(self.generate.seed), *(_audio(sample).digest() for sample in batch.samples)])
        devices = [self.weights.device] if self.weights.device.startswith("cuda") else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) >> 1)
            yield


def _audio(sample: Sample) -> Audio:
    audio = sample.inputs.get("audio")
    if not isinstance(audio, Audio):
        raise RowError(f"sample '{sample.id}' has no audio")
    return audio
