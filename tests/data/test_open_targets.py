"""Targets from no closed list, as data sets hold them: captions, and what several people answered."""

from __future__ import annotations

from typing import Any

import pytest

from harness.data.targets import open_targets
from harness.errors import RowError

PEOPLE = [{"answer": "cat", "answer_id": 1}, {"answer": "dog", "answer_id": 2}]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("captioning", "a cat\na dog\n", ["a cat", "a dog"]),
        ("captioning", ["a cat", " a dog "], ["a cat", "a dog"]),
        ("captioning", "a cat", ["a cat"]),
        ("vqa", PEOPLE, ["cat", "dog"]),
        ("vqa", {"answer": ["cat", "dog"], "answer_id": [1, 2]}, ["cat", "dog"]),
        ("vqa", "cat", "cat"),
        ("explanation", "It rhymes.\nTwice.", "It rhymes.\nTwice."),
        (None, 3, "3"),
    ],
)
def test_targets_are_read_as_their_kind_has_them(kind: str | None, value: Any, expected: Any) -> None:
    assert open_targets(kind).read(value, "target") == expected


def test_captions_of_nothing_are_a_fault() -> None:
    with pytest.raises(RowError, match="target has an empty caption"):
        open_targets("captioning").read(["a cat", " "], "target")
