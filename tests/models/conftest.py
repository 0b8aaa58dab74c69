"""Checkpoints that several tests read and none writes to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models.tiny import tiny_moonshine, tiny_whisper

MAKERS: dict[str, Callable[[Path], Path]] = {
    "bytes": lambda folder: tiny_whisper(folder, vocabulary="bytes"),
    "multilingual": lambda folder: tiny_whisper(folder, vocabulary="multilingual", d_model=24, layers=2),
    "english": lambda folder: tiny_whisper(folder, vocabulary="english", window_seconds=2),
    "moonshine": tiny_moonshine,
}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny checkpoints by name: three Whispers of different vocabularies and a cousin."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: make(root / name) for name, make in MAKERS.items()}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Models this small only lose time by sharing their work among threads."""
    import torch

    torch.set_num_threads(1)
