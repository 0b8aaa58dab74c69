"""Checkpoints that several tests read and none writes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.networks import MAKERS


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny checkpoints by kind: a Whisper and two cousins."""
    root = tmp_path_factory.mktemp("bases")
    return {name: make(root / name) for name, make in MAKERS.items()}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here and in child processes: another number of threads adds up in another order, to other bits."""
    import torch

    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
