"""Lazy registries: a name maps to "module:attribute", imported when it is first asked for.

Plugins add names through entry points of the group `harness.<kind of thing>`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from harness.errors import UsageError

T = TypeVar("T")


def near(word: str, known: Iterable[str]) -> str:
    """The sentence "Did you mean 'x'?" for the nearest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else ""


class Registry(Generic[T]):
    """Names of one kind of thing (`what`, singular) and where each is defined."""

    def __init__(self, what: str, builtin: dict[str, str]) -> None:
        self.what = what
        self._targets = dict(builtin)
        self._plugins_loaded = False

    def add(self, name: str, target: str) -> None:
        """Register `target` under `name`; a name has one owner. Raises UsageError."""
        owner = self._targets.get(name)
        if owner is not None and owner != target:
            raise UsageError(f"{self.what} '{name}' is registered twice: {owner} and {target}")
        self._targets[name] = target

    def get(self, name: str) -> T:
        """The object called `name`. Raises UsageError with the near name."""
        self._load_plugins()
        target = self._targets.get(name)
        if target is None:
            hint = near(name, self) or f"Known: {', '.join(sorted(self))}."
            raise UsageError(f"there is no {self.what} '{name}'", hint)
        module, _, attribute = target.partition(":")
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return iter(self._targets)

    def __contains__(self, name: object) -> bool:
        self._load_plugins()
        return name in self._targets

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for entry in entry_points(group=f"harness.{self.what.replace(' ', '_')}"):
            self.add(entry.name, entry.value)


METRICS: Registry[Any] = Registry(
    "metric",
    {
        "wer": "harness.metrics.wer:WordErrorRate",
        "cer": "harness.metrics.cer:CharacterErrorRate",
        "bleu": "harness.metrics.bleu:Bleu",
        "chrf": "harness.metrics.chrf:Chrf",
        "chrf++": "harness.metrics.chrf:ChrfPlusPlus",
        "vqa_accuracy": "harness.metrics.vqa_accuracy:VqaAccuracy",
        "exact_match": "harness.metrics.exact_match:ExactMatch",
        "token_f1": "harness.metrics.token_f1:TokenF1",
        "anls": "harness.metrics.anls:Anls",
        "relaxed_accuracy": "harness.metrics.relaxed_accuracy:RelaxedAccuracy",
        "caption_bleu": "harness.metrics.caption_bleu:CaptionBleu",
        "rouge_l": "harness.metrics.rouge_l:RougeL",
        "cider": "harness.metrics.cider:Cider",
        "pope_accuracy": "harness.metrics.pope:PopeAccuracy",
        "pope_precision": "harness.metrics.pope:PopePrecision",
        "pope_recall": "harness.metrics.pope:PopeRecall",
        "pope_f1": "harness.metrics.pope:PopeF1",
        "pope_yes_rate": "harness.metrics.pope:PopeYesRate",
        "accuracy": "harness.metrics.accuracy:Accuracy",
        "balanced_accuracy": "harness.metrics.balanced_accuracy:BalancedAccuracy",
        "macro_f1": "harness.metrics.macro_f1:MacroF1",
        "unparsed": "harness.metrics.unparsed:Unparsed",
        "ece": "harness.metrics.ece:ExpectedCalibrationError",
        "map": "harness.metrics.mean_average_precision:MeanAveragePrecision",
        "text_recall": "harness.metrics.text_recall:TextRecall",
        "image_recall": "harness.metrics.image_recall:ImageRecall",
        "text_mrr": "harness.metrics.text_mrr:TextReciprocalRank",
        "image_mrr": "harness.metrics.image_mrr:ImageReciprocalRank",
        "evaluate": "harness.metrics.evaluate_library:EvaluateMetric",
    },
)

NORMALIZERS: Registry[Any] = Registry(
    "normalizer",
    {
        "none": "harness.metrics.normalizers:none",
        "lower": "harness.metrics.normalizers:lower",
        "vqa": "harness.metrics.vqa_text:vqa",
        "m4c": "harness.metrics.vqa_text:m4c",
        "whisper-english": "harness.metrics.normalizers:whisper_english",
        "whisper-basic": "harness.metrics.normalizers:whisper_basic",
    },
)

FAMILIES: Registry[Any] = Registry(
    "model family",
    {
        "whisper": "harness.models.whisper:Whisper",
        "clip": "harness.models.clip:Clip",
        "clap": "harness.models.clap:Clap",
        "classifier": "harness.models.classifier:Classifier",
        "blip": "harness.models.blip:Blip",
        "captioner": "harness.models.captioner:Captioner",
        "pixels": "harness.models.pixels:Pixels",
        "llava": "harness.models.llava:Llava",
        "openai": "harness.models.openai:OpenAI",
        "vllm": "harness.models.vllm:Vllm",
        "dummy": "harness.models.dummy:Dummy",
    },
)

HEADS: Registry[Any] = Registry(
    "head",
    {
        "zero_shot": "harness.evaluation.zero_shot:ZeroShot",
        "retrieval": "harness.evaluation.retrieval:Retrieval",
        "probe": "harness.evaluation.probe:LinearProbe",
        "options": "harness.evaluation.options:Options",
        "letters": "harness.evaluation.letters:Letters",
    },
)
"""What turns what a model says into answers."""

FAMILY_OF_TYPE = {
    "whisper": "whisper",
    "moonshine": "whisper",
    "speech_to_text": "whisper",
    "clip": "clip",
    "siglip": "clip",
    "siglip2": "clip",
    "align": "clip",
    "chinese_clip": "clip",
    "metaclip_2": "clip",
    "clap": "clap",
    "audio-spectrogram-transformer": "classifier",
    "beit": "classifier",
    "bit": "classifier",
    "convnext": "classifier",
    "convnextv2": "classifier",
    "cvt": "classifier",
    "data2vec-vision": "classifier",
    "deit": "classifier",
    "dinov2": "classifier",
    "dinov2_with_registers": "classifier",
    "efficientnet": "classifier",
    "focalnet": "classifier",
    "hiera": "classifier",
    "levit": "classifier",
    "mobilenet_v1": "classifier",
    "mobilenet_v2": "classifier",
    "mobilevit": "classifier",
    "mobilevitv2": "classifier",
    "poolformer": "classifier",
    "pvt": "classifier",
    "pvt_v2": "classifier",
    "regnet": "classifier",
    "resnet": "classifier",
    "swiftformer": "classifier",
    "swin": "classifier",
    "swinv2": "classifier",
    "vit": "classifier",
    "vit_msn": "classifier",
    "llava": "llava",
    "llava_next": "llava",
    "llava_onevision": "llava",
    "qwen2_vl": "llava",
    "qwen2_5_vl": "llava",
    "qwen3_vl": "llava",
    "idefics2": "llava",
    "idefics3": "llava",
    "smolvlm": "llava",
    "gemma3": "llava",
    "paligemma": "llava",
    "internvl": "llava",
    "molmo2": "llava",
    "mllama": "llava",
    "qwen2_audio": "llava",
    "blip": "blip",
    "vision-encoder-decoder": "captioner",
    "harness-pixels": "pixels",
    "harness-dummy": "dummy",
}
"""config.model_type to the family that runs it."""

BUILDERS: Registry[Any] = Registry(
    "synthetic dataset",
    {
        "spoken_digits": "harness.data.spoken_digits:SpokenDigits",
        "handwritten_digits": "harness.data.handwritten_digits:HandwrittenDigits",
        "rendered_digits": "harness.data.rendered_digits:RenderedDigits",
        "shapes": "harness.data.shapes:Shapes",
        "dummy": "harness.data.dummy:DummyClips",
    },
)
