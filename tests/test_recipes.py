"""What CONTRIBUTING's recipes promise: a task, family or metric half added turns something red here."""

import re
from pathlib import Path

import pytest

from harness.metrics.base import CorpusMetric, Metric
from harness.models import FAMILY_OF_TYPE
from harness.models.base import Adapter
from harness.registry import BUILDERS, FAMILIES, METRICS, NORMALIZERS
from harness.shipped import shipped
from harness.spec.find import shipped_tasks
from harness.spec.kinds import KINDS
from harness.spec.load import load
from harness.spec.validate import validate

ROOT = Path(__file__).parents[1]
TASKS = dict(shipped_tasks())
NAMED_BY_THE_TASK = ("openai", "vllm")
"""Families that no type of checkpoint leads to."""


def board(name: str) -> str:
    return (shipped("leaderboards") / f"{name}.yaml").read_text(encoding="utf-8")


def test_every_shipped_task_file_is_valid():
    faults, count = validate([shipped("tasks")])
    assert faults == []
    assert count >= len(TASKS)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_task_stands_on_the_board_that_it_names(name: str):
    task = load(TASKS[name])[0].task
    assert task.name == name
    assert task.description
    if task.leaderboard:
        assert f"  - {name}\n" in board(task.leaderboard)


@pytest.mark.parametrize("name", sorted(path.stem for path in shipped("leaderboards").glob("*.yaml")))
def test_a_board_shows_tasks_that_exist_by_a_metric_that_exists(name: str):
    text = board(name)
    assert set(re.findall(r"^  - (.+)$", text, re.MULTILINE)) <= set(TASKS)
    assert set(re.findall(r"^metric: (.+)$", text, re.MULTILINE)) <= set(METRICS)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_family_is_an_adapter_that_is_found_and_tested(name: str):
    family = FAMILIES.get(name)
    assert issubclass(family, Adapter)
    assert family.info.family == name
    assert family.info.version
    assert family.info.modes & {kind.mode for kind in KINDS.values()}
    assert name in {*FAMILY_OF_TYPE.values(), *NAMED_BY_THE_TASK}
    assert (ROOT / "tests" / "models" / f"test_{name}.py").is_file()


def test_every_model_type_has_a_family():
    assert set(FAMILY_OF_TYPE.values()) <= set(FAMILIES)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_metric_is_one(name: str):
    assert issubclass(METRICS.get(name), Metric | CorpusMetric)


@pytest.mark.parametrize("registry", [NORMALIZERS, BUILDERS], ids=lambda registry: registry.what)
def test_every_other_name_leads_somewhere(registry):
    assert all(callable(registry.get(name)) for name in registry)


def test_contributing_names_files_that_exist():
    named = re.findall(r"`([\w./]+/[\w./]*\w)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    own = [path for path in named if path.split("/")[0] in ("harness", "tests", "tasks")]
    assert len(own) > 10
    assert [path for path in own if not (ROOT / path).exists()] == []
