"""Speech2Text through the file that runs Whisper; its tokenizer needs the optional package sentencepiece."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import AdapterError
from tests.models.clips import adapter, sample
from tests.models.test_whisper import prompts
from tests.models.tiny import tiny_speech2text


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_speech2text(tmp_path_factory.mktemp("s2t") / "multilingual", multilingual=True)


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_speech2text(tmp_path_factory.mktemp("s2t") / "english", multilingual=False)


def test_target_language_per_sample_comes_first(multilingual: Path) -> None:
    made = adapter(multilingual, language="fr")
    clips = [sample(0.5, 0), sample(0.5, 1, language="de_de")]
    with prompts(made.model) as seen:
        outputs = made.predict(made.encode(clips))
    ids = made.weights.processor.tokenizer.lang_code_to_id
    assert [row[1] for row in seen[0]] == [ids["fr"], ids["de"]]
    assert outputs == [made.predict(made.encode([clip]))[0] for clip in clips]
    assert all("<lang" not in output.output for output in outputs)


def test_labels_begin_with_the_language(multilingual: Path) -> None:
    made = adapter(multilingual, language="fr")
    tokenizer = made.weights.processor.tokenizer
    batch = made.encode([sample(target="hello the world")], with_targets=True)
    tokenizer.tgt_lang = "fr"
    assert batch.tensors["labels"][0].tolist() == tokenizer("hello the world").input_ids
    assert batch.tensors["decoder_input_ids"][0, 0] == made.model.config.decoder_start_token_id


def test_language_that_it_lacks(multilingual: Path) -> None:
    with pytest.raises(AdapterError, match="doesn't know the language 'sw_ke'"):
        adapter(multilingual, language="sw_ke")


def test_english_only(english: Path) -> None:
    made = adapter(english, language="en")
    batch = made.encode([sample(target="hello the world")], with_targets=True)
    tokenizer = made.weights.processor.tokenizer
    assert batch.tensors["labels"][0].tolist() == tokenizer("hello the world").input_ids
    assert made.predict(made.encode([sample()]))[0].tokens > 0
    with pytest.raises(AdapterError, match="no choice of language"):
        adapter(english, language="fr")
