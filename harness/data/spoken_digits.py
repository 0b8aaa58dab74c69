"""Strings of digits spoken by eSpeak NG: speech recognition's smallest data set, made on the spot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import soxr
from pydantic import Field, FiniteFloat, field_validator, model_validator

from harness.data.audio import encode_wav
from harness.data.digits import WORDS, count_of
from harness.data.espeak import Utterance, speak
from harness.data.rows import ListRows, Rows
from harness.data.synthetic import Builder, Options
from harness.registry import near

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE_HZ = 16_000
# Strings of this length or more belong to one split each; of shorter ones there are too few to share out.
_SHARED_OUT_FROM = 3
_SHARES = {"train": range(6), "validation": range(6, 8), "test": range(8, 10)}
_BABBLERS = 6
_KNOWN = ("en-us", "en-gb", "en-gb-scotland", "en-us+f3")
_UNHEARD = ("en-029", "en-gb-x-gbcwmd", "en-us+klatt2")
VOICES = {"known": _KNOWN, "unheard": _UNHEARD, "all": (*_KNOWN, *_UNHEARD)}
"""Sets of voices: what the quickstart's base checkpoint was trained on, what it never heard, and both."""
Count: TypeAlias = Annotated[int, Field(ge=1)]


class SpokenDigitsOptions(Options):
    """Settings of `synthetic:spoken_digits`."""

    voices: tuple[str, ...] = Field(default=VOICES["known"], min_length=1)
    """eSpeak NG voices, taken in turn: language codes with, perhaps, a variant (en-us+f3); or the name of a
    set: known (the quickstart's base checkpoint was trained on these), unheard (it never heard those), all of
    them."""
    n: Count | dict[str, Count] = 100
    """Utterances per split, or a number for each split's name."""
    digits: tuple[int, int] = (2, 5)
    """Fewest and most digits of an utterance."""
    seed: int = Field(default=0, ge=0)
    """Changes the strings, the jitter and the noise."""
    words_per_minute: tuple[int, int] = (150, 200)
    """Slowest and fastest speech."""
    pitch: tuple[int, int] = (35, 65)
    """Lowest and highest pitch, 0 to 99."""
    snr_db: FiniteFloat | None = None
    """Speech over noise in dB, over the whole utterance; no noise when not given."""
    noise: Literal["white", "babble"] = "white"
    """White noise, or six other utterances of the split at once."""

    @field_validator("voices", mode="before")
    @classmethod
    def _of_a_set(cls, voices: Any) -> Any:
        if isinstance(voices, str) and voices not in VOICES:
            raise ValueError(f"there is no set of voices '{voices}'. {near(voices, VOICES)}".strip())
        return VOICES[voices] if isinstance(voices, str) else voices

    @field_validator("digits", "words_per_minute", "pitch")
    @classmethod
    def _in_order(cls, bounds: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= bounds[0] <= bounds[1]:
            raise ValueError(f"{list(bounds)} is not a range: the smaller number comes first")
        return bounds

    @model_validator(mode="after")
    def _sayable(self) -> SpokenDigitsOptions:
        if self.digits[0] < 1:
            raise ValueError("digits: an utterance has at least one digit")
        if not (self.words_per_minute[0] >= 80 and self.words_per_minute[1] <= 450 and self.pitch[1] <= 99):
            raise ValueError("words_per_minute goes from 80 to 450, pitch from 0 to 99")
        return self


class SpokenDigits(Builder[SpokenDigitsOptions]):
    """Columns: id, audio (16 kHz mono wav), target ("three five nine"), group (the digits), voice.

    A string may be spoken by several voices, so the string is the cluster. The splits train, validation
    and test share no string of three digits or more. The same options give the same bytes with the same
    release of espeakng-loader on the same kind of machine.
    """

    options_type: ClassVar[type[Options]] = SpokenDigitsOptions

    @classmethod
    def rows(cls, options: SpokenDigitsOptions, split: str) -> Rows:
        """All rows, synthesised here and now: 100 utterances take about 0.2 s and 4 MB.

        A larger `n` adds rows behind the same first ones (babble aside, which mixes all of a split's rows).
        """
        random = [
            np.random.default_rng((options.seed, turn, *split.encode()))
            for turn in range(count_of(options.n, split))
        ]
        strings = [_draw(rng, options.digits, split) for rng in random]
        utterances = [_utterance(rng, options, strings[turn], turn) for turn, rng in enumerate(random)]
        waves = _spoken(utterances)
        if options.snr_db is not None:
            waves = list(_noisy(waves, options.snr_db, options.noise, random))
        rows = [
            _row(f"{split}-{index:05d}", digits, utterance, wave)
            for index, (digits, utterance, wave) in enumerate(zip(strings, utterances, waves, strict=True))
        ]
        return ListRows(rows, ("id", "audio", "target", "group", "voice"))


def _draw(rng: np.random.Generator, lengths: tuple[int, int], split: str) -> str:
    length = int(rng.integers(lengths[0], lengths[1], endpoint=True))
    while True:
        digits = "".join(map(str, rng.integers(10, size=length)))
        if length < _SHARED_OUT_FROM or split not in _SHARES or _share(digits) in _SHARES[split]:
            return digits


def _share(digits: str) -> int:
    """Which tenth of all strings this one falls into; the same on every machine and for every seed."""
    return hashlib.sha256(digits.encode()).digest()[0] % 10


def _utterance(rng: np.random.Generator, options: SpokenDigitsOptions, digits: str, turn: int) -> Utterance:
    return Utterance(
        " ".join(WORDS[int(digit)] for digit in digits),
        options.voices[turn % len(options.voices)],
        words_per_minute=int(rng.integers(*options.words_per_minute, endpoint=True)),
        pitch=int(rng.integers(*options.pitch, endpoint=True)),
    )


def _spoken(utterances: Sequence[Utterance]) -> list[NDArray[np.float32]]:
    waves, rate_hz = speak(utterances)
    return [soxr.resample(wave.astype(np.float32) / 32768, rate_hz, RATE_HZ, quality="HQ") for wave in waves]


def _noisy(
    waves: Sequence[NDArray[np.float32]], snr_db: float, kind: str, random: Sequence[np.random.Generator]
) -> Iterator[NDArray[np.float32]]:
    """Each wave with noise `snr_db` below its mean power, scaled back where the sum would clip."""
    for wave, rng in zip(waves, random, strict=True):
        noise = _babble(waves, len(wave), rng) if kind == "babble" else rng.standard_normal(len(wave))
        gain = np.sqrt(np.mean(wave**2) / (np.mean(noise**2) * 10 ** (snr_db / 10)))
        mixed = wave + gain * noise
        yield (mixed / max(1.0, float(np.abs(mixed).max()))).astype(np.float32)


def _babble(
    waves: Sequence[NDArray[np.float32]], length: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Several utterances at once, each repeated to `length` from a random place on."""
    total = np.zeros(length)
    for index in rng.integers(len(waves), size=_BABBLERS):
        other = np.roll(waves[index], int(rng.integers(len(waves[index]))))
        total += np.resize(other, length)
    return total


def _row(row_id: str, digits: str, utterance: Utterance, wave: NDArray[np.float32]) -> dict[str, Any]:
    return {
        "id": row_id,
        "audio": {"bytes": encode_wav(wave, RATE_HZ), "path": f"{row_id}.wav"},
        "target": utterance.text,
        "group": digits,
        "voice": utterance.voice,
    }
