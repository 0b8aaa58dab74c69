"""Locales and names of data sets become the codes and tokens of a checkpoint."""

from __future__ import annotations

import pytest

from harness.errors import AdapterError
from harness.models.languages import Controls, language_code

BOTH = Controls("demo", {"en": 10, "fr": 11, "no": 12, "zh": 13}, {"transcribe": 20, "translate": 21}, 30)
NONE = Controls("demo.en", no_timestamps=30)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("en", "en"),
        ("en_us", "en"),
        ("en-US", "en"),
        ("English", "en"),
        ("cmn_hans_cn", "zh"),
        ("zh-CN", "zh"),
        ("mandarin", "zh"),
        ("yue_hant_hk", "yue"),
        ("nb_no", "no"),
        ("nn-NO", "nn"),
        ("fil_ph", "tl"),
        ("jv_id", "jw"),
        ("he_il", "he"),
        ("iw", "he"),
        ("es_419", "es"),
        ("pt_br", "pt"),
        ("haitian creole", "ht"),
        ("castilian", "es"),
        ("klingon", None),
        ("kea_cv", None),
        ("", None),
    ],
)
def test_locale_to_code(name: str, code: str | None) -> None:
    assert language_code(name) == code


def test_prefix_is_language_task_and_no_timestamps() -> None:
    assert BOTH.prefix("fr", "translate") == [11, 21, 30]
    assert NONE.prefix(None, "transcribe") == [30]
    assert Controls("moonshine").prefix(None, "transcribe") == []


def test_unknown_language_suggests_the_near_one() -> None:
    with pytest.raises(AdapterError, match="no language 'englsh'") as caught:
        BOTH.language("englsh")
    assert "'english'" in caught.value.hint


def test_language_that_the_checkpoint_lacks() -> None:
    with pytest.raises(AdapterError, match=r"doesn't know the language 'sw_ke' \(swahili\)"):
        BOTH.language("sw_ke")


def test_without_choice_only_english_or_nothing() -> None:
    assert NONE.language("en_us") is None
    assert NONE.language(None) is None
    with pytest.raises(AdapterError, match="no choice of language"):
        NONE.language("fr")
    with pytest.raises(AdapterError, match="can't translate"):
        NONE.check_task("translate")


def test_unknown_task_suggests_the_near_one() -> None:
    with pytest.raises(AdapterError) as caught:
        BOTH.check_task("transcribed")
    assert "'transcribe'" in caught.value.hint


def test_checkpoint_of_one_language_keeps_it() -> None:
    hindi = Controls("hindi", {"en": 1, "hi": 2}, {}, 3, own_language="hi")
    assert hindi.language(None) == "hi"
    assert hindi.language("en") == "en"
