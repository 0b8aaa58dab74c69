"""Four ways to damage a clip, five severities each; the constants are ours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Wave = NDArray[np.float32]  # shape (samples,), in [-1, 1]

SNR_DB = (20, 15, 10, 5, 0)
"""Mean power of the clip over that of white noise; as far apart as in studies of noisy speech."""
GAIN_DB = (6, 12, 18, 24, 30)
"""How far an overdriven input raises the level; what exceeds full scale is clipped."""
CUT_OFF_HZ = (6000, 4000, 3000, 2000, 1000)
"""Highest frequency that is left: wide-band speech has 7 kHz, a telephone 3.4 kHz."""
MASKED_SHARE = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Share of the clip that is silent, as packets that a network lost."""
MASK_SECONDS = 0.1
"""Length of a lost packet."""


def corrupted_wave(wave: Wave, rate_hz: int, kind: str, severity: int, random: np.random.Generator) -> Wave:
    """The clip, shape (samples,) at `rate_hz`, with the corruption of severity 1 to 5."""
    match kind:
        case "noise":
            return _noisy(wave, SNR_DB[severity - 1], random)
        case "gain":
            return np.asarray(np.clip(wave * 10 ** (GAIN_DB[severity - 1] / 20), -1, 1), np.float32)
        case "band_limit":
            return _low_passed(wave, rate_hz, CUT_OFF_HZ[severity - 1])
        case "time_mask":
            return _masked(wave, rate_hz, MASKED_SHARE[severity - 1], random)
    raise ValueError(f"{kind} is no corruption of audio")


def _noisy(wave: Wave, snr_db: float, random: np.random.Generator) -> Wave:
    """Silence stays silent; where the sum would clip, it is made quieter."""
    power = float(np.square(wave, dtype=np.float64).mean())
    noise = random.standard_normal(len(wave))
    noise *= math.sqrt(power / (np.square(noise).mean() * 10 ** (snr_db / 10)))
    mixed = wave + noise
    return (mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32)


def _low_passed(wave: Wave, rate_hz: int, cut_off_hz: float) -> Wave:
    spectrum = np.fft.rfft(wave)
    spectrum[np.fft.rfftfreq(len(wave), 1 / rate_hz) > cut_off_hz] = 0
    return np.clip(np.fft.irfft(spectrum, len(wave)), -1, 1).astype(np.float32)


def _masked(wave: Wave, rate_hz: int, share: float, random: np.random.Generator) -> Wave:
    """The same packets are lost at every rate, and those of a lower severity at a higher one, too."""
    packets = math.ceil(len(wave) / rate_hz / MASK_SECONDS)
    masked = wave.copy()
    for packet in random.permutation(packets)[: round(share * packets)]:
        start, end = (round((packet + edge) * MASK_SECONDS * rate_hz) for edge in (0, 1))
        masked[start:end] = 0
    return masked
