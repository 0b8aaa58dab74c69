"""What the results folder promises to many processes: no locks, nothing lost, nothing half there."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from harness.results import store as stores
from harness.results.store import Store
from tests.results.examples import added, draft, written

PROCESSES = 8
RUNS_EACH = 4
SHARED = 1000


def add_runs(root: Path, process: int) -> None:
    """Add runs of this process's own and one that every process adds."""
    store = Store(root)
    for number in range(RUNS_EACH):
        added(store, process * RUNS_EACH + number)
        store.index()
    added(store, SHARED)


def die_before_the_record(root: Path) -> None:
    """Be killed when the sample rows are in place and the record isn't."""
    vars(stores)["write_whole"] = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    added(Store(root), 1)


def spawn(target: object, *arguments: object) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)  # type: ignore[arg-type]
    process.start()
    return process


@pytest.mark.heavy
def test_eight_writers_at_once(tmp_path: Path):
    writers = [spawn(add_runs, tmp_path, number) for number in range(PROCESSES)]
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * PROCESSES

    store = Store(tmp_path)
    runs = store.runs()
    minutes = [int((run.ended - run.started).total_seconds() // 60) for run in runs]
    assert minutes == [*range(PROCESSES * RUNS_EACH), SHARED]
    for run, minute in zip(runs, minutes, strict=True):
        assert store.samples(run.run_id)["id"].to_pylist() == [f"sample-{minute}"]
    assert store.index()["run_id"].to_pylist() == [run.run_id for run in runs]
    assert store.rebuild_index().equals(store.index())
    assert store.sweep(older_than_seconds=-1) == []


def test_killed_between_rows_and_record(tmp_path: Path):
    first = added(Store(tmp_path))
    writer = spawn(die_before_the_record, tmp_path)
    writer.join()
    assert writer.exitcode == -signal.SIGKILL

    store = Store(tmp_path)
    assert len([*tmp_path.glob("samples/*/*.parquet")]) == 2  # the rows came first
    assert store.runs() == [first]
    assert store.index()["run_id"].to_pylist() == [first.run_id]
    again = store.add(draft(1), written(store, "sample-1"))
    assert store.samples(again.run_id)["id"].to_pylist() == ["sample-1"]
    assert store.sweep(older_than_seconds=-1) == []
