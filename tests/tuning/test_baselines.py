"""Baselines beside a task's score: the same samples, one table, and nothing lost where one fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.results.store import Store


@pytest.fixture
def beside(tmp_path: Path, dummy_task: Callable[..., Path]) -> Callable[..., None]:
    """Writes a task of the dummy model with these baselines, and another checkpoint with more errors."""

    def write(*baselines: dict[str, Any], **changes: Any) -> None:
        file = dummy_task(n=40, model={"error_rate": 0.1})
        (tmp_path / "worse").mkdir()
        config = {"model_type": "harness-dummy", "error_rate": 0.5}
        (tmp_path / "worse" / "config.json").write_text(json.dumps(config))
        task = json.loads(file.read_text()) | {"baselines": list(baselines)} | changes
        if "seed" in task.get("params", {}):
            task["data"]["options"]["seed"] = "{seed}"
        file.write_text(json.dumps(task))

    return write


WORSE = {"name": "a worse one", "task": {"model": {"checkpoint": "./worse"}, "metrics": ["cer", "wer"]}}
MISSING = {"name": "nobody", "task": {"model": {"checkpoint": "./nowhere"}}}


@pytest.mark.parametrize("words", ["eval", "run"])
def test_a_baseline_is_scored_on_the_same_samples_and_recorded(command, beside, tmp_path, words):
    beside(WORSE)
    done = command(words, "task.yaml", "--json", "--limit", "20")
    assert done.code == 0, done.err
    found = done.json()
    [run], [baseline] = found["runs"], found["baselines"]
    assert baseline["name"] == "a worse one"
    worse = baseline["run"]
    assert (worse["model"]["checkpoint"], worse["primary"]) == ("./worse", "cer")
    assert worse["data"] == run["data"]
    assert worse["metrics"]["wer"]["value"] > run["metrics"]["wer"]["value"]
    assert worse["metrics"]["wer"]["ci95"]
    assert {record.run_id for record in Store(tmp_path / "results").runs()} == {
        run["run_id"],
        worse["run_id"],
    }


def test_the_table_has_it_under_the_model(command, beside):
    beside(WORSE)
    done = command("eval", "task.yaml")
    assert done.code == 0, done.err
    table, rest = done.out.split("└")[0], done.out.split("└")[1]
    assert table.index("the checkpoint") < table.index("a worse one")
    assert table.count("WER ↓%") == 2
    assert " to " in table.split("a worse one")[1]
    own = next(record for record in Store(Path("results")).runs() if record.model.checkpoint != "./worse")
    assert f"harness show {own.run_id[:12]}" in rest, "what is looked into is the model, not its baseline"
    assert max(map(len, done.out.splitlines())) <= 80


def test_without_baselines_nothing_is_named(command, beside):
    beside()
    assert "the checkpoint" not in command("eval", "task.yaml").out
    assert command("eval", "task.yaml", "--json").json()["baselines"] == []


def test_one_that_fails_costs_nothing_that_was_scored(command, beside):
    beside(MISSING, WORSE)
    done = command("eval", "task.yaml")
    assert done.code == 2
    assert "baseline 'nobody'" in done.err
    assert "nowhere" in done.err
    assert "a worse one" in done.out
    assert "Recorded in" in done.out
    found = command("eval", "task.yaml", "--json").json()
    assert [sorted(one) for one in found["baselines"]] == [["error", "name"], ["name", "run"]]
    assert found["runs"][0]["metrics"]["wer"]["value"] is not None


def test_every_cell_of_a_matrix_has_its_own(command, beside):
    beside(WORSE, params={"seed": 0}, matrix={"seed": [1, 2]})
    found = command("eval", "task.yaml", "--json").json()
    runs, baselines = found["runs"], [one["run"] for one in found["baselines"]]
    assert [run["params"]["seed"] for run in runs] == [run["params"]["seed"] for run in baselines] == [1, 2]
    assert [run["data"]["fingerprint"] for run in runs] == [run["data"]["fingerprint"] for run in baselines]


def test_beside_a_fine_tune_it_has_one_score_and_no_adapter(command, tuned_task, tmp_path):
    itself = {"name": "the base again", "task": {"metrics": ["cer"]}}
    tuned_task({"select_by": "last"}, baselines=[itself])
    done = command("run", "task.yaml", "--json")
    assert done.code == 0, done.err
    found = done.json()
    base, tuned = found["runs"]
    [again] = [one["run"] for one in found["baselines"]]
    assert again["model"]["adapter"] is None
    assert again["metrics"] == {"cer": base["metrics"]["cer"]}
    assert again["speed"]["measured_samples"] == 0, "the same weights said it before"
    shown = command("run", "task.yaml").out
    assert shown.index("other tones") < shown.index("baseline:")
    listed = [line.split(maxsplit=1) for line in shown.splitlines() if line.endswith(" the base again")]
    assert [Store(tmp_path / "results").get(start).metrics.keys() for start, _ in listed] == [{"cer"}]
    assert max(map(len, shown.split("Next:")[0].splitlines())) <= 80
    adapted = command("eval", "task.yaml", "--adapter", tuned["model"]["adapter"], "--json").json()
    assert adapted["runs"][0]["metrics"] == tuned["metrics"]
    assert [one["run"]["metrics"] for one in adapted["baselines"]] == [again["metrics"]]


def test_fetch_brings_what_baselines_need(command, beside):
    beside(WORSE)
    fetched = [one["what"] for one in command("fetch", "task.yaml", "--json").json()["fetched"]]
    assert "checkpoint ./worse" in fetched
