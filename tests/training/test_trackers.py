"""Trackers by name: what they are told, and what is said of one that isn't there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from harness.errors import AdapterError
from harness.training.fine_tune import fine_tune
from harness.training.trainer import check_trackers
from tests.conftest import ROOT
from tests.training.jobs import job

TRAIN: dict[str, Any] = {"steps": 4, "batch": 4, "evaluate_every": 2}


def score(adapter: Any, step: int) -> dict[str, float]:
    return {"wer": 50.0 - step}


def test_tensorboard_gets_the_loss_and_the_metric(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    fine_tune(job(tmp_path, {**TRAIN, "report_to": ["tensorboard"]}, evaluate=score))
    events = EventAccumulator(str(tmp_path / "logs" / "adapter"))
    events.Reload()
    assert {"train/loss", "train/learning_rate", "eval/wer"} <= set(events.Tags()["scalars"])
    assert [(event.step, event.value) for event in events.Scalars("eval/wer")] == [(0, 50), (2, 48), (4, 46)]


def test_trackio_gets_them_too_and_keeps_standard_output_clean(tmp_path, monkeypatch):
    train = json.dumps({**TRAIN, "report_to": ["trackio"]})
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.one_training", str(tmp_path), str(tmp_path / "base"), train],
        cwd=ROOT,
        env={**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "trackio show" in done.stderr
    from trackio import sqlite_storage

    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")
    logs = sqlite_storage.SQLiteStorage.get_logs("mm-harness", "adapter")
    assert sum("eval/wer" in log for log in logs) == 3
    assert any("train/loss" in log for log in logs)


def test_a_tracker_nobody_knows_is_an_error_with_the_near_name():
    with pytest.raises(AdapterError, match="no tracker 'tensorbord'") as found:
        check_trackers(["tensorbord"])
    assert found.value.hint == "Did you mean 'tensorboard'?"


def test_a_tracker_that_is_not_installed_says_how_to_get_it():
    with pytest.raises(AdapterError, match="comet_ml isn't installed") as found:
        check_trackers(["comet_ml"])
    assert "pip install comet_ml" in found.value.hint
