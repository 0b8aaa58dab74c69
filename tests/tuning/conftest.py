"""A task that fine-tunes a tiny Whisper on sine tones in a second, and the command line in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from tests.conftest import Finished
from tests.models.tiny import tiny_whisper

TASK: dict[str, Any] = {
    "name": "group/tones",
    "kind": "asr",
    "params": {"seed": 0, "method": "lora", "rank": 2},
    "data": {
        "path": "synthetic:dummy",
        "options": {"n": 14, "seed": "{seed}", "seconds": [0.05, 0.2]},
        "columns": {"audio": "audio", "target": "target", "id": "id", "group": "group"},
    },
    "model": {"checkpoint": "./checkpoint"},
    "generate": {"language": "en", "max_new_tokens": 8},
    "metrics": ["wer", "cer"],
    "run": {"workers": 2},
    "train": {
        "method": "{method}",
        "lora": {"r": "{rank}"},
        "steps": 4,
        "batch": 4,
        "learning_rate": 0.01,
        "evaluate_every": 2,
        "data": {"options": {"n": 10}},
        "keep": [{"name": "other tones", "params": {"seed": 7}, "tolerance": 2}],
    },
}


@pytest.fixture(scope="session")
def base_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("base") / "checkpoint")


@pytest.fixture
def tuned_task(tmp_path: Path, base_checkpoint: Path) -> Callable[..., Path]:
    """Writes task.yaml beside its checkpoint; keywords of `train` replace those of the train section."""

    def write(train: dict[str, Any] | None = None, **changes: Any) -> Path:
        if not (tmp_path / "checkpoint").exists():
            shutil.copytree(base_checkpoint, tmp_path / "checkpoint")
        task = deepcopy(TASK) | changes
        task["train"] |= train or {}
        file = tmp_path / "task.yaml"
        file.write_text(json.dumps(task))
        return file

    return write


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Finished]:
    """`command("run", "task.yaml")` in the test's folder: as a user would, without a new process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))

    def run(*arguments: str) -> Finished:
        capsys.readouterr()
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return Finished(code, out, err)

    return run


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Networks this small only lose time by sharing their work among threads."""
    import torch

    torch.set_num_threads(1)
