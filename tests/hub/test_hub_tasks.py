"""Every shipped task of images and sounds, unchanged, on a hub with its data's layout and tiny models."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.spec.find import shipped_tasks
from harness.spec.load import load
from harness.spec.schema import Task
from tests.hub.benchmarks import CLASSES, IMAGES, benchmark, esc50_original, food, names_of, sounds
from tests.hub.hub_server import HubServer, RepoKey
from tests.hub.runner import Run, runner
from tests.models.tiny_classifier import tiny_ast, tiny_vit_without_head
from tests.models.tiny_clip import tiny_clap, tiny_clip

pytestmark = [pytest.mark.network, pytest.mark.heavy]

TASKS: dict[str, Task] = {
    name: load(file)[0].task for name, file in shipped_tasks() if not name.startswith("quickstart/")
}
ELSEWHERE = {
    *("asr", "speech_translation"),
    *("vqa", "yes_no", "captioning", "multiple_choice", "explanation", "conversation"),
}
"""Kinds of tasks that other tests run; test_hub_questions.py those of questions and captions."""
BENCHMARKS = {
    name: task
    for name, task in TASKS.items()
    if task.data.path.startswith("clip-benchmark/") and task.kind not in ELSEWHERE
}
ZERO_SHOT = [name for name, task in BENCHMARKS.items() if task.kind == "zero_shot_classification"]
OTHERS = {"esc50", "food101_classification"}
SHORT = ("--set", "train.batch=4", "--set", "train.micro_batch=2", "--set", "train.epochs=1")
Ran = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    root = tmp_path_factory.mktemp("hub")
    repositories: dict[RepoKey, dict[str, Path]] = {
        ("model", "openai/clip-vit-base-patch32"): {"main": tiny_clip(root / "clip")},
        ("model", "laion/clap-htsat-unfused"): {"main": tiny_clap(root / "clap")},
        ("model", "google/vit-base-patch16-224-in21k"): {"main": tiny_vit_without_head(root / "vit")},
        ("model", "MIT/ast-finetuned-audioset-10-10-0.4593"): {"main": tiny_ast(root / "ast")},
        ("dataset", "ashraq/esc50"): sounds(root / "sounds"),
        ("dataset", "ethz/food101"): food(root / "food"),
    }
    for name, task in BENCHMARKS.items():
        repositories["dataset", task.data.path] = benchmark(root / name, task)
    with HubServer(repositories) as server:
        yield server


@pytest.fixture(scope="module")
def run(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return runner(hub, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def scored(run: Run) -> Ran:
    """The records of all tasks that need nothing but the hub, each scored once."""
    names = [*BENCHMARKS, *sorted(OTHERS)]
    found = run([["eval", name] for name in names])
    return {name: one["runs"][0] for name, one in zip(names, found, strict=True)}


def test_no_shipped_task_is_left_out() -> None:
    mine = {name for name, task in TASKS.items() if task.kind not in ELSEWHERE}
    assert mine == {*BENCHMARKS, *OTHERS, "esc50_folds"}
    assert len(ZERO_SHOT) > 20


@pytest.mark.parametrize("name", sorted({*BENCHMARKS, *OTHERS}))
def test_a_task_runs_unchanged(scored: Ran, name: str) -> None:
    record, task = scored[name], TASKS[name]
    assert record["data"]["path"] == task.data.path
    assert record["data"]["n"] == IMAGES
    assert record["data"]["revision"]
    assert record["failures"]["n"] == 0, record["failures"]
    assert len(record["metrics"]) == len(task.metrics)
    assert all(part["value"] is not None for part in record["metrics"].values()), record["metrics"]


def test_eval_downloads_no_training_images(scored: Ran, hub: HubServer) -> None:
    probes = {task.data.path for task in TASKS.values() if task.kind == "linear_probe"}
    fetched = [path for method, path in hub.requests if method == "GET" and "/resolve/" in path]
    assert [path for path in fetched if "/train/" in path and not any(one in path for one in probes)] == []


def test_classes_are_those_of_the_repository_unless_the_task_names_them(
    run: Run,
) -> None:
    [dry] = run([["eval", "imagenet1k", "--dry-run"]])
    assert dry["target"] in (*CLASSES, "missile [2]", "missile [4]")
    assert names_of(TASKS["imagenet1k"]) == CLASSES
    assert names_of(TASKS["cifar10"])[0] == "airplane"


@pytest.mark.parametrize("name", ["cifar10", "food101_classification", "coco_retrieval"])
def test_a_task_is_fine_tuned_unchanged_but_for_its_length(run: Run, name: str) -> None:
    [found] = run([["run", name, *SHORT]])
    base, tuned = found["runs"]
    assert tuned["parent"] == base["run_id"]
    assert tuned["train"]["steps"] == 3
    assert list(tuned["metrics"]) == list(base["metrics"])


def test_flickr30k_learns_from_coco(run: Run) -> None:
    [found] = run([["train", "flickr30k_retrieval", *SHORT]])
    assert found["train"]["steps"] == 3


def test_the_folds_of_esc50_are_made_by_the_commands_in_its_comment(run: Run, tmp_path: Path) -> None:
    text = dict(shipped_tasks())["esc50_folds"].read_text(encoding="utf-8")
    script = "\n".join(re.findall(r"^#   (.+)$", text, re.MULTILINE))
    esc50_original(tmp_path)
    made, _, command = script.rpartition("; ")
    subprocess.run(["bash", "-euo", "pipefail", "-c", made], cwd=tmp_path, check=True)
    folds = [(tmp_path / "esc50_folds" / f"{fold}" / "test.csv").read_text() for fold in range(1, 6)]
    assert all(text.count(f"../../audio/{fold}-") == 4 for fold, text in enumerate(folds, start=1))
    train = (tmp_path / "esc50_folds" / "2" / "train.csv").read_text()
    assert (train.count("../../audio/"), train.count("../../audio/2-")) == (16, 0)
    assert command == "harness run esc50_folds"
    [found] = run([["run", "esc50_folds", *SHORT, "--set", "fold=2"]], tmp_path)
    base, tuned = found["runs"]
    assert (base["data"]["n"], tuned["train"]["data"]["n"]) == (4, 16)
    assert base["metrics"]["accuracy"]["clusters"] == 4
