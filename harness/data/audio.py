"""Audio clips as samples carry them: read, decoded and resampled only when they are asked for."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile as sf
import soxr

from harness.data.decoding import decode, duration
from harness.data.encoded import Encoded
from harness.errors import MediaError
from harness.types import Audio

if TYPE_CHECKING:
    from numpy.typing import NDArray


class EncodedAudio(Encoded, Audio):
    """A clip as a file, or as the bytes of one. Safe to use from several threads."""

    _what = "clip"

    def seconds(self) -> float:
        with self._open() as file:
            return duration(file, self._name)

    def load(self, rate_hz: int) -> NDArray[np.float32]:
        with self._open() as file:
            wave, source_rate_hz = decode(file, self._name)
        return _mono(wave, source_rate_hz, rate_hz, self._name)


class SampledAudio(Audio):
    """A clip that is decoded already: float or integer, shape (samples,) or (samples, channels).

    Raises MediaError when `samples` is anything else.
    """

    def __init__(self, samples: NDArray[Any], rate_hz: int, *, name: str = "audio") -> None:
        wave = _numbers(samples, name)
        full_scale = np.iinfo(wave.dtype).max + 1 if np.issubdtype(wave.dtype, np.signedinteger) else 1
        with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite: a MediaError later
            self._wave = (wave / full_scale).astype(np.float32)
        self._rate_hz = rate_hz
        self._name = name

    def __repr__(self) -> str:
        return f"SampledAudio({self._name!r})"

    def digest(self) -> str:
        header = f"{self._wave.shape} at {self._rate_hz} Hz ".encode()
        return hashlib.sha256(header + self._wave.tobytes()).hexdigest()

    def seconds(self) -> float:
        return len(self._wave) / self._rate_hz

    def load(self, rate_hz: int) -> NDArray[np.float32]:
        wave = self._wave if self._wave.ndim == 2 else self._wave[:, np.newaxis]
        return _mono(wave, self._rate_hz, rate_hz, self._name)


def encode_wav(wave: NDArray[np.floating[Any]], rate_hz: int) -> bytes:
    """A mono waveform, shape (samples,), as a 16-bit PCM wav file; clipped to [-1, 1]."""
    buffer = io.BytesIO()
    sf.write(buffer, np.clip(wave, -1.0, 1.0), rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _numbers(samples: Any, name: str) -> NDArray[Any]:
    try:
        wave = np.asarray(samples)
    except (ValueError, TypeError, OverflowError) as error:
        raise MediaError(f"{name}: the clip's samples are no array: {error}") from error
    if wave.dtype.kind not in "iuf" or wave.ndim not in (1, 2):
        raise MediaError(
            f"{name}: the clip's samples are {wave.dtype} of shape {wave.shape}, not numbers of shape "
            "(samples,) or (samples, channels)"
        )
    return wave


def _mono(wave: NDArray[np.float32], source_rate_hz: int, rate_hz: int, name: str) -> NDArray[np.float32]:
    """(samples, channels) at one rate to (samples,) at another: mean of the channels, soxr's HQ resampler."""
    if not wave.size:
        raise MediaError(f"{name}: the clip holds no samples")
    with np.errstate(over="ignore", invalid="ignore"):  # said below, as an error
        mono = wave.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise MediaError(f"{name}: the clip holds samples that are not finite numbers")
    if source_rate_hz != rate_hz:
        mono = soxr.resample(mono, source_rate_hz, rate_hz, quality="HQ")
    if not len(mono):
        raise MediaError(f"{name}: the clip is shorter than one sample at {rate_hz} Hz")
    return np.ascontiguousarray(mono, dtype=np.float32)
