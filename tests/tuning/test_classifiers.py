"""Fine-tuning a classifier as its users meet it: a new head, a head that there is, and weights in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.models.tiny_classifier import tiny_resnet, tiny_vit

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 220)}
TRAIN: dict[str, Any] = {"steps": 12, "batch": 9, "learning_rate": 0.05, "evaluate_every": 6}
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine squares of three colours in each split, and checkpoints beside them."""
    root = tmp_path_factory.mktemp("squares")
    tiny_vit(root / "animals")
    tiny_vit(root / "colours", ("blue", "green", "red"))
    tiny_resnet(root / "resnet")
    for split, shift in {"train": 0, "validation": 1, "test": 2}.items():
        rows = []
        for colour, rgb in COLOURS.items():
            for size in (2, 4, 6):
                name = f"{split}-{colour}-{size}.png"
                picture = Image.new("RGB", (16, 16), rgb)
                picture.paste((255, 255, 255), (shift, 0, shift + size, size))
                picture.save(root / name)
                rows.append({"image": name, "label": colour})
        (root / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture
def square_task(tmp_path: Path, squares: Path) -> Write:
    """Writes task.yaml; keywords replace settings of the train section."""

    def write(checkpoint: str = "animals", **train: Any) -> Path:
        task = {
            "name": "squares",
            "kind": "classification",
            "data": {"path": str(squares), "columns": {"image": "image", "target": "label"}},
            "model": {"checkpoint": str(squares / checkpoint)},
            "classes": {"names": list(COLOURS)},
            "metrics": ["accuracy"],
            "run": {"workers": 2},
            "train": TRAIN | train,
        }
        file = tmp_path / "task.yaml"
        file.write_text(json.dumps(task))
        return file

    return write


def accuracy(run: dict[str, Any]) -> float:
    return float(run["metrics"]["accuracy"]["value"])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("checkpoint", "method"), [("animals", "lora"), ("animals", "full"), ("resnet", "full")]
)
def test_new_classes_are_learned_from_chance(command, square_task, tmp_path, checkpoint, method):
    square_task(checkpoint, method=method, learning_rate=0.05 if method == "lora" else 0.01, steps=24)
    done = command("run", "task.yaml", "--json")
    assert done.code == 0, done.err
    assert done.err.count("has no head for these 3 classes") <= 1
    base, tuned = done.json()["runs"]
    assert accuracy(base) == pytest.approx(100 / 3)
    assert accuracy(tuned) > 60
    [folder] = (tmp_path / "results" / "adapters").iterdir()
    given = ("--adapter" if method == "lora" else "--model", str(folder))
    for classes in (list(COLOURS), ["blue", "red", "green"]):
        named = ("--set", f"classes.names={json.dumps(classes)}")
        again = command("eval", "task.yaml", *given, *named, "--json", "--no-cache")
        assert again.code == 0, again.err
        assert accuracy(again.json()["runs"][0]) == accuracy(tuned)
    shown = command("run", "task.yaml", "--dry-run")
    assert shown.code == 0, shown.err
    assert "head" in shown.out


def test_plan_is_of_the_new_head(command, square_task):
    square_task()
    [plan] = command("run", "task.yaml", "--dry-run", "--json").json()["train"]
    parts = {part["name"]: part for part in plan["parts"]}
    assert parts["head"] == {"name": "head", "state": "full", "trained": 3 * 8 + 3, "total": 3 * 8 + 3}
    ran = command("train", "task.yaml", "--json").json()["train"]
    assert (plan["trainable"], plan["total"]) == (ran["trainable_parameters"], ran["total_parameters"])


@pytest.mark.heavy
@pytest.mark.parametrize("method", ["lora", "full"])
def test_weights_in_between_are_scored_with_model(command, square_task, tmp_path, method):
    square_task("colours", method=method, learning_rate=0.05 if method == "lora" else 0.01)
    done = command("run", "task.yaml", "--json")
    assert done.code == 0, done.err
    base, tuned = done.json()["runs"]
    [folder] = (tmp_path / "results" / "adapters").iterdir()
    made = command("export", str(folder), "--out", "middle", "--interpolate", "0.5", "--json")
    assert made.code == 0, made.err
    assert made.json()["interpolate"] == 0.5
    said = command("export", str(folder), "--out", "start", "--interpolate", "0")
    assert "start: 0 of the way from the base to the fine-tune." in said.out
    for name, expected in (("middle", None), ("start", accuracy(base))):
        again = command("eval", "task.yaml", "--model", name, "--json")
        assert again.code == 0, again.err
        found = accuracy(again.json()["runs"][0])
        assert expected is None or found == expected
        assert again.json()["runs"][0]["model"]["digest"] != tuned["model"]["digest"]


def test_new_head_is_not_interpolated(command, square_task, tmp_path):
    square_task(steps=1)
    folder = command("train", "task.yaml", "--json").json()["adapter"]
    refused = command("export", folder, "--out", "middle", "--interpolate", "0.5")
    assert refused.code == 2
    assert "was trained with a new head" in refused.err
    assert command("export", folder, "--out", "whole").code == 0
    again = command("eval", "task.yaml", "--model", "whole", "--json")
    assert again.code == 0, again.err


@pytest.mark.parametrize("share", ["1.5", "-0.1", "nan", "half", "1e400"])
def test_share_is_a_number_from_0_to_1(command, share, capsys):
    with pytest.raises(SystemExit) as caught:
        command("export", "somewhere", "--out", "out", f"--interpolate={share}")
    assert caught.value.code == 2
    assert f"'{share}' is not a number from 0 to 1" in capsys.readouterr().err
