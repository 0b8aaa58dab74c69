"""What the normalizers do to text: the facts of Whisper's protocol, and which one a language gets."""

import subprocess
import sys

import pytest

from harness.errors import UsageError
from harness.metrics import normalizers
from harness.metrics.normalizers import (
    lower,
    none,
    normalized,
    resolve,
    signature,
    whisper_basic,
    whisper_english,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("मैं ठीक हूँ", "म ठ क ह "),  # combining marks become spaces, also at the end
        ("Ça, c'est l'été !", "ça c est l été "),
        ("Straße [Lachen] (leise) ruhig", "straße ruhig"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("...", " "),
    ],
)
def test_whisper_basic(text, expected):
    assert whisper_basic(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Mr. Smith's colours aren't grey, um, catalogued",
            "mister smith is colors are not gray cataloged",
        ),
        ("twenty-one million dollars and fifty cents", "$21000000.50"),
        ("the 1960s, the twenty first", "the 1960s the 21st"),
        ("Café [noise] (aside)", "cafe"),
        ("...", "."),
        ("one", "one"),
    ],
)
def test_whisper_english(text, expected):
    assert whisper_english(text) == expected


def test_none_and_lower():
    assert none(" A  b\n") == " A  b\n"
    assert lower(" A  B\n") == "a b"


@pytest.mark.parametrize("language", ["en", "EN", "en_us", "en-GB", "eng", "English"])
def test_whisper_is_english_for_english(language):
    assert resolve("whisper", language) == "whisper-english"


@pytest.mark.parametrize("language", ["fr", "fr_fr", "french", "enm", "", None])
def test_whisper_is_basic_for_the_rest_and_for_an_unknown_language(language):
    assert resolve("whisper", language) == "whisper-basic"


def test_named_normalizers_ignore_the_language():
    assert resolve("whisper-english", "fr") == "whisper-english"
    assert resolve("none", "en") == "none"
    with pytest.raises(UsageError) as raised:
        resolve("whisper-englsh", "en")
    assert "whisper-english" in raised.value.hint


def test_normalized_takes_one_text_or_several():
    assert normalized("A", lower) == "a"
    assert normalized(["A", "B"], lower) == ["a", "b"]


def test_signature_names_openais_list_of_spellings():
    # SHA-256 of whisper/normalizers/english.json in openai/whisper
    assert signature("whisper-english") == "whisper-english+spellings.6607f948"
    assert signature("whisper") == "whisper+spellings.6607f948"
    assert signature("whisper-basic") == "whisper-basic"


def test_missing_spellings_are_an_error_and_not_an_empty_list(monkeypatch):
    def absent(package):
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(normalizers, "files", absent)
    normalizers._spellings.cache_clear()
    normalizers._english.cache_clear()
    with pytest.raises(UsageError) as raised:
        whisper_english("colour")
    assert raised.value.hint == "Run: pip install whisper_normalizer"
    assert whisper_basic("Couleur") == "couleur"


def test_importing_metrics_loads_no_models_library():
    code = (
        "import sys, harness.metrics.normalizers, harness.metrics.wer, harness.metrics.bleu;"
        "print({'torch', 'transformers', 'datasets', 'evaluate', 'sacrebleu'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"
