"""Fine-tuning what writes about images, and what matches texts with them, as its users meet it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from harness.results.store import Store
from harness.training.watcher import Watcher
from tests.conftest import Finished
from tests.models.tiny_blip import tiny_blip, tiny_vit_gpt2
from tests.training.gradients import watched

COLOURS = {"red": (220, 30, 30), "blue": (40, 60, 220)}
KINDS: dict[str, dict[str, Any]] = {
    "captions": {"kind": "captioning", "prompt": "a picture of ", "generate": {"max_new_tokens": 4}},
    "answers": {"kind": "vqa", "prompt": "{question}", "generate": {"max_new_tokens": 4}},
    "matching": {"kind": "multiple_choice", "prompt": "{question}"},
    "captioner": {"kind": "captioning", "prompt": "", "generate": {"max_new_tokens": 6}},
}
CHECKPOINTS = {
    "captions": "BlipForConditionalGeneration",
    "answers": "BlipForQuestionAnswering",
    "matching": "BlipForImageTextRetrieval",
}
COLUMNS = {
    "captioning": {"image": "image", "target": "caption"},
    "vqa": {"image": "image", "question": "question", "target": "answer"},
    "multiple_choice": {"image": "image", "question": "question", "options": "options", "target": "right"},
}
TRAIN: dict[str, Any] = {
    "steps": 8,
    "batch": 6,
    "micro_batch": 3,
    "learning_rate": 0.05,
    "evaluate_every": 8,
    "select_by": "last",
    "lora": {"r": 4},
}
Write = Callable[..., None]
Command = Callable[..., Finished]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of two colours with what may be asked of them, and checkpoints beside them."""
    root = tmp_path_factory.mktemp("squares")
    for name in set(CHECKPOINTS.values()):
        tiny_blip(root / name, name, words=1.0)
    tiny_vit_gpt2(root / "captioner")
    for split, shift in {"train": 0, "validation": 1, "test": 2}.items():
        rows = []
        for colour, rgb in COLOURS.items():
            for size in (2, 4, 6):
                name = f"{split}-{colour}-{size}.png"
                picture = Image.new("RGB", (20, 16), rgb)
                picture.paste((255, 255, 255), (shift, 0, shift + size, size))
                picture.save(root / name)
                row = {"image": name, "caption": f"{colour} cat", "options": ["red cat", "blue cat"]}
                row["question"] = "what is it?" if size == 2 else "what is on the mat?"
                rows.append(row | {"answer": colour, "right": f"{colour} cat"})
        (root / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture
def write(tmp_path: Path, squares: Path) -> Write:
    """Writes task.yaml; keywords replace settings of the train section."""

    def made(name: str, **train: Any) -> None:
        kind = KINDS[name]["kind"]
        task = {
            "name": "squares",
            "data": {"path": str(squares), "columns": COLUMNS[kind]},
            "model": {"checkpoint": str(squares / CHECKPOINTS.get(name, "captioner"))},
            "metrics": ["accuracy" if kind == "multiple_choice" else "chrf"],
            "run": {"workers": 2},
            "statistics": {"draws": 100},
            "train": TRAIN | train,
            **KINDS[name],
        }
        (tmp_path / "task.yaml").write_text(json.dumps(task))

    return made


def rows_of(results: Path) -> list[dict[str, str]]:
    """The training's curve."""
    [curve] = results.rglob("curve.csv")
    with curve.open() as file:
        return list(csv.DictReader(file))


def predictions(folder: Path, run: dict[str, Any]) -> list[Any]:
    """What a run says of every sample."""
    table = Store(folder / "results").samples(run["run_id"])
    return list(table.column("prediction").to_pylist())


@pytest.mark.parametrize("name", KINDS)
def test_lora_learns_saves_and_says_the_same_again(
    command: Command, write: Write, tmp_path: Path, name: str
) -> None:
    write(name)
    with watched() as gradients:
        done = command("run", "task.yaml", "--json")
    assert done.code == 0, done.err
    base, tuned = done.json()["runs"]
    losses = [float(row["loss"]) for row in rows_of(tmp_path / "results") if row["loss"]]
    assert len(losses) == TRAIN["steps"]
    assert sum(losses[-2:]) < 0.9 * sum(losses[:2])
    assert all(bool(gradient.abs().max() > 0) for gradient in gradients[-1].values())
    said = [predictions(tmp_path, run) for run in (base, tuned)]
    assert said[0] != said[1]
    [folder] = (tmp_path / "results" / "adapters").iterdir()
    again = command("eval", "task.yaml", "--adapter", str(folder), "--json", "--no-cache")
    assert again.code == 0, again.err
    assert predictions(tmp_path, again.json()["runs"][0]) == said[1]
    exported = command("export", str(folder), "--out", "whole")  # which says the same, or isn't written
    assert exported.code == 0, exported.err


def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    command: Command, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LoRA and a head in full, several texts for each image."""
    write("matching", steps=4, select_by="last")
    whole = command("train", "task.yaml", "--json", "--results", "whole")
    assert whole.code == 0, whole.err
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        stopped = command("train", "task.yaml", "--json", "--results", "parts")
        assert "SIGTERM after step 2 of 4" in stopped.err
    resumed = command("train", "task.yaml", "--json", "--results", "parts")
    assert "Going on from step 2" in resumed.err
    mine, theirs = (weights(tmp_path / name) for name in ("parts", "whole"))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert any("itm_head" in key for key in mine)


def weights(results: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    [file] = results.rglob("adapter_model.safetensors")
    found: dict[str, torch.Tensor] = load_file(file)
    return found


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that SIGTERM came during this step."""
    original = Watcher.on_step_end

    def end(self: Watcher, args: Any, state: Any, control: Any, **settings: Any) -> None:
        if state.global_step == step:
            self._stop.name = "SIGTERM"
        original(self, args, state, control, **settings)

    monkeypatch.setattr(Watcher, "on_step_end", end)
