"""Questions to tiny BLIPs, and the adapters that answer them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from harness.models import load
from harness.types import Sample
from tests.models.pictures import picture
from tests.models.tiny_blip import asked, tiny_blip
from tests.tasks import task_of

CAPTIONS, ANSWERS, MATCHING = (
    "BlipForConditionalGeneration",
    "BlipForQuestionAnswering",
    "BlipForImageTextRetrieval",
)
QUESTIONS = ("what is this?", "how many big cats on the mat?", "no", "is it red?")
OPTIONS = (("a cat", "a dog"), ("two", "a big red dog on the mat", "no"), ("yes", "no"), ("cats", "dogs"))
WORDS = "a picture of "


def tiny_blips(root: Path) -> dict[str, Path]:
    """A checkpoint of each network, by its name."""
    return {name: tiny_blip(root / name, name) for name in (CAPTIONS, ANSWERS, MATCHING)}


def opened(folder: Path, kind: str, **sections: Any) -> Any:
    """The checkpoint ready for a task of this kind."""
    columns = {"image": "image", "target": "target", "hint": "hint"}
    columns |= {"question": "question"} if kind not in ("captioning", "explanation") else {}
    columns |= {"options": "options"} if kind == "multiple_choice" else {}
    task = task_of(
        folder,
        kind,
        data={"path": "nowhere", "columns": columns},
        **{"metrics": ["accuracy"] if kind == "multiple_choice" else ["wer"], **sections},
    )
    return load(task, base=Path(), device="cpu")


def captions(folders: dict[str, Path], words: str = WORDS, **generate: Any) -> Any:
    generate = {"num_beams": 3, "max_new_tokens": 8} | generate
    return opened(folders[CAPTIONS], "captioning", prompt=words, generate=generate)


def answers(folders: dict[str, Path], **generate: Any) -> Any:
    return opened(folders[ANSWERS], "vqa", generate={"max_new_tokens": 6} | generate)


def choices(folders: dict[str, Path], name: str = MATCHING, **sections: Any) -> Any:
    return opened(folders[name], "multiple_choice", **{"prompt": "{question}", **sections})


def captioned() -> list[Sample]:
    texts = ("a cat", "two big dogs on the mat", "red", "a dog")
    return [asked(seed, text) for seed, text in enumerate(texts)]


def questioned() -> list[Sample]:
    """The first two are about one image."""
    seeds = (0, 0, 1, 2)
    return [
        Sample(f"{place}", {"image": picture(seed), "question": question}, target, "")
        for place, (seed, question, target) in enumerate(
            zip(seeds, QUESTIONS, ("a cat", "two", ["no", "yes", "yes"], "it is blue"), strict=True)
        )
    ]


def optional() -> list[Sample]:
    rows = zip(questioned(), OPTIONS, ("B", "A", "B", "A"), strict=True)
    return [
        Sample(sample.id, {**sample.inputs, "options": options}, target, "")
        for sample, options, target in rows
    ]


def given(made: Any, sample: Sample, text: Any = None) -> Any:
    """One image, and a text, as the checkpoint's own processor makes them."""
    image: Any = sample.inputs["image"]
    return made.weights.processor(images=image.load(), text=text, return_tensors="pt")


def said(made: Any, samples: Sequence[Sample]) -> list[Any]:
    return [output.output for output in made.predict(made.encode(samples))]


def loss(made: Any, samples: Sequence[Sample]) -> torch.Tensor:
    found: torch.Tensor = made.loss(made.model, made.encode(samples, with_targets=True))
    return found
