"""The options of a multiple-choice question, as datasets hold them."""

from __future__ import annotations

import ast
from typing import Any

from harness.data.targets import text_of
from harness.errors import RowError
from harness.spec.prompting import LETTERS


def options_of(value: Any, what: str) -> tuple[str, ...]:
    """Two to 26 options, from a list of texts or from the text of such a list ("['yes', 'no']", as MMMU's).

    `what` is what messages call them. Raises RowError.
    """
    if isinstance(value, str):
        value = _parsed(value, what)
    if not isinstance(value, list | tuple):
        raise RowError(f"{what} holds {type(value).__name__}, not a list of options")
    options = tuple(text_of(option, what).strip() for option in value)
    if not 2 <= len(options) <= len(LETTERS):
        raise RowError(f"{what} has {len(options)} options: a choice has 2 to {len(LETTERS)}")
    if any(not option for option in options):
        raise RowError(f"{what} has an empty option")
    return options


def _parsed(text: str, what: str) -> Any:
    """JSON is nearly a part of Python's literals; what Python would call a name or a call isn't read."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise RowError(f"{what} holds text that is no list of options: {text[:60]!r}") from error
