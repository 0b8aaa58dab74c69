"""Every shipped task of questions or captions, unchanged, on a hub with rows of its shape and tiny models."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.spec.find import shipped_tasks
from harness.spec.load import load
from harness.spec.schema import Task
from tests.hub.benchmarks import IMAGES, benchmark
from tests.hub.hub_server import HubServer, RepoKey
from tests.hub.questions import REPOSITORIES, ROWS, visual7w_original, write_repository
from tests.hub.runner import Run, runner
from tests.models.tiny_blip import tiny_blip
from tests.models.tiny_chat import tiny_llava

pytestmark = [pytest.mark.network, pytest.mark.heavy]

KINDS = {"vqa", "yes_no", "captioning", "multiple_choice", "explanation", "conversation"}
TASKS: dict[str, list[Task]] = {
    name: [cell.task for cell in load(file)]
    for name, file in shipped_tasks()
    if not name.startswith("quickstart/") and load(file)[0].task.kind in KINDS
}
LOCAL = "visual7w"
"""The one that reads a folder."""
SHARDED = {"coco_captions", "coco_captions_blip", "flickr30k_captions"}
SCORED = sorted(set(TASKS) - {LOCAL})
SCORED_ROWS = {name: IMAGES if name in SHARDED else ROWS for name in SCORED} | {"mmmu": 6}
SHORT = ("--set", "train.batch=4", "--set", "train.micro_batch=2")
Ran = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    root = tmp_path_factory.mktemp("hub")
    repositories: dict[RepoKey, dict[str, Path]] = {
        ("model", "llava-hf/llava-1.5-7b-hf"): {"main": tiny_llava(root / "llava", positions=2048)},
        ("model", "Salesforce/blip-image-captioning-base"): {"main": tiny_blip(root / "blip")},
    }
    for name, tables in REPOSITORIES.items():
        repositories["dataset", name] = write_repository(root / name, tables)
    for name in ("coco_captions", "flickr30k_captions"):
        [task] = TASKS[name]
        repositories["dataset", task.data.path] = benchmark(root / name, task)
    with HubServer(repositories) as server:
        yield server


@pytest.fixture(scope="module")
def run(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return runner(hub, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def scored(run: Run) -> Ran:
    """The records of all tasks that need nothing but the hub, each scored once."""
    found = run([["eval", name] for name in SCORED])
    return {name: one["runs"] for name, one in zip(SCORED, found, strict=True)}


@pytest.mark.parametrize("name", SCORED)
def test_a_task_runs_unchanged(scored: Ran, name: str) -> None:
    assert len(scored[name]) == len(TASKS[name])
    for record, task in zip(scored[name], TASKS[name], strict=True):
        assert record["data"]["path"] == task.data.path
        assert record["data"]["name"] == task.data.name
        assert record["data"]["n"] == SCORED_ROWS[name]
        assert record["data"]["revision"]
        assert record["failures"]["n"] == 0, record["failures"]
        assert len(record["metrics"]) == len(task.metrics)
        values = {name: part["value"] for name, part in record["metrics"].items()}
        assert all(value is not None for value in values.values()), values


def test_eval_downloads_nothing_that_is_learned_from(scored: Ran, hub: HubServer) -> None:
    assert scored
    fetched = [path for method, path in hub.requests if method == "GET" and "/resolve/" in path]
    assert len(fetched) > len(SCORED)
    assert [path for path in fetched if re.search(r"train[-_/]|/train-", path)] == []


def test_questions_about_one_image_are_one_cluster(scored: Ran) -> None:
    [record] = scored["vqav2"]
    assert (record["data"]["n"], record["metrics"]["vqa_accuracy"]["clusters"]) == (ROWS, ROWS // 2)


def test_visual7w_is_made_by_the_commands_in_its_comment(run: Run, tmp_path: Path) -> None:
    text = dict(shipped_tasks())[LOCAL].read_text(encoding="utf-8")
    script = "\n".join(re.findall(r"^#   (.+)$", text, re.MULTILINE))
    made, _, command = script.rpartition("\n")
    assert command == "harness run visual7w"
    visual7w_original(tmp_path / "visual7w")
    made = made.replace("python -", f"{sys.executable} -", 1)
    subprocess.run(["bash", "-euo", "pipefail", "-c", made], cwd=tmp_path, check=True)
    [found] = run([["run", LOCAL, *SHORT]], tmp_path)
    base, tuned = found["runs"]
    assert base["data"]["n"] == 4
    assert base["failures"]["n"] == tuned["failures"]["n"] == 0
    assert base["metrics"]["accuracy"]["clusters"] == 2


@pytest.mark.parametrize(
    ("name", "steps", "learned_from"),
    [
        ("gqa", 2, "lmms-lab-encoder/GQA"),
        ("chartqa", 2, "HuggingFaceM4/ChartQA"),
        ("nocaps", 3, "clip-benchmark/wds_mscoco_captions"),
        ("newyorker_ranking", 6, "jmhessel/newyorker_caption_contest"),
    ],
)
def test_a_task_is_fine_tuned_unchanged_but_for_its_length(
    run: Run, name: str, steps: int, learned_from: str
) -> None:
    short = (*SHORT, "--set", "train.steps=2") if name == "gqa" else SHORT
    short = (*short, "--set", "fold=") if "fold" in TASKS[name][0].params else short
    [found] = run([["run", name, *short]])
    base, tuned = found["runs"]
    assert tuned["parent"] == base["run_id"]
    assert tuned["train"]["steps"] == steps
    assert tuned["train"]["data"]["path"] == learned_from
    assert list(tuned["metrics"]) == list(base["metrics"])
    assert tuned["failures"]["n"] == 0


def test_two_stages_learn_from_captions_and_conversations(run: Run) -> None:
    params = ("caption_steps", "caption_batch", "instruction_steps", "instruction_batch")
    short = [part for name in params for part in ("--set", f"{name}=2")]
    [found] = run([["run", "llava_two_stages", *short]])
    base, tuned = found["runs"]
    assert tuned["parent"] == base["run_id"]
    assert tuned["failures"]["n"] == 0
    assert tuned["train"]["steps"] == 4
