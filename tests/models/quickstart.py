"""The scripts that made the shipped checkpoints, as modules that tests can shrink and run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "tasks" / "quickstart" / "checkpoints"


def script_of(name: str) -> Any:
    """The script `name`.py beside the checkpoints, as a module."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def check_same_bytes(
    script: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, files: Sequence[str], **sizes: int
) -> None:
    """Two short trainings write the same `files`; `sizes` are the script's constants, made smaller."""
    import torch

    for name, size in sizes.items():
        monkeypatch.setattr(script, name, size)
    try:
        for name in ("first", "second"):
            monkeypatch.setattr(sys, "argv", ["train", "--out", str(folder / name), "--steps", "3"])
            script.main()
    finally:
        torch.use_deterministic_algorithms(mode=False)
    for file in files:
        assert (folder / "first" / file).read_bytes() == (folder / "second" / file).read_bytes()
