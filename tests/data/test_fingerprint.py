"""A dataset's fingerprint changes with anything that could be learned from it, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data import Dataset
from harness.data.audio import encode_wav
from harness.data.fingerprint import ROWS_PER_JOB, fingerprint
from harness.progress import Silent

Load = Callable[..., Dataset]
Write = Callable[..., Path]
COLUMNS = {"audio": "audio", "target": "text", "group": "speaker", "language": "language"}


class Counted(Silent):
    def __init__(self) -> None:
        self.done = 0

    def advance(self, done: int = 1) -> None:
        self.done += done


@pytest.fixture
def digest(load_from: Load, write_jsonl: Write, tmp_path: Path) -> Callable[..., str]:
    def run(rows: list[dict[str, Any]], workers: int = 2, progress: Any = None) -> str:
        write_jsonl("rows.jsonl", rows)
        dataset = load_from("./rows.jsonl", columns=COLUMNS)
        return fingerprint(dataset, workers, progress or Silent())

    for name in ("a", "b"):
        wave = np.random.default_rng(ord(name)).uniform(-0.5, 0.5, 800)
        (tmp_path / f"{name}.wav").write_bytes(encode_wav(wave, 16_000))
    return run


def row(**changes: Any) -> dict[str, Any]:
    return {"audio": "a.wav", "text": "one", "speaker": "s", "language": "en"} | changes


def test_it_is_the_same_for_any_number_of_threads(digest: Callable[..., str]) -> None:
    rows = [row(text=str(number)) for number in range(ROWS_PER_JOB * 2 + 3)]
    counted = Counted()
    assert digest(rows, 1) == digest(rows, 3, counted)
    assert counted.done == len(rows)


@pytest.mark.parametrize(
    "changed",
    [{"text": "two"}, {"audio": "b.wav"}, {"speaker": "t"}, {"language": "fr"}, {"audio": "none.wav"}],
    ids=lambda change: "-".join(change.values()),
)
def test_it_changes_with_what_is_learned(digest: Callable[..., str], changed: dict[str, str]) -> None:
    assert digest([row(), row()]) != digest([row(), row(**changed)])


def test_it_depends_on_the_order_and_the_number(digest: Callable[..., str]) -> None:
    rows = [row(text="one"), row(text="two")]
    assert len({digest(rows), digest(rows[::-1]), digest(rows[:1])}) == 3


def test_it_follows_the_file_behind_a_path(digest: Callable[..., str], tmp_path: Path) -> None:
    before = digest([row()])
    (tmp_path / "a.wav").write_bytes((tmp_path / "b.wav").read_bytes())
    assert digest([row()]) != before


def test_a_row_that_cannot_be_read_counts_by_its_id(digest: Callable[..., str]) -> None:
    broken = row(audio="none.wav")
    assert digest([row(), broken]) == digest([row(), broken | {"text": "unread"}])
    assert digest([row(), broken]) != digest([row()])


def test_a_commit_says_it_all(load_from: Load, write_jsonl: Write) -> None:
    write_jsonl("rows.jsonl", [row()])
    dataset = replace(load_from("./rows.jsonl", columns=COLUMNS), revision="c0ffee")
    counted = Counted()
    assert fingerprint(dataset, 1, counted) == "c0ffee"
    assert counted.done == 0, "no row is read"
