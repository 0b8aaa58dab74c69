"""Nothing is lost and nothing is done twice: kill -9, several processes, changed checkpoints."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

LAUNCH = (
    "accelerate.commands.launch",
    "--cpu",
    "--num_processes",
    "2",
    "--main_process_port",
    "0",
    "-m",
    "harness",
)


def predicted(log: Path) -> Counter[str]:
    """How often the model was asked for each sample."""
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(id_ for line in lines for id_ in json.loads(line)["ids"])


def processes(log: Path) -> int:
    """How many processes asked the model."""
    return len({json.loads(line)["pid"] for line in log.read_text().splitlines()})


def sample_file(folder: Path) -> bytes:
    [path] = (folder / "samples").rglob("*.parquet")
    return path.read_bytes()


@pytest.fixture
def start(tmp_path, environment):
    """Starts `harness run task.yaml` without waiting for it."""

    def start(*launcher: str, **variables: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            *(launcher or ("harness",)),
            "run",
            "task.yaml",
            "--results",
            "killed",
        ]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**environment, **variables},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    return start


def wait_for_batches(log: Path, batches: int) -> None:
    deadline = time.monotonic() + 60
    while not log.exists() or len(log.read_text().splitlines()) < batches:
        assert time.monotonic() < deadline, "the run did not get that far"
        time.sleep(0.01)


def kill(process: subprocess.Popen[bytes], log: Path) -> None:
    """Kill the command and the processes it started, which torch's launcher puts in sessions of their own."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    for line in log.read_text().splitlines():
        with suppress(ProcessLookupError):
            os.kill(json.loads(line)["pid"], signal.SIGKILL)


def test_a_killed_run_goes_on_where_it_was(tmp_path, harness, dummy_task, start):
    dummy_task(n=160, model={"seconds_per_batch": 0.05, "error_rate": 0.3}, run={"batch_size": 8})
    log = tmp_path / "log.jsonl"
    running = start(HARNESS_DUMMY_LOG=str(log))
    wait_for_batches(log, random.Random(1).randint(3, 15))
    kill(running, log)
    before = predicted(log)
    assert 0 < len(before) < 160
    assert not (tmp_path / "killed" / "runs").exists()

    resumed = harness("run", "task.yaml", "--results", "killed", HARNESS_DUMMY_LOG=str(log))
    assert resumed.code == 0, resumed.err
    after = predicted(log)
    assert len(after) == 160
    # Only the batch that was under way may have been asked for again: it never reached the journal.
    repeated = [id_ for id_, times in after.items() if times > 1]
    assert len(repeated) <= 8

    whole = harness("run", "task.yaml", "--results", "whole", HARNESS_CACHE=str(tmp_path / "other"))
    assert whole.code == 0, whole.err
    assert sample_file(tmp_path / "killed") == sample_file(tmp_path / "whole")


def test_a_finished_prediction_is_never_asked_for_again(tmp_path, harness, dummy_task):
    dummy_task(n=50)
    log = tmp_path / "log.jsonl"
    for limit in ("20", "50"):
        assert harness("run", "task.yaml", "--limit", limit, HARNESS_DUMMY_LOG=str(log)).code == 0
    assert set(predicted(log).values()) == {1}
    assert len(predicted(log)) == 50
    harness("run", "task.yaml", "--no-cache", HARNESS_DUMMY_LOG=str(log))
    assert set(predicted(log).values()) == {2}


def test_a_checkpoint_overwritten_in_place_is_another_checkpoint(tmp_path, harness, dummy_task):
    dummy_task(n=30)
    first = harness("run", "task.yaml", "--json").json()["runs"][0]
    dummy_task(n=30, model={"error_rate": 0.9})
    second = harness("run", "task.yaml", "--json").json()["runs"][0]
    assert first["metrics"]["wer"]["value"] == 0
    assert second["metrics"]["wer"]["value"] > 50
    assert first["spec_id"] == second["spec_id"]
    assert first["model"]["digest"] != second["model"]["digest"]


@pytest.mark.heavy
def test_two_processes_and_one_resuming_them_agree_with_one(tmp_path, harness, dummy_task, start):
    dummy_task(
        n=100, model={"seconds_per_batch": 0.05, "error_rate": 0.3}, run={"batch_size": 4}, unreadable=[3]
    )
    log = tmp_path / "log.jsonl"
    running = start(*LAUNCH, HARNESS_DUMMY_LOG=str(log))
    wait_for_batches(log, 6)
    kill(running, log)
    begun = predicted(log)
    assert 0 < len(begun) < 99
    assert set(begun.values()) == {1}, "two processes predicted the same sample"
    assert processes(log) == 2

    resumed = harness("run", "task.yaml", "--results", "killed", HARNESS_DUMMY_LOG=str(log))
    assert resumed.code == 0, resumed.err
    assert len(predicted(log)) == 99
    assert sum(predicted(log).values()) <= 99 + 2 * 4

    both_log = tmp_path / "both.jsonl"
    both = harness(
        "run", "task.yaml", "--results", "both", "--json", launcher=LAUNCH,
        HARNESS_CACHE=str(tmp_path / "two"), HARNESS_DUMMY_LOG=str(both_log),
    )  # fmt: skip
    assert both.code == 0, both.err
    assert predicted(both_log) == Counter(dict.fromkeys(predicted(both_log), 1))
    assert len(predicted(both_log)) == 99
    assert both.json()["runs"][0]["failures"]["n"] == 1
    assert processes(both_log) == 2

    one = harness("run", "task.yaml", "--results", "one", HARNESS_CACHE=str(tmp_path / "alone"))
    assert one.code == 0, one.err
    files = [sample_file(tmp_path / name) for name in ("killed", "both", "one")]
    assert files[0] == files[1] == files[2]


@pytest.mark.heavy
@pytest.mark.parametrize("n", [1, 3])
def test_more_processes_than_batches(tmp_path, harness, dummy_task, n):
    dummy_task(n=n)
    done = harness("run", "task.yaml", "--json", launcher=LAUNCH)
    assert done.code == 0, done.err
    assert done.json()["runs"][0]["data"]["n"] == n
