"""Character error rate: (substitutions + deletions + insertions) / reference characters."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS
from harness.metrics.edits import ErrorRate


@dataclass(frozen=True, config=OPTIONS)
class CharacterErrorRate(ErrorRate):
    """Characters are code points; spaces inside the text count (as in jiwer) unless told otherwise."""

    name: ClassVar[str] = "cer"
    columns: ClassVar[tuple[str, ...]] = ("substitutions", "deletions", "insertions", "characters")

    spaces: bool = True
    """Count the spaces between words; false for scripts without them (zh, ja, th)."""

    def units(self, text: str) -> str:
        """The characters of `text`, without white space at its ends or, with `spaces: false`, anywhere."""
        return text.strip() if self.spaces else "".join(text.split())

    @property
    def signature(self) -> str:
        """The error rate's own, and whether spaces count."""
        return f"{super().signature}|spaces:{'yes' if self.spaces else 'no'}"
