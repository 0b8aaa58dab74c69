"""Every shipped task of images and sounds, unchanged, on a hub with its data's layout and tiny models."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.spec.find import shipped_tasks
from harness.spec.load import load
from harness.spec.schema import Task
from tests.hub.benchmarks import CLASSES, IMAGES, benchmark, esc50_original, food, names_of, sounds
from tests.hub.hub_server import HubServer, RepoKey
from tests.models.tiny_classifier import tiny_ast, tiny_vit_without_head
from tests.models.tiny_clip import tiny_clap, tiny_clip

pytestmark = [pytest.mark.network, pytest.mark.heavy]

ROOT = Path(__file__).parents[2]
TASKS: dict[str, Task] = {
    name: load(file)[0].task for name, file in shipped_tasks() if not name.startswith("quickstart/")
}
BENCHMARKS = {name: task for name, task in TASKS.items() if task.data.path.startswith("clip-benchmark/")}
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
def run(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """`run([["eval", "cifar10"], ...])`: what came of the commands with --json, in one process."""
    folder = tmp_path_factory.mktemp("work")
    own = {"PYTHONPATH": str(ROOT), "HARNESS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    def run(commands: list[list[str]], cwd: Path = folder) -> list[dict[str, Any]]:
        asked = json.dumps([[*command, "--json"] for command in commands])
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("run_commands.py")), asked],
            cwd=cwd,
            env=hub.environment(folder / "home") | own,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        finished = json.loads(done.stdout)
        for command, one in zip(commands, finished, strict=True):
            assert one["code"] == 0, f"{command}\n{one['err']}"
        return [json.loads(one["out"]) for one in finished]

    return run


@pytest.fixture(scope="module")
def scored(run: Callable[..., list[dict[str, Any]]]) -> Ran:
    """The records of all tasks that need nothing but the hub, each scored once."""
    names = [*BENCHMARKS, *sorted(OTHERS)]
    found = run([["eval", name] for name in names])
    return {name: one["runs"][0] for name, one in zip(names, found, strict=True)}


def test_no_shipped_task_is_left_out() -> None:
    other = {"asr", "speech_translation"}
    mine = {name for name, task in TASKS.items() if task.kind not in other}
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
    run: Callable[..., list[dict[str, Any]]],
) -> None:
    [dry] = run([["eval", "imagenet1k", "--dry-run"]])
    assert dry["target"] in (*CLASSES, "missile [2]", "missile [4]")
    assert names_of(TASKS["imagenet1k"]) == CLASSES
    assert names_of(TASKS["cifar10"])[0] == "airplane"


@pytest.mark.parametrize("name", ["cifar10", "food101_classification", "coco_retrieval"])
def test_a_task_is_fine_tuned_unchanged_but_for_its_length(
    run: Callable[..., list[dict[str, Any]]], name: str
) -> None:
    [found] = run([["run", name, *SHORT]])
    base, tuned = found["runs"]
    assert tuned["parent"] == base["run_id"]
    assert tuned["train"]["steps"] == 3
    assert list(tuned["metrics"]) == list(base["metrics"])


def test_flickr30k_learns_from_coco(run: Callable[..., list[dict[str, Any]]]) -> None:
    [found] = run([["train", "flickr30k_retrieval", *SHORT]])
    assert found["train"]["steps"] == 3


def test_the_folds_of_esc50_are_made_by_the_commands_in_its_comment(
    run: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
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
