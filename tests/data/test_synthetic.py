"""Data made on the spot: the same bytes for the same options, and what the options promise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.data import Dataset, Window
from harness.data.audio import EncodedAudio
from harness.data.digits import WORDS
from harness.data.dummy import DummyClips, DummyOptions
from harness.data.spoken_digits import SpokenDigits, SpokenDigitsOptions
from harness.errors import DataError, MediaError, RunError, UsageError
from harness.types import Audio

LoadFrom = Callable[..., Dataset]
COLUMNS = {"audio": "audio", "target": "target", "id": "id", "group": "group"}


def only_window(dataset: Dataset) -> Window:
    [window] = dataset.windows()
    return window


def spoken(split: str = "test", **options: Any) -> list[dict[str, Any]]:
    rows = SpokenDigits.rows(SpokenDigitsOptions(**{"n": 8, **options}), split)
    return [dict(rows[position]) for position in range(len(rows))]


def wave(row: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return EncodedAudio(row["audio"]["bytes"]).load(16_000)


def test_the_same_options_give_the_same_bytes() -> None:
    first, between, again = spoken(snr_db=10), spoken("train"), spoken(snr_db=10)
    assert first == again
    assert first != between
    assert spoken(n=4) == spoken(n=8)[:4]


def test_the_time_of_day_changes_nothing() -> None:
    options: dict[str, Any] = {
        "voices": ["en-us+f3"],
        "n": 2,
    }  # a breathy voice: the library's random numbers are heard
    first, second = spoken(**options), int(time.time())
    while int(time.time()) == second:  # the library's own seed is the time in seconds
        pass
    assert spoken(**options) == first


def test_a_row_says_what_is_spoken() -> None:
    for row in spoken():
        assert [WORDS[int(digit)] for digit in row["group"]] == row["target"].split()
        assert 0.3 < len(wave(row)) / 16_000 < 3.0
        assert np.abs(wave(row)).max() > 0.05


def test_voices_take_turns_and_sound_different() -> None:
    voices = ("en-us", "en-gb-scotland", "en-us+f3")
    rows = spoken(voices=voices)
    assert [row["voice"] for row in rows[:4]] == [*voices, "en-us"]
    one_string = [spoken(voices=[voice], digits=[1, 1], pitch=[50, 50])[0] for voice in voices]
    assert len({row["audio"]["bytes"] for row in one_string}) == 3


def test_train_and_test_share_no_string() -> None:
    options = {"n": 300, "digits": [3, 3]}
    train, test = ({row["group"] for row in spoken(split, **options)} for split in ("train", "test"))
    assert not train & test


def test_noise_has_the_asked_level() -> None:
    clean, noisy = spoken()[0], spoken(snr_db=0)[0]
    speech, mixed = wave(clean), wave(noisy)
    noise = mixed - speech * (np.dot(speech, mixed) / np.dot(speech, speech))
    assert 10 * np.log10(np.mean((mixed - noise) ** 2) / np.mean(noise**2)) == pytest.approx(0, abs=1)
    assert spoken(snr_db=0, noise="babble")[0]["audio"] != noisy["audio"]


def test_a_number_per_split() -> None:
    n = {"train": 3, "test": 2}
    assert (len(spoken("train", n=n)), len(spoken("test", n=n))) == (3, 2)
    with pytest.raises(DataError, match="no number for split 'validation'"):
        spoken("validation", n=n)


def test_unknown_voices_suggest_near_ones() -> None:
    with pytest.raises(DataError, match="no voice 'en-uss'") as caught:
        spoken(voices=["en-uss"])
    assert caught.value.hint == "Did you mean 'en-us'?"
    with pytest.raises(DataError, match="no voice 'f33'"):
        spoken(voices=["en-us+f33"])


def test_without_espeak_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(RunError) as caught:
        spoken()
    assert caught.value.hint == "Run: pip install espeakng-loader"


def test_wrong_options_are_all_named(load_from: LoadFrom) -> None:
    options = {"voises": ["en-us"], "n": "many", "digits": [5, 2]}
    with pytest.raises(DataError) as caught:
        load_from("synthetic:spoken_digits", columns=COLUMNS, options=options)
    message = caught.value.message
    assert "data.options.voises: there is no such option. Did you mean 'voices'?" in message
    assert "data.options.n: " in message
    assert "data.options.digits: [5, 2] is not a range" in message


def test_an_unknown_builder(load_from: LoadFrom) -> None:
    with pytest.raises(UsageError, match="spoken_digit") as caught:
        load_from("synthetic:spoken_digit", columns=COLUMNS)
    assert "spoken_digits" in caught.value.hint


def test_dummy_clips_are_ragged_and_repeat() -> None:
    rows = DummyClips.rows(DummyOptions(n=20, unreadable=(3,)), "test")
    again = DummyClips.rows(DummyOptions(n=20), "test")
    lengths = {len(rows[i]["audio"]["bytes"]) for i in range(20)}
    assert rows[5] == again[5] != rows[6]
    assert len(lengths) > 15
    with pytest.raises(MediaError):
        EncodedAudio(rows[3]["audio"]["bytes"]).load(16_000)


def test_a_hundred_thousand_clips_cost_their_ids(load_from: LoadFrom) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        window = only_window(load_from("synthetic:dummy", columns=COLUMNS, options={"n": 100_000}))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20e6
    assert (len(window), window.ids[99_999]) == (100_000, "test-099999")
    audio = window[99_999].inputs["audio"]
    assert isinstance(audio, Audio)
    assert audio.seconds() > 0
