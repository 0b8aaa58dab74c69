"""A task's words with a sample's columns in them: which lines are left out."""

from __future__ import annotations

import pytest

from harness.errors import RowError
from harness.models.asking import Asking, filled
from harness.spec.prompting import Choice
from harness.types import Sample

WORDS = "Context: {hint}\n{question}\nTokens: {tokens}\nAnswer: {question} {hint}\nNow."


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"hint": "h", "tokens": ["a", "b"]}, "Context: h\nWhy?\nTokens: a, b\nAnswer: Why? h\nNow."),
        ({"hint": "", "tokens": ["a"]}, "Why?\nTokens: a\nAnswer: Why? \nNow."),
        ({"hint": "h", "tokens": []}, "Context: h\nWhy?\nAnswer: Why? h\nNow."),
        ({"hint": "0", "tokens": [0]}, "Context: 0\nWhy?\nTokens: 0\nAnswer: Why? 0\nNow."),
    ],
)
def test_a_line_of_nothing_is_left_out(values: dict[str, object], expected: str) -> None:
    assert filled(WORDS, {"question": "Why?", **values}, "s") == expected


def test_a_missing_value_is_a_fault_and_not_an_empty_one() -> None:
    with pytest.raises(RowError, match=r"sample 's': the prompt's \{hint\} is empty, not text"):
        filled("Context: {hint}", {"hint": None}, "s")


def test_every_mapped_column_can_stand_in_the_words() -> None:
    asking = Asking("vqa", "{id} of {group}: {question}", Choice())
    assert asking.text(Sample("s7", {"question": "why?"}, "so", "g3")) == "s7 of g3: why?"
