"""Chat models that are fine-tuned from the command line: the best step chosen by what they write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.pictures import picture
from tests.models.tiny_chat import tiny_llava

COLUMNS = {"image": "image", "question": "question", "target": "answer"}
KINDS: dict[str, dict[str, Any]] = {
    "vqa": {"data": {"columns": COLUMNS}, "metrics": ["exact_match"]},
    "captioning": {
        "data": {"columns": {"image": "image", "target": "answers"}},
        "metrics": ["rouge_l"],
    },
    "multiple_choice": {
        "data": {"columns": {**COLUMNS, "options": "options", "target": "right"}},
        "metrics": ["accuracy"],
    },
}
KINDS["letters"] = KINDS["multiple_choice"] | {"choice": {"by": "letter"}}
STAGES = [
    {
        "name": "projector",
        "parts": {"projector": "full"},
        "steps": 1,
        "data": {"columns": {"messages": "conversations"}},
    },
    {"name": "instructions", "parts": {"projector": "full", "language": "lora"}, "steps": 2},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("base") / "checkpoint")


@pytest.fixture
def chat_task(tmp_path: Path, base: Path):
    """Writes a task of this kind beside a folder of questions."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for split, first in (("train", 0), ("validation", 10), ("test", 20)):
        rows = [row(folder, first + number) for number in range(4)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def write(kind: str, **train: Any) -> Path:
        task = {
            "name": kind,
            "kind": "multiple_choice" if kind == "letters" else kind,
            "model": {"checkpoint": str(base)},
            "generate": {"max_new_tokens": 4},
            "run": {"workers": 1},
            "train": {"batch": 2, "learning_rate": 0.01, "lora": {"r": 2}, "evaluate_every": 1, **train},
            **KINDS[kind],
        }
        task["data"] = {"path": "./rows", **KINDS[kind]["data"]}
        file = tmp_path / "task.yaml"
        file.write_text(json.dumps(task))
        return file

    return write


def row(folder: Path, number: int) -> dict[str, Any]:
    picture(number).load().save(folder / f"{number}.png")
    answer = ("a cat", "no", "red", "two dogs")[number % 4]
    says = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": answer},
    ]
    return {
        "image": f"{number}.png",
        "question": "What is it?",
        "answer": answer,
        "answers": [answer, f"{answer}!"],
        "options": [answer, "nothing"],
        "right": answer,
        "conversations": says,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_step_is_chosen_by_what_is_answered(command, chat_task, kind):
    chat_task(kind, steps=2)
    done = command("run", "task.yaml", "--json")
    assert done.code == 0, done.err
    base, tuned = done.json()["runs"]
    curve = tuned["train"]["curve"]
    assert [point["step"] for point in curve] == [0, 1, 2]
    assert set(curve[0]) == {"step", *base["metrics"]}
    metric = next(iter(tuned["metrics"]))
    best = max(point[metric] for point in curve)
    [kept] = [point for point in curve if point["step"] == tuned["train"]["best_step"]]
    assert kept[metric] == best
    assert tuned["failures"]["n"] == 0


def test_llava_s_two_stages_learn_conversations_then_questions(command, chat_task, tmp_path):
    chat_task("vqa", stages=STAGES)
    plan = command("run", "task.yaml", "--dry-run")
    assert plan.code == 0, plan.err
    assert "projector projector full: " in " ".join(plan.out.split())
    done = command("run", "task.yaml", "--json")
    assert done.code == 0, done.err
    train = done.json()["runs"][1]["train"]
    assert [stage["name"] for stage in train["stages"]] == ["projector", "instructions"]
    assert [point["step"] for point in train["curve"]] == [1, 2, 3]
    assert train["left_out"] == 0
    [folder] = (tmp_path / "results" / "adapters").iterdir()
    out = command("export", str(folder), "--out", "merged")
    assert out.code == 0, out.err
