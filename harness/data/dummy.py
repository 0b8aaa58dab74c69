"""Clips that cost nothing until they are listened to, for tests of the prediction engine."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

import numpy as np
from pydantic import Field, FiniteFloat, field_validator

from harness.data.audio import encode_wav
from harness.data.rows import Row, Rows
from harness.data.synthetic import Builder, Options

RATE_HZ = 16_000
Seconds: TypeAlias = Annotated[FiniteFloat, Field(gt=0)]
_WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")


class DummyOptions(Options):
    """Settings of `synthetic:dummy`."""

    n: int = Field(default=100, ge=1)
    """Clips per split."""
    seconds: tuple[Seconds, Seconds] = (0.05, 0.5)
    """Shortest and longest clip in seconds."""
    seed: int = Field(default=0, ge=0)
    """Changes lengths, tones and targets."""
    unreadable: tuple[int, ...] = ()
    """Positions whose clip is not an audio file."""

    @field_validator("seconds")
    @classmethod
    def _in_order(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError(f"{list(bounds)} is not a range: the smaller number comes first")
        return bounds


class DummyClips(Builder[DummyOptions]):
    """Sine tones of ragged lengths, each with its own target text. Columns: id, audio, target, group."""

    options_type: ClassVar[type[Options]] = DummyOptions

    @classmethod
    def rows(cls, options: DummyOptions, split: str) -> Rows:
        return _Clips(options, split)


class _Clips(Rows):
    columns = ("id", "audio", "target", "group")

    def __init__(self, options: DummyOptions, split: str) -> None:
        self._options = options
        self._split = split
        self._seed = (options.seed, *split.encode())

    def __len__(self) -> int:
        return self._options.n

    def __getitem__(self, position: int) -> Row:
        return {
            "id": self._id(position),
            "audio": {"bytes": self._wav(position), "path": f"{self._id(position)}.wav"},
            "target": self._target(position),
            "group": self._id(position),
        }

    def column(self, name: str) -> list[str]:
        if name in {"id", "group"}:
            return [self._id(position) for position in range(len(self))]
        return super().column(name)

    def _id(self, position: int) -> str:
        return f"{self._split}-{position:06d}"

    def _random(self, position: int) -> np.random.Generator:
        return np.random.default_rng((*self._seed, position))

    def _target(self, position: int) -> str:
        words = self._random(position).choice(_WORDS, size=2)
        return f"{words[0]} {words[1]} {position}"

    def _wav(self, position: int) -> bytes:
        if position in self._options.unreadable:
            return b"not an audio file"
        shortest, longest = self._options.seconds
        rng = self._random(position)
        seconds, tone_hz = rng.uniform(shortest, longest), rng.uniform(200, 2000)
        times = np.arange(max(1, round(seconds * RATE_HZ))) / RATE_HZ
        return encode_wav(0.3 * np.sin(2 * np.pi * tone_hz * times), RATE_HZ)
