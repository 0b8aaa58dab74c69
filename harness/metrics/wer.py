"""Word error rate: (substitutions + deletions + insertions) / reference words."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS
from harness.metrics.edits import ErrorRate


@dataclass(frozen=True, config=OPTIONS)
class WordErrorRate(ErrorRate):
    """Words are what white space separates (jiwer splits at spaces only; normalised text has no other)."""

    name: ClassVar[str] = "wer"
    columns: ClassVar[tuple[str, ...]] = ("substitutions", "deletions", "insertions", "words")

    def units(self, text: str) -> list[str]:
        """The words of `text`."""
        return text.split()
