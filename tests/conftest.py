"""What most tests need: a folder of their own, and the command line in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with heavy tests first, the README's before all: of two workers none is left alone with one."""
    heavy = {item.path for item in items if item.get_closest_marker("heavy")}
    items.sort(key=lambda item: (item.path.name != "test_readme.py", item.path not in heavy))


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing outside the test's folder is read or written."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error::DeprecationWarning:harness",
        "HARNESS_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }


@pytest.fixture
def harness(tmp_path: Path, environment: dict[str, str]) -> Callable[..., Finished]:
    """`harness("run", "task.yaml")` in the test's folder, as a user would."""

    def run(*arguments: str, launcher: tuple[str, ...] = (), **variables: str) -> Finished:
        command = [sys.executable, "-m", *launcher, *(["harness"] if not launcher else []), *arguments]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def dummy_task(tmp_path: Path) -> Callable[..., Path]:
    """Writes task.yaml: the dummy model on dummy clips, with options of either."""

    def write(model: dict[str, Any] | None = None, run: dict[str, Any] | None = None, **clips: Any) -> Path:
        folder = tmp_path / "checkpoint"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "harness-dummy", **(model or {})}))
        task = {
            "name": "engine",
            "kind": "asr",
            "data": {
                "path": "synthetic:dummy",
                "options": clips,
                "columns": {"audio": "audio", "target": "target", "id": "id", "group": "group"},
            },
            "model": {"checkpoint": "./checkpoint"},
            "metrics": ["wer", "cer"],
            "run": run or {},
        }
        file = tmp_path / "task.yaml"
        file.write_text(json.dumps(task))  # JSON is YAML
        return file

    return write
