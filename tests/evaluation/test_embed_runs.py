"""Whole runs of tasks that embed: shared by processes, by kinds and by template sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Finished
from tests.models.tiny_clip import tiny_clip

LAUNCH = (
    *("accelerate.commands.launch", "--cpu", "--num_processes", "2"),
    *("--main_process_port", "0", "-m", "harness"),
)
TASK: dict[str, Any] = {
    "name": "digits",
    "kind": "zero_shot_classification",
    "data": {
        "path": "synthetic:handwritten_digits",
        "columns": {"image": "image", "target": "label", "id": "id", "group": "group"},
    },
    "model": {"checkpoint": "./checkpoint"},
    "classes": {"templates": ["{}", "the digit {}"]},
    "metrics": ["accuracy"],
}
Run = Callable[..., Finished]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    """Writes a task beside a tiny CLIP; returns the file's name."""
    tiny_clip(tmp_path / "checkpoint")

    def write(name: str, **changes: Any) -> str:
        task = {**TASK, "name": name, **changes}
        (tmp_path / f"{name}.yaml").write_text(json.dumps({key: task[key] for key in task if task[key]}))
        return f"{name}.yaml"

    return write


def sample_rows(folder: Path) -> bytes:
    [path] = (folder / "samples").rglob("*.parquet")
    return path.read_bytes()


@pytest.mark.heavy
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kind": "retrieval", "classes": None, "metrics": ["text_recall@1"]},
        {"kind": "linear_probe", "classes": None, "probe": {"shots": 2, "strengths": [1, 10]}},
    ],
    ids=["zero_shot", "retrieval", "probe"],
)
def test_two_processes_give_the_record_of_one(
    tmp_path: Path, harness: Run, written: Callable[..., str], changes: dict[str, Any]
) -> None:
    if changes.get("kind") == "retrieval":
        columns = {"image": "image", "target": "target", "id": "id"}
        changes = {**changes, "data": {**TASK["data"], "columns": columns}}
    file = written("task", **changes)
    both = harness("eval", file, "--limit", "30", "--results", "both", "--json", launcher=LAUNCH)
    assert both.code == 0, both.err
    one = harness(
        "eval", file, "--limit", "30", "--results", "one", "--json", HARNESS_CACHE=str(tmp_path / "other")
    )
    assert one.code == 0, one.err
    found, alone = both.json()["runs"][0], one.json()["runs"][0]
    assert found["data"] == alone["data"]
    if not changes:  # else a batch of other company moves a probability's last digits
        assert sample_rows(tmp_path / "both") == sample_rows(tmp_path / "one")
    assert found["metrics"] == alone["metrics"]
