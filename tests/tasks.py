"""Tasks without a file, for tests that need one to load a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.spec.schema import Task


def task_of(checkpoint: Path | str, kind: str = "asr", *, column: str = "audio", **sections: Any) -> Task:
    """A task of this kind that runs the checkpoint; `column` is its input, `sections` what else it says."""
    section = {
        "name": "test",
        "kind": kind,
        "data": {"path": "nowhere", "columns": {column: column, "target": "target"}},
        "model": {"checkpoint": str(checkpoint)},
        "metrics": ["wer"],
    }
    return Task.model_validate(section | sections)
