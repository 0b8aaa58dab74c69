"""Questions to tiny chat models, and the adapters that answer them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.models import load
from harness.models.llava import Llava
from harness.spec.schema import Task
from harness.types import Audio, Image, Sample
from tests.models.clips import noise
from tests.models.pictures import picture

COLUMNS = {"question": "question", "target": "target"}
DEAF = ("qwen2_audio",)
"""Types that don't see, but hear."""


def asked(
    number: int,
    question: str = "what is it?",
    *,
    of: int | None = None,
    target: Any = "red",
    size: tuple[int, int] = (30, 20),
    medium: str = "image",
    **inputs: Any,
) -> Sample:
    """A question about the picture (or clip) `of`, its own when not given."""
    seed = number if of is None else of
    shown: Image | Audio = picture(seed, size) if medium == "image" else noise(0.5 + seed / 10, seed)
    return Sample(f"s{number}", {medium: shown, "question": question, **inputs}, target, "g")


def four(medium: str = "image") -> list[Sample]:
    """Questions of several lengths, two of them about one picture, one picture of another shape."""
    return [
        asked(0, medium=medium),
        asked(1, "how many?", target="three of them", medium=medium),
        asked(2, "which colour does it have?", of=0, target="a", medium=medium),
        asked(3, "x", size=(20, 50), medium=medium),
    ]


def chat(folder: Path, kind: str = "vqa", *, medium: str = "image", **sections: Any) -> Llava:
    """The checkpoint in `folder`, ready for a task of this kind on the CPU."""
    columns = {medium: medium, **({} if kind == "captioning" else COLUMNS)}
    columns |= {"options": "options"} if kind == "multiple_choice" else {}
    columns = {"messages": "messages"} if kind == "conversation" else {**columns, "target": "target"}
    task = {
        "name": "test",
        "kind": kind,
        "data": {"path": "nowhere", "columns": columns},
        "model": {"checkpoint": str(folder)},
        "generate": {"max_new_tokens": 8},
        "metrics": ["accuracy" if kind == "multiple_choice" else "bleu"],
    }
    made = load(Task.model_validate(task | sections), base=folder, device="cpu")
    assert isinstance(made, Llava)
    return made


def learned(made: Llava, sample: Sample) -> str:
    """The tokens that a sample teaches, one after the other, spaces as the vocabulary writes them."""
    labels = made.encode([sample], with_targets=True).tensors["labels"][0].tolist()
    tokenizer = made.weights.preprocessor("AutoTokenizer")
    return "".join(tokenizer.convert_ids_to_tokens([label for label in labels if label != -100]))


def seen(made: Llava, sample: Sample) -> str:
    """The tokens of a sample as it is learned, all of them."""
    ids = made.encode([sample], with_targets=True).tensors["input_ids"][0].tolist()
    return "".join(made.weights.preprocessor("AutoTokenizer").convert_ids_to_tokens(ids))
