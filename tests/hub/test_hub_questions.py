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
SHORTER = {
    "gqa": (*SHORT, "--set", "train.steps=2"),
    "newyorker_ranking": (*SHORT, "--set", "fold=ranking_from_pixels_3", "--set", "train.epochs=1"),
    "llava_two_stages": tuple(
        part
        for name in ("caption_steps", "caption_batch", "instruction_steps", "instruction_batch")
        for part in ("--set", f"{name}=2")
    ),
}
LEARNED_FROM = {
    "gqa": (2, "lmms-lab-encoder/GQA"),
    "chartqa": (2, "HuggingFaceM4/ChartQA"),
    "nocaps": (3, "clip-benchmark/wds_mscoco_captions"),
    "newyorker_ranking": (2, "jmhessel/newyorker_caption_contest"),
    "llava_two_stages": (4, "HuggingFaceH4/llava-instruct-mix-vsft"),
}
"""Steps of the fine-tunes, and the data that they end with."""
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


@pytest.fixture(scope="module")
def tuned(run: Run) -> Ran:
    """The records of tasks that are fine-tuned, unchanged but for their length: base and tuned of each."""
    names = list(LEARNED_FROM)
    found = run([["run", name, *SHORTER.get(name, SHORT)] for name in names])
    return {name: one["runs"] for name, one in zip(names, found, strict=True)}


@pytest.mark.parametrize("name", LEARNED_FROM)
def test_a_task_is_fine_tuned_unchanged_but_for_its_length(tuned: Ran, name: str) -> None:
    steps, learned_from = LEARNED_FROM[name]
    base, after = tuned[name]
    assert after["parent"] == base["run_id"]
    assert after["train"]["steps"] == steps
    assert after["train"]["data"]["path"] == learned_from
    assert list(after["metrics"]) == list(base["metrics"])
    assert base["failures"]["n"] == after["failures"]["n"] == 0


def test_visual7w_is_made_by_the_commands_in_its_comment(run: Run, tmp_path: Path) -> None:
    text = dict(shipped_tasks())[LOCAL].read_text(encoding="utf-8")
    script = "\n".join(re.findall(r"^#   (.+)$", text, re.MULTILINE))
    made, _, command = script.rpartition("\n")
    assert command == "harness run visual7w"
    visual7w_original(tmp_path / "visual7w")
    made = made.replace("python -", f"{sys.executable} -", 1)
    subprocess.run(["bash", "-euo", "pipefail", "-c", made], cwd=tmp_path, check=True)
    [found] = run([["run", LOCAL, *SHORT]], tmp_path)
    base, after = found["runs"]
    assert (base["data"]["n"], after["train"]["steps"]) == (4, 2)
    assert base["failures"]["n"] == after["failures"]["n"] == 0
    assert base["metrics"]["accuracy"]["clusters"] == 2
