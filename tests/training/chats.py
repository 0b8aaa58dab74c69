"""Trainings of a tiny LLaVA on noise and ragged questions; as a script, one among other processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from harness.data import Dataset
from harness.errors import MediaError
from harness.models import TrainedAdapter, load
from harness.models.base import Adapter
from harness.processes import Processes, processes
from harness.spec.training import Train
from harness.training.fine_tune import Job, fine_tune
from harness.types import Image, Sample, Turn
from tests.models.pictures import picture
from tests.models.tiny_chat import tiny_llava
from tests.tasks import task_of
from tests.training.gradients import watched
from tests.training.jobs import manifest

QUESTIONS = ("what is it?", "and what is that, over there?", "?", "is it red or is it blue?")
ANSWERS = ("a cat", "no", "something else altogether", "red")


class Broken(Image):
    """An image whose file is damaged."""

    def digest(self) -> str:
        return "0" * 64

    def size(self) -> tuple[int, int]:
        raise MediaError("the file is cut short")

    def load(self) -> Any:
        raise MediaError("the file is cut short")


def question(number: int, *, image: Any = None, words: str | None = None) -> Sample:
    """A question of its own length about an image; `image` False is a question about none."""
    asked = words if words is not None else f"{QUESTIONS[number % 4]} {'x' * (number % 3)}"
    inputs: dict[str, Any] = {"question": asked}
    if image is not False:
        inputs["image"] = image or picture(number)
    return Sample(f"q{number}", inputs, ANSWERS[number % 4], f"q{number}")


def talk(number: int) -> Sample:
    """A conversation of two answers, with an image in its first turn."""
    asked = Turn("user", (picture(number), QUESTIONS[number % 4]))
    answers = [Turn("assistant", (ANSWERS[(number + more) % 4],)) for more in (0, 1)]
    turns = (asked, answers[0], Turn("user", ("and now?",)), answers[1])
    return Sample(f"t{number}", {"messages": turns}, answers[1].text, f"t{number}")


class _Window:
    def __init__(self, samples: list[Sample]) -> None:
        self.ids = [sample.id for sample in samples]
        self._samples = samples

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Sample:
        return self._samples[place]


def dataset(samples: list[Sample]) -> Dataset:
    """These samples as a split."""
    return Dataset("questions", None, "train", None, len(samples), [_Window(samples)])  # type: ignore[arg-type]


def questions(n: int = 8, *, mixed: bool = False) -> Dataset:
    """Questions about images; where they are `mixed`, every other one is about none."""
    return dataset([question(number, image=False if mixed and number % 2 else None) for number in range(n)])


def chat(base: Path, trained: Path | None = None, kind: str = "vqa") -> Adapter:
    """The checkpoint in `base`, with an adapter if there is one."""
    columns = {"image": "image", "question": "question", "target": "target"}
    task = task_of(
        base, kind, data={"path": "x", "columns": columns}, generate={"max_new_tokens": 8}, metrics=["wer"]
    )
    adapter = TrainedAdapter("trained", trained) if trained else None
    return load(task, base=base, device="cpu", adapter=adapter)


def chat_job(
    folder: Path,
    train: Mapping[str, Any],
    base: Path,
    *,
    data: Dataset | Mapping[str, Dataset] | None = None,
    evaluate: Callable[[Adapter, int], Mapping[str, float]] | None = None,
    world: Processes | None = None,
) -> Job:
    """A training of the LLaVA in `base`; `evaluate(adapter, step)` returns {"wer": value}."""
    if not (base / "config.json").is_file():
        tiny_llava(base)
    adapter, section = chat(base), Train.model_validate(train)
    given = questions() if data is None else data
    return Job(
        adapter=adapter,
        train=section,
        datasets=given if isinstance(given, Mapping) else dict.fromkeys(section.staged, given),
        evaluate=None if evaluate is None else lambda step: evaluate(adapter, step),
        metric=None if evaluate is None else "wer",
        higher_is_better=False,
        base=folder,
        folder=folder / "adapter",
        work=folder / "work",
        manifest=manifest(adapter, section)
        | {
            "spec": {
                "kind": "vqa",
                "data": {"columns": {"image": "image", "question": "question", "target": "target"}},
                "train": section.model_dump(mode="json"),
            }
        },
        workers=1,
        processes=world or Processes(),
        show_progress=False,
    )


def part_of(name: str) -> str:
    """The part that a parameter of LLaVA is in."""
    parts = {"vision_tower": "vision", "multi_modal_projector": "projector"}
    return next((part for piece, part in parts.items() if piece in name), "language")


def main(folder: Path, base: Path, train: dict[str, Any]) -> None:
    """Train on mixed questions in this process among others and write its gradients, step by step."""
    torch.set_num_threads(1)
    mine = processes()
    with watched() as found:
        fine_tune(chat_job(folder, train, base, data=questions(mixed=True), world=mine))
    for step, gradients in enumerate(found):
        save_file(gradients, folder / f"gradients-{mine.rank}-{step}.safetensors")


if __name__ == "__main__":
    import os

    os.environ["ACCELERATE_USE_CPU"] = "true"
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
