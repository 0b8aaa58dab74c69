"""The stand-in model does as it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import AdapterError, PredictionError
from harness.models import load
from harness.models.base import Adapter
from tests.models.clips import sample
from tests.tasks import task_of


def dummy(folder: Path, **options: Any) -> Adapter:
    (folder / "config.json").write_text(json.dumps({"model_type": "harness-dummy", **options}))
    return load(task_of(folder), base=folder)


def test_says_the_target(tmp_path: Path) -> None:
    made = dummy(tmp_path)
    assert made.predict(made.encode([sample(target="one two")]))[0].output == "one two"


def test_makes_the_same_mistakes_every_time(tmp_path: Path) -> None:
    made = dummy(tmp_path, error_rate=0.5)
    clips = [sample(0.1, seed, target="one two three four five") for seed in range(40)]
    outputs = made.predict(made.encode(clips))
    assert outputs == [made.predict(made.encode([clip]))[0] for clip in clips]
    wrong = sum(word.endswith("x") for output in outputs for word in str(output.output).split())
    assert 60 <= wrong <= 140


def test_fails_runs_out_of_memory_and_keeps_a_log(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    made = dummy(tmp_path, fail_ids=["2"], oom_above=2, log=str(log))
    with pytest.raises(MemoryError):
        made.predict(made.encode([sample(0.1, seed) for seed in range(3)]))
    with pytest.raises(PredictionError, match="'2'"):
        made.predict(made.encode([sample(0.1, 2)]))
    made.predict(made.encode([sample(0.1, 0), sample(0.1, 1)]))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["ids"], line["outcome"]) for line in lines] == [
        (["0", "1", "2"], "out of memory"),
        (["2"], "error"),
        (["0", "1"], "ok"),
    ]


def test_unknown_option_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="sleep"):
        dummy(tmp_path, sleep=1)
