"""The first row that each shipped task of questions or captions scores, of its real shape, as a sample."""

from __future__ import annotations

import json
from pathlib import Path

from harness.data import load as load_data
from harness.spec.find import shipped_tasks
from harness.spec.load import load
from harness.spec.schema import Task
from harness.types import Sample
from tests.data.pictures import write_pictures
from tests.hub.benchmarks import benchmark
from tests.hub.questions import REPOSITORIES, write_repository

KINDS = {"vqa", "yes_no", "captioning", "multiple_choice", "explanation", "conversation"}
TASKS: dict[str, Task] = {
    name: load(file)[0].task
    for name, file in shipped_tasks()
    if not name.startswith("quickstart/") and load(file)[0].task.kind in KINDS
}
"""The first of each matrix: prompts don't differ between its cells."""


def first_sample(name: str, root: Path) -> Sample:
    """The task's first sample, read from files below `root`."""
    task = TASKS[name]
    path = data_of(task, root / name)
    data = task.data.model_copy(update={"path": str(path)})
    [window] = load_data(data, base=root, inputs=task.inputs, kind=task.kind).windows()
    return window[0]


def data_of(task: Task, root: Path) -> Path:
    """A folder with rows of the task's shape."""
    if task.data.path in REPOSITORIES:
        return write_repository(root, REPOSITORIES[task.data.path])["main"]
    if task.data.path.startswith("clip-benchmark/"):
        return benchmark(root, task)["main"]
    return _visual7w(root)


def _visual7w(root: Path) -> Path:
    """As the commands in the task's comment leave it."""
    write_pictures(root, "images/v7w_1.jpg")
    row = {
        "qa_id": 10,
        "image_id": 1,
        "image": "images/v7w_1.jpg",
        "question": "What endangered animal is featured on the truck?",
        "answer": "A bald eagle.",
        "options": ["A bald eagle.", "A humming bird.", "A raven.", "A sparrow."],
        "type": "what",
    }
    (root / "test.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return root
