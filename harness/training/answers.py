"""What a model card says of how a fine-tune answers, by family: `model` and `processor` are loaded before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.models.base import Adapter
from harness.models.classifier import Classifier
from harness.models.cousins import cousin
from harness.models.dual_encoder import DualEncoder
from harness.models.texts import Texts
from harness.models.whisper import Whisper

CLIP, IMAGE = "CLIP.wav", "IMAGE.png"
"""What stands in the code for something to answer."""
PROMPTS = ["a photo of a cat.", "a photo of a dog."]
SOUNDS = ["this is a sound of rain.", "this is a sound of a dog."]


@dataclass(frozen=True)
class Answer:
    """Lines of code: `imports` go to the top; `processor` is the class that opens the processor."""

    imports: tuple[str, ...] = ()
    processor: str = "AutoProcessor"
    lines: tuple[str, ...] = ()


def answer(adapter: Adapter) -> Answer:
    """How this fine-tune's family answers; nothing for a family without code."""
    write = ANSWERS.get(adapter.info.family)
    return write(adapter) if write else Answer()


def _transcript(adapter: Whisper) -> Answer:
    """A speech recogniser hears a clip."""
    window = adapter.window_seconds
    limits = f"at most {window:g} s" if window else ""
    told = {
        name: f"torch.tensor({value})" if name == "decoder_input_ids" else repr(value)
        for name, value in adapter.arguments().items()
    }
    arguments = ", ".join(["**inputs", *(f"{name}={value}" for name, value in told.items())])
    lines = (
        _read_clip(adapter.rate_hz, limits),
        "inputs = processor(",
        '    audio, sampling_rate=rate, return_tensors="pt", return_attention_mask=True',
        ").to(model.dtype)",
        f"tokens = model.generate({arguments})",
        "print(processor.batch_decode(tokens, skip_special_tokens=True)[0].strip())",
    )
    return Answer(("import soundfile",), lines=("", *lines))


def _classes(adapter: Classifier) -> Answer:
    """A classifier says its five most probable classes."""
    sees = adapter.modality == "image"
    given = "images=image" if sees else "audio, sampling_rate=rate"
    scoring = "sigmoid()" if adapter.multilabel else "softmax(-1)"
    lines = (
        _READ_IMAGE if sees else _read_clip(adapter.rate_hz),
        f'inputs = processor({given}, return_tensors="pt").to(model.dtype)',
        "with torch.inference_mode():",
        f"    probabilities = model(**inputs).logits[0].float().{scoring}",
        "for number in probabilities.argsort(descending=True)[:5].tolist():",
        '    print(f"{model.config.id2label[number]}: {probabilities[number]:.4f}")',
    )
    return Answer(
        (_IMPORT_IMAGE if sees else "import soundfile",),
        "AutoImageProcessor" if sees else "AutoFeatureExtractor",
        ("", *lines),
    )


def _prompts(adapter: DualEncoder) -> Answer:
    """A dual encoder says which of two texts fits."""
    sees, own = adapter.medium == "image", cousin(adapter.weights.config)
    given = "images=image" if sees else "audio=audio, sampling_rate=rate"
    scoring = "sigmoid()" if own.scoring == "sigmoid" else "softmax(-1)"
    positions = int(adapter.weights.config.text_config.max_position_embeddings)
    longest = Texts(adapter.weights.processor.tokenizer, own, positions).length
    lines = [
        _READ_IMAGE if sees else _read_clip(adapter.rate_hz),  # type: ignore[attr-defined]
        f"texts = {PROMPTS if sees else SOUNDS}" + ("  # in lower case" if own.lower else ""),
        f'inputs = processor({given}, return_tensors="pt").to(model.dtype)',
        "inputs.update(processor.tokenizer(",
        f'    texts, padding="{own.padding}", truncation=True, max_length={longest}, return_tensors="pt"',
        "))",
        *([] if own.masked else ['inputs.pop("attention_mask", None)']),
        "with torch.inference_mode():",
        f"    logits = model(**inputs).logits_per_{adapter.medium}[0].float()",
        f"for text, probability in zip(texts, logits.{scoring}.tolist()):",
        '    print(f"{text} {probability:.4f}")',
    ]
    return Answer((_IMPORT_IMAGE if sees else "import soundfile",), lines=("", *lines))


def _read_clip(rate_hz: int, limits: str = "") -> str:
    told = ", ".join(filter(None, ["one channel", f"{rate_hz} Hz", limits]))
    return f'audio, rate = soundfile.read("{CLIP}", dtype="float32")  # {told}'


_IMPORT_IMAGE = "from PIL import Image"
_READ_IMAGE = f'image = Image.open("{IMAGE}").convert("RGB")'

ANSWERS: dict[str, Callable[[Any], Answer]] = {
    "whisper": _transcript,
    "classifier": _classes,
    "clip": _prompts,
    "clap": _prompts,
}
