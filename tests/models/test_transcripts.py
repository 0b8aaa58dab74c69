"""How the segments of a long clip become one text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.models.generation import Decoded
from harness.models.transcripts import Reader
from tests.models.clips import adapter, sample
from tests.models.tiny import whisper_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return whisper_tokenizer("multilingual", 50)


def read(tokenizer: Any, segments: list[str], *, spaced: bool) -> str:
    first_timestamp = tokenizer.convert_tokens_to_ids("<|0.00|>")
    parts = [
        [first_timestamp, *tokenizer(text, add_special_tokens=False).input_ids, first_timestamp + 1]
        for text in segments
    ]
    [output] = Reader(tokenizer, first_timestamp).outputs([Decoded(parts, truncated=False)], [spaced], [{}])
    assert output.tokens == sum(map(len, parts)) - 2 * len(parts)
    return str(output.output)


@pytest.mark.parametrize(
    ("segments", "text"),
    [
        (["four three", "one two"], "four three one two"),
        ([" four three", " one two"], "four three one two"),
        (["four ", "three", "", " one"], "four three one"),
        ([" four", "  three"], "four  three"),
        ([], ""),
    ],
)
def test_segments_of_a_spaced_language_stay_apart(tokenizer: Any, segments: list[str], text: str) -> None:
    assert read(tokenizer, segments, spaced=True) == text


def test_segments_of_an_unspaced_language_touch(tokenizer: Any) -> None:
    assert read(tokenizer, ["四三", "一二"], spaced=False) == "四三一二"


def test_character_across_two_segments_stays_whole(tokenizer: Any) -> None:
    ids = tokenizer("四三", add_special_tokens=False).input_ids
    clip = Decoded([ids[:4], ids[4:]], truncated=False)
    assert Reader(tokenizer, None).outputs([clip], [False], [{}])[0].output == "四三"


@pytest.mark.parametrize(
    ("settings", "apart"),
    [
        ({"language": "zh"}, False),
        ({"language": "yue"}, False),
        ({"language": "de"}, True),
        ({"language": "zh", "task": "translate"}, True),
    ],
)
def test_language_and_task_decide(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], apart: bool
) -> None:
    made = adapter(checkpoints["multilingual"], **settings)
    ids = made.weights.processor.tokenizer("one", add_special_tokens=False).input_ids
    clip = Decoded([ids, ids], truncated=False)
    monkeypatch.setattr("harness.models.generation.joined", lambda *_: clip)
    [output] = made.predict(made.encode([sample(1.5)]))
    assert output.output == ("one one" if apart else "oneone")
