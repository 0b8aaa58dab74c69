"""Clips of noise that tests hear, and the samples and adapters around them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.models import load
from harness.models.whisper import Whisper
from harness.types import Audio, Sample
from tests.tasks import task_of

RATE_HZ = 16_000


class Clip(Audio):
    """A waveform in memory, 16 kHz."""

    def __init__(self, wave: NDArray[np.float32]) -> None:
        self.wave = wave

    def digest(self) -> str:
        return hashlib.sha256(self.wave.tobytes()).hexdigest()

    def seconds(self) -> float:
        return len(self.wave) / RATE_HZ

    def load(self, rate_hz: int) -> NDArray[np.float32]:
        assert rate_hz == RATE_HZ
        return self.wave


def noise(seconds: float, seed: int) -> Clip:
    """Noise that swells and fades at a pace of its own, so that tiny models hear a difference."""
    length = int(seconds * RATE_HZ)
    swell = np.sin(np.arange(length) / (300 * (seed + 1)))
    wave = np.random.default_rng(seed).standard_normal(length) * swell * 0.2
    return Clip(wave.astype(np.float32))


def sample(seconds: float = 0.5, seed: int = 0, *, target: Any = "hello the world", **meta: Any) -> Sample:
    """A sample with noise; keyword arguments become its mapped columns."""
    return Sample(f"{seed}", {"audio": noise(seconds, seed)}, target, f"{seed}", meta)


def adapter(folder: Path, *, dtype: Any = "auto", **generate: Any) -> Whisper:
    """The checkpoint in `folder` with these generation settings, on the CPU."""
    model = {"checkpoint": str(folder), "dtype": dtype}
    loaded = load(task_of(folder, model=model, generate=generate), base=folder, device="cpu")
    assert isinstance(loaded, Whisper)
    return loaded
