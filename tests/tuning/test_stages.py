"""A training in stages as its users meet it: the plan before, the table and the records after."""

from __future__ import annotations

from typing import Any

import pytest

from harness.results.record import from_json
from harness.results.store import Store

RUN = ("run", "task.yaml")
STAGED: dict[str, Any] = {
    "steps": None,
    "keep": [],
    "stages": [
        {
            "name": "hearing",
            "parts": {"encoder": "full"},
            "steps": 2,
            "learning_rate": 0.001,
            "data": {"options": {"n": 6, "seed": 3}},
        },
        {"name": "both", "parts": {"encoder": "full", "decoder": "lora"}, "steps": 4, "batch": 2},
    ],
}


@pytest.fixture
def staged(tuned_task):
    """Writes the task with two stages in place of its steps."""
    return lambda **train: tuned_task(STAGED | {"method": "lora"} | train)


def test_the_plan_tells_parts_parameters_steps_and_data_of_each_stage(command, staged):
    staged(micro_batch=2)
    done = command(*RUN, "--dry-run")
    assert done.code == 0, done.err
    flat = " ".join(done.out.split())
    for text in (
        "encoder full",
        "decoder lora",
        "hearing encoder full: ",
        "2 steps of 4 samples, 2 forward passes",
        "learning rate 0.001 at its peak, 1.3 epochs",
        "synthetic:dummy, split train, 6 samples",
        "both encoder full, decoder lora: ",
        "4 steps of 2 samples, one forward pass",
        "synthetic:dummy, split train, 10 samples",
        "best step: by wer on the validation split of the last stage",
        "samples: 6 samples and 10 samples to train on",
    ):
        assert text in flat, text
    assert max(map(len, done.out.splitlines())) <= 100
    [plan] = command(*RUN, "--dry-run", "--json").json()["train"]
    first, second = plan["stages"]
    assert plan["steps"] == 6
    assert (first["steps"], first["data"]["n"], second["data"]["n"]) == (2, 6, 10)
    assert first["trainable"] < second["trainable"] == plan["trainable"]
    frozen = [part["name"] for part in first["parts"] if part["state"] == "frozen"]
    assert frozen == ["decoder"]


def test_the_record_the_table_and_the_listing_tell_of_the_stages(command, staged, tmp_path):
    staged()
    done = command(*RUN, "--json")
    assert done.code == 0, done.err
    train = done.json()["runs"][1]["train"]
    assert (train["steps"], train["batch"], train["learning_rate"]) == (6, 2, 0.01)
    assert [point["step"] for point in train["curve"]] == [2, 4, 6]
    assert train["best_step"] in (2, 4, 6)
    first, second = train["stages"]
    assert (first["name"], first["steps"], first["batch"], first["learning_rate"]) == ("hearing", 2, 4, 0.001)
    assert first["parts"] == {"encoder": "full", "decoder": "frozen"}
    assert (first["data"]["n"], second["data"]["n"], train["data"]["n"]) == (6, 10, 10)
    assert second["trainable_parameters"] == train["trainable_parameters"]
    again = command(*RUN)
    assert "Already trained" in again.err
    flat = " ".join(again.out.split())
    assert f"hearing encoder full: {first['trainable_parameters']:,} parameters, 2 steps" in flat
    assert f"both encoder full, decoder lora: {second['trainable_parameters']:,} parameters, 4 steps" in flat
    tuned, *_ = [run for run in Store(tmp_path / "results").runs() if run.train]
    assert "hearing" in command("show", tuned.run_id).out
    assert from_json(tuned.model_dump_json(), tmp_path) == tuned


def test_train_prints_the_stages_and_goes_on_where_it_was(command, staged, monkeypatch):
    from harness.training.watcher import Watcher

    staged()
    calls = []
    original = Watcher.on_step_end

    def end(self: Watcher, args: Any, state: Any, control: Any, **settings: Any) -> None:
        calls.append(state.global_step)
        if len(calls) == 3:
            self._stop.name = "SIGTERM"
        original(self, args, state, control, **settings)

    monkeypatch.setattr(Watcher, "on_step_end", end)
    stopped = command("train", "task.yaml")
    assert stopped.code == 3
    assert "stopped by SIGTERM after step 1 of 4 of stage 2 of 2 (both)" in stopped.err
    done = command("train", "task.yaml", "--json")
    assert "Going on from step 1 of stage 2 of 2 (both)" in done.err
    train = done.json()["train"]
    assert (train["resumed_from"], train["steps"]) == (3, 6)
    assert [stage["name"] for stage in train["stages"]] == ["hearing", "both"]
    assert len(calls) == 6
    assert "hearing: encoder full" in command("train", "task.yaml").err


def test_two_fine_tunes_differ_in_what_their_stages_say(command, staged):
    staged()
    first = command(*RUN, "--json").json()["runs"][1]["run_id"]
    stages = [STAGED["stages"][0], STAGED["stages"][1] | {"learning_rate": 0.02}]
    staged(stages=stages)
    second = command(*RUN, "--json").json()["runs"][1]["run_id"]
    assert first != second
    assert "stages.both.learning_rate" in command("compare", first, second).out


def test_a_stage_that_learns_what_is_validated_is_refused(command, staged):
    stages = [{**STAGED["stages"][0], "data": {"splits": {"train": "validation", "test": "test"}}}]
    staged(data={}, stages=[*stages, STAGED["stages"][1]])
    done = command(*RUN)
    assert done.code == 2
    assert "train.stages[0]: split 'validation' is learned from and scored (validation)." in done.err
