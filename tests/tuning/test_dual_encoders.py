"""Fine-tuning a dual encoder as its users meet it: from classes, from captions, with one tower locked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from harness.training.watcher import Watcher
from tests.models.tiny_clip import tiny_clip, tiny_siglip
from tests.tuning.test_processes import LAUNCH

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 220), "grey": (128, 128, 128)}
RUN = ("run", "task.yaml")
TRAIN: dict[str, Any] = {
    "lora": {"r": 4, "dropout": 0.1},
    "steps": 9,
    "batch": 8,
    "micro_batch": 3,
    "learning_rate": 0.02,
    "evaluate_every": 3,
}
KINDS: dict[str, dict[str, Any]] = {
    "zero_shot_classification": {
        "classes": {"names": list(COLOURS), "templates": ["a {} square", "{}"]},
        "metrics": ["accuracy"],
    },
    "retrieval": {"metrics": ["image_mrr", "text_recall@1", "image_recall@1"]},
}

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of four colours, each in two sizes and with two captions, and two checkpoints beside them."""
    root = tmp_path_factory.mktemp("squares")
    tiny_clip(root / "checkpoint")
    tiny_siglip(root / "siglip")
    for split, shift in {"train": 0, "validation": 1, "test": 2}.items():
        rows = []
        for colour, rgb in COLOURS.items():
            for size in (2, 4, 6):
                name = f"{split}-{colour}-{size}.png"
                picture = Image.new("RGB", (16, 16), rgb)
                picture.paste((255, 255, 255), (shift, 0, shift + size, size))
                picture.save(root / name)
                captions = [f"{colour} square {size}", f"{size}, {colour}"]
                rows.append({"image": name, "label": colour, "captions": captions})
        (root / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture
def square_task(tmp_path: Path, squares: Path) -> Write:
    """Writes task.yaml; keywords of `train` replace those of the train section."""

    def write(kind: str, train: dict[str, Any] | None = None, checkpoint: str = "checkpoint") -> Path:
        target = "captions" if kind == "retrieval" else "label"
        task = {
            "name": "squares",
            "kind": kind,
            "data": {"path": str(squares), "columns": {"image": "image", "target": target}},
            "model": {"checkpoint": str(squares / checkpoint)},
            "run": {"workers": 2},
            "train": TRAIN | (train or {}),
            **KINDS[kind],
        }
        file = tmp_path / "task.yaml"
        file.write_text(json.dumps(task))
        return file

    return write


def values(run: dict[str, Any]) -> dict[str, float]:
    return {name: metric["value"] for name, metric in run["metrics"].items()}


@pytest.mark.parametrize("checkpoint", ["checkpoint", "siglip"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_best_step_is_scored_the_same_by_eval(command, square_task, tmp_path, kind, checkpoint):
    square_task(kind, checkpoint=checkpoint)
    done = command(*RUN, "--json")
    assert done.code == 0, done.err
    _, tuned = done.json()["runs"]
    curve, best_step = tuned["train"]["curve"], tuned["train"]["best_step"]
    assert [point["step"] for point in curve] == [0, 3, 6, 9]
    first = next(iter(values(tuned)))
    assert max(point[first] for point in curve) == curve[best_step // 3][first] > curve[0][first]
    [folder] = (tmp_path / "results" / "adapters").iterdir()
    scored = command(
        *("eval", "task.yaml", "--adapter", str(folder), "--json", "--no-cache"),
        *("--set", "data.split=validation"),
    )
    found = values(scored.json()["runs"][0])
    assert found == {name: curve[best_step // 3][name] for name in found}


def test_one_tower_is_locked(command, square_task, tmp_path):
    square_task("retrieval", {"parts": {"vision": "frozen"}})
    done = command("train", "task.yaml", "--json")
    assert done.code == 0, done.err
    [folder] = (tmp_path / "results" / "adapters").iterdir()
    trained = load_file(folder / "adapter_model.safetensors")
    assert trained
    assert all("text_model" in name for name in trained)
    assert load_file(folder / "extra_parameters.safetensors").keys() == {"logit_scale"}
    assert "| parts | vision: frozen, temperature: full |" in (folder / "README.md").read_text()


def test_dry_run_says_what_is_trained_and_that_parts_are_embedded_twice(command, square_task):
    square_task("retrieval")
    flat = " ".join(command(*RUN, "--dry-run").out.split())
    for text in (
        "vision lora",
        "text lora",
        "temperature full 1 1",
        "steps: 9 of 8 samples, 6 forward passes (cached gradients: two for each micro-batch)",
    ):
        assert text in flat
    [plan] = command(*RUN, "--dry-run", "--json").json()["train"]
    assert (plan["cached_gradients"], plan["passes"]) == (True, 6)
    ran = command("train", "task.yaml", "--json").json()["train"]
    assert (plan["trainable"], plan["total"]) == (ran["trainable_parameters"], ran["total_parameters"])
    square_task("retrieval", {"micro_batch": 8})
    [plan] = command(*RUN, "--dry-run", "--json").json()["train"]
    assert (plan["cached_gradients"], plan["passes"]) == (False, 1)
    square_task("zero_shot_classification")
    flat = " ".join(command(*RUN, "--dry-run").out.split())
    assert "3 forward passes" in flat
    assert "text frozen 0" in flat
    assert "cached gradients" not in flat


@pytest.mark.parametrize(
    ("kind", "train", "message"),
    [
        ("zero_shot_classification", {"parts": {"text": "lora"}}, "train.parts.text: can't be lora"),
        ("retrieval", {"batch": 13}, "too few training samples for 13 different ones in a step"),
        ("retrieval", {"batch": 1}, "in a step of 1 there are none"),
        ("retrieval", {"augment": {"noise": {}}}, "kind 'retrieval' has no audio to perturb"),
        ("retrieval", {"parts": {"logit_scale": "full"}}, "no part 'logit_scale'"),
    ],
)
@pytest.mark.parametrize("arguments", [(*RUN, "--dry-run"), ("train", "task.yaml")])
def test_what_can_not_be_learned_is_refused(command, square_task, kind, train, message, arguments):
    square_task(kind, train)
    done = command(*arguments)
    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_training_goes_on_bit_for_bit(command, square_task, monkeypatch, kind):
    square_task(kind)
    whole = command("train", "task.yaml", "--json", "--results", "whole").json()["train"]
    end = Watcher.on_step_end

    def stop(self: Watcher, args: Any, state: Any, control: Any, **settings: Any) -> None:
        if state.global_step == 4:
            self._stop.name = "SIGTERM"
        end(self, args, state, control, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Watcher, "on_step_end", stop)
        assert command("train", "task.yaml", "--results", "parts").code == 3
    resumed = command("train", "task.yaml", "--json", "--results", "parts")
    assert "Going on from step 4" in resumed.err
    found = resumed.json()["train"]
    assert found["curve"] == whole["curve"]
    adapters = [next(Path(root).rglob("harness.json")) for root in ("whole", "parts")]
    digests = [json.loads(file.read_text())["digest"] for file in adapters]
    assert digests[0] == digests[1]


@pytest.mark.heavy
def test_two_processes_train_and_score_like_one(tmp_path, harness, square_task):
    """Sums of the same numbers in another order: scores are counts, and the curve's are equal."""
    square_task("retrieval", {"micro_batch": 2, "lora": {"r": 4}})  # each process has dropout of its own
    both = harness("run", "task.yaml", "--results", "both", "--json", launcher=LAUNCH)
    assert both.code == 0, both.err
    one = harness("run", "task.yaml", "--results", "one", "--json", HARNESS_CACHE=str(tmp_path / "other"))
    assert one.code == 0, one.err
    found, alone = (done.json()["runs"][1] for done in (both, one))
    assert values(found) == pytest.approx(values(alone), abs=1e-6)
    assert found["train"]["curve"] == [pytest.approx(point, abs=1e-6) for point in alone["train"]["curve"]]
