"""The command line in processes of its own: ended by a signal, and shared by two."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

LAUNCH = (
    *("accelerate.commands.launch", "--cpu", "--num_processes", "2"),
    *("--main_process_port", "0", "-m", "harness"),
)


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the training did not get that far"
        time.sleep(0.02)


def test_a_terminated_run_goes_on_where_it_was(tmp_path, harness, tuned_task, environment):
    tuned_task({"steps": 60, "evaluate_every": 30, "save_every": 5, "keep": []})
    running = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "task.yaml", "--results", "ended"],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(tmp_path, "ended/training/*/checkpoint-*", running)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 3, err
    assert out == ""
    assert "SIGTERM" in err
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert not (tmp_path / "ended" / "adapters").exists()

    resumed = harness("run", "task.yaml", "--results", "ended", "--json")
    assert resumed.code == 0, resumed.err
    assert "Going on from step" in resumed.err
    whole = harness("run", "task.yaml", "--results", "whole", "--json")
    assert "Going on" not in whole.err
    tuned = [done.json()["runs"][1] for done in (resumed, whole)]
    assert tuned[0]["model"]["digest"] == tuned[1]["model"]["digest"]
    assert tuned[0]["train"]["curve"] == tuned[1]["train"]["curve"]
    assert tuned[0]["metrics"] == tuned[1]["metrics"]


def test_two_processes_train_and_score_like_one(tmp_path, harness, tuned_task):
    tuned_task()
    both = harness("run", "task.yaml", "--results", "both", "--json", launcher=LAUNCH)
    assert both.code == 0, both.err
    one = harness("run", "task.yaml", "--results", "one", "--json", HARNESS_CACHE=str(tmp_path / "other"))
    assert one.code == 0, one.err
    found, alone = both.json(), one.json()
    assert [run["metrics"] for run in found["runs"]] == [run["metrics"] for run in alone["runs"]]
    assert found["runs"][1]["train"]["train_id"] == alone["runs"][1]["train"]["train_id"]
    assert found["runs"][1]["train"]["curve"] == alone["runs"][1]["train"]["curve"]
    assert found["kept"][0]["verdict"] == alone["kept"][0]["verdict"]
    assert len(list((tmp_path / "both" / "runs").rglob("*.json"))) == 4
