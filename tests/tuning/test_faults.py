"""What is broken beside a training is said, and nothing that was made is lost or passed off as another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.audio import encode_wav


def trained(results: Path) -> list[Path]:
    return sorted(results.glob("adapters/*"))


def test_other_noise_is_another_training(command, tuned_task, tmp_path):
    """Of the same length, and in a folder that is relative to where the command runs."""
    tuned_task({"augment": {"noise": {"folder": "noise"}}, "select_by": "last"})
    (tmp_path / "noise").mkdir()
    found = []
    for level in (0.1, 0.2):
        noise = np.random.default_rng(0).normal(scale=level, size=800).astype(np.float32)
        (tmp_path / "noise" / "hum.wav").write_bytes(encode_wav(noise, 16_000))
        found.append(command("train", "task.yaml", "--json").json()["adapter"])
    assert found[0] != found[1]


def test_noise_that_can_not_be_read_stops_the_training(command, tuned_task, tmp_path):
    tuned_task({"augment": {"noise": {"folder": "./noise"}}})
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "hum.wav").write_bytes(b"no sound")
    done = command("train", "task.yaml")
    assert done.code == 2
    assert "a recording of noise can't be read" in done.err
    assert "hum.wav" in done.err
    assert not trained(tmp_path / "results")


def test_samples_that_can_not_be_learned_from_are_said(command, tuned_task):
    tuned_task({"data": {"options": {"n": 10, "unreadable": [3]}}, "steps": 10, "select_by": "last"})
    said = command("train", "task.yaml").err
    assert "left out: 1 training sample that could not be used: train-000003" in said


def test_an_export_that_is_not_where_its_base_was_says_what_to_do(command, tuned_task, tmp_path):
    tuned_task({"select_by": "last"})
    (tmp_path / "elsewhere").mkdir()
    adapter = Path(command("train", "task.yaml", "--json").json()["adapter"])
    moved = adapter.rename(tmp_path / "elsewhere" / "adapter")
    (tmp_path / "checkpoint").rename(tmp_path / "gone")
    done = command("export", str(moved), "--out", "merged")
    assert done.code == 2
    assert "--model" in done.err


@pytest.mark.parametrize("change", [{"train": {"steps": 4}}, {"spec": {"train": {"steps": 4, "new": 1}}}])
def test_a_manifest_that_does_not_say_how_it_was_made_is_named(command, tuned_task, change: dict[str, Any]):
    tuned_task({"select_by": "last"})
    adapter = Path(command("train", "task.yaml", "--json").json()["adapter"])
    manifest = json.loads((adapter / "harness.json").read_text())
    (adapter / "harness.json").write_text(json.dumps(manifest | change))
    done = command("eval", "task.yaml", "--adapter", str(adapter))
    assert done.code == 2
    assert "harness.json doesn't say how it was made" in done.err


def test_a_warm_up_that_epochs_never_finish_is_refused(command, tuned_task, tmp_path):
    tuned_task({"steps": None, "epochs": 2, "warmup": 5})
    done = command("train", "task.yaml")
    assert done.code == 2
    assert "5 steps of warm-up leave none of 5" in done.err
    assert not trained(tmp_path / "results")


@pytest.mark.parametrize(
    ("train", "place"),
    [
        ({"augment": {"gain_db": [0, 1e5]}}, "gain_db"),
        ({"augment": {"noise": {"snr_db": [-1e5, 0]}}}, "snr_db"),
        ({"lora": {"dropout": 1}}, "dropout"),
    ],
)
def test_settings_that_would_leave_nothing_to_learn_or_hear_are_refused(command, tuned_task, train, place):
    """A clip that can't be perturbed is learned from as it is: numbers that overflow would go unsaid."""
    tuned_task(train)
    done = command("train", "task.yaml")
    assert done.code == 2
    assert place in done.err
