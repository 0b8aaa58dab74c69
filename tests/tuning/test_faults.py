"""What is broken beside a training is said, and nothing that was made is lost or passed off as another."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
    assert (
        "left out: 1 training samples that could not be used: train-000003"
        in command("train", "task.yaml").err
    )


def test_an_export_that_is_not_where_its_base_was_says_what_to_do(command, tuned_task, tmp_path):
    tuned_task({"select_by": "last"})
    (tmp_path / "elsewhere").mkdir()
    adapter = Path(command("train", "task.yaml", "--json").json()["adapter"])
    moved = adapter.rename(tmp_path / "elsewhere" / "adapter")
    done = command("export", str(moved), "--out", "merged")
    assert done.code == 2
    assert "name the checkpoint with --model" in done.err
