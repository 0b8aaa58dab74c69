"""Perturbation of training audio: speed, added noise, loudness, in this order.

All random numbers are drawn when a sample is perturbed; the clip itself is read and changed when it is
loaded, and each time in the same way, in whichever thread.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from harness.data.audio import EncodedAudio
from harness.data.media_folder import AUDIO_SUFFIXES
from harness.errors import DataError, MediaError
from harness.spec.digest import digest_of
from harness.spec.find import existing
from harness.types import Audio, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from harness.spec.training import Augment, Noise

SEEDS = 2**63


class Augmenter:
    """Perturbs samples as the task says. `base` is the task file's folder, which ./ is relative to.

    Safe to use from several threads. Raises DataError when the folder of noise isn't there or holds no audio.
    """

    def __init__(self, settings: Augment, base: Path) -> None:
        self._speed = settings.speed
        self._gain_db = settings.gain_db
        self._noise = settings.noise
        folder = settings.noise.folder if settings.noise else None
        self._recordings = _recordings(folder, base) if folder is not None else []

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """The sample with its audio perturbed: the same state of `random` gives the same samples.

        Nothing is read. Id, target, group and other inputs stay; silence stays silent.
        """
        inputs = {
            name: self._perturbed(value, random) if isinstance(value, Audio) else value
            for name, value in sample.inputs.items()
        }
        return replace(sample, inputs=inputs)

    def fingerprint(self) -> str:
        """SHA-256 (hex) over the recordings of noise, "" without any. Raises DataError for a broken one."""
        for recording in self._recordings:
            with _sound_noise():
                recording.seconds()
        return digest_of([recording.digest() for recording in self._recordings]) if self._recordings else ""

    def _perturbed(self, audio: Audio, random: np.random.Generator) -> Audio:
        if self._speed and (factor := float(random.choice(self._speed))) != 1:
            audio = AtSpeed(audio, factor)
        if self._noise is not None and random.random() < self._noise.probability:
            audio = self._with_noise(audio, self._noise, random)
        if self._gain_db is not None:
            audio = Louder(audio, float(random.uniform(*self._gain_db)))
        return audio

    def _with_noise(self, audio: Audio, noise: Noise, random: np.random.Generator) -> Audio:
        snr_db, seed = float(random.uniform(*noise.snr_db)), int(random.integers(SEEDS))
        if not self._recordings:
            return WithNoise(audio, None, snr_db, seed)
        recording = self._recordings[int(random.integers(len(self._recordings)))]
        return WithNoise(audio, recording, snr_db, seed)


@dataclass(frozen=True)
class Perturbed(Audio):
    """A clip that is changed when it is loaded. Its loudest sample is at most full scale, never clipped."""

    source: Audio

    def digest(self) -> str:
        values = [getattr(self, field.name) for field in fields(self)]
        return digest_of(
            [
                type(self).__name__,
                *(value.digest() if isinstance(value, Audio) else value for value in values),
            ]
        )

    def seconds(self) -> float:
        return self.source.seconds()

    def load(self, rate_hz: int) -> NDArray[np.float32]:
        return _within_full_scale(self._changed(self.source.load(rate_hz), rate_hz))

    @abstractmethod
    def _changed(self, wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        """Another waveform at the same rate."""


@dataclass(frozen=True)
class AtSpeed(Perturbed):
    """A clip played `factor` times as fast: shorter and higher when above 1 (Ko et al. 2015)."""

    factor: float

    def seconds(self) -> float:
        return self.source.seconds() / self.factor

    def _changed(self, wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        changed = soxr.resample(wave, rate_hz * self.factor, rate_hz, quality="HQ")
        if not len(changed):
            raise MediaError(f"{self.source}: nothing is left of the clip at {self.factor:g} times its speed")
        return np.ascontiguousarray(changed, dtype=np.float32)


@dataclass(frozen=True)
class Louder(Perturbed):
    """A clip whose level is raised (or lowered) by `gain_db`, as far as full scale allows."""

    gain_db: float

    def _changed(self, wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        return wave * np.float32(10 ** (self.gain_db / 20))


@dataclass(frozen=True)
class WithNoise(Perturbed):
    """A clip with noise: `snr_db` is the ratio of the clip's mean power to the noise's, in dB.

    The noise is white, or cut from a random place of `recording`, which repeats when it is shorter.
    """

    recording: Audio | None
    snr_db: float
    seed: int

    def _changed(self, wave: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        noise = self._noise(len(wave), rate_hz)
        noise_power = _power(noise)
        if not noise_power:
            return wave
        scale = math.sqrt(_power(wave) / noise_power) / 10 ** (self.snr_db / 20)
        return (wave + noise.astype(np.float64) * scale).astype(np.float32)

    def _noise(self, length: int, rate_hz: int) -> NDArray[np.float32]:
        random = np.random.default_rng(self.seed)
        if self.recording is None:
            return random.standard_normal(length, dtype=np.float32)
        with _sound_noise():
            noise = self.recording.load(rate_hz)
        places = len(noise) - length + 1 if len(noise) >= length else len(noise)
        return np.resize(np.roll(noise, -int(random.integers(places))), length)


@contextmanager
def _sound_noise() -> Iterator[None]:
    """Raises DataError, not MediaError: the clip isn't at fault, and without noise it would go unsaid."""
    try:
        yield
    except MediaError as error:
        raise DataError(
            f"a recording of noise can't be read: {error}",
            "Repair it, or take it out of train.augment.noise.folder.",
        ) from error


def _recordings(folder: str, base: Path) -> list[EncodedAudio]:
    found = existing(base / folder if folder.startswith(".") else folder)
    if found is None or not found.is_dir():
        hint = f"Looked in {base.resolve()}." if folder.startswith(".") else ""
        raise DataError(f"there is no folder '{folder}' (train.augment.noise.folder)", hint)
    files = sorted(_audio_files(found))
    if not files:
        raise DataError(
            f"the folder '{folder}' holds no audio (train.augment.noise.folder)",
            f"Files of noise end in {', '.join(sorted(AUDIO_SUFFIXES))}.",
        )
    return [EncodedAudio(file) for file in files]


def _audio_files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())


def _power(wave: NDArray[np.float32]) -> float:
    """Mean of the squares, in float64: float32 loses the small ones of a long clip."""
    return float(np.square(wave, dtype=np.float64).mean())


def _within_full_scale(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    peak = np.abs(wave).max()
    return wave / peak if peak > 1 else wave
