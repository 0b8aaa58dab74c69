"""The shipped base checkpoint: small, half precision, good at what it knows; and its script, which runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.models import resolve
from tests.models.clips import Clip
from tests.models.quickstart import FOLDER, check_same_bytes, script_of

DIGITS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}


@pytest.fixture(scope="module")
def script() -> Any:
    return script_of("train_spoken_digits")


def test_about_a_million_parameters_in_a_few_megabytes() -> None:
    checkpoint = resolve("./spoken_digits", None, base=FOLDER, offline=True)
    assert 0.9e6 < checkpoint.parameters() < 2e6
    assert checkpoint.bytes() < 4e6
    assert checkpoint.config()["dtype"] == "float16"


def test_knows_its_voices_and_not_the_others(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "TEST_CLIPS", 60)
    adapter = script.open_checkpoint(FOLDER / "spoken_digits")
    rates = {name: script.word_error_rate(adapter, choice) for name, choice in script.CONDITIONS.items()}
    known = rates.pop("known voices")
    assert known < 0.03
    assert all(0.1 < rate < 0.5 for rate in rates.values()), rates


def test_card_names_every_condition(script: Any) -> None:
    card = (FOLDER / "spoken_digits" / "README.md").read_text()
    assert all(f"| {name} (" in card for name in script.CONDITIONS)


@pytest.mark.heavy
def test_training_again_gives_the_same_bytes(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("model.safetensors", "README.md", "tokenizer.json", "generation_config.json")
    check_same_bytes(script, tmp_path, monkeypatch, files, CLIPS=40, TEST_CLIPS=4)


def test_long_audio_keeps_its_words_apart(script: Any) -> None:
    """Its transcripts begin without a space, so the window's joints have none of their own."""
    import numpy as np

    from harness.types import Sample

    adapter = script.open_checkpoint(FOLDER / "spoken_digits")
    names = tuple(DIGITS)
    short = script.clips(script.CONDITIONS["known voices"], "test", 16)
    waves = [clip.inputs["audio"].load(16_000) for clip in short]
    for start in range(0, 16, 4):
        wave = np.concatenate(waves[start : start + 4])
        long = Sample("long", {"audio": Clip(wave)}, "", "long", {})
        [output] = adapter.predict(adapter.encode([long]))
        glued = [word for word in output.output.split() if word not in DIGITS and word.startswith(names)]
        assert glued == []
