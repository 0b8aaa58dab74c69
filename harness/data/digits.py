"""What the data sets of digits share: their words, and how a split says how many it has."""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import DataError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def count_of(n: int | Mapping[str, int], split: str) -> int:
    """A builder's number for a split. Raises DataError when `n` names others only."""
    if isinstance(n, int):
        return n
    if split not in n:
        raise DataError(f"data.options.n has no number for split '{split}'", f"It has: {', '.join(n)}.")
    return n[split]
