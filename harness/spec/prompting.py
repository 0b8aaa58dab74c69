"""The `prompt:` and `choice:` keys: what a chat model is asked, in the task's own words, and how it chooses.

Only words stand here. Templates, image placeholders, roles and special tokens are the adapter's.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Literal

from pydantic import field_validator

from harness.spec.section import Section

PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
"""Where a prompt has the value of a column."""
IMAGE_PLACE = re.compile(r"<image(?: \d+)?>")
"""Where a text has an image: <image>, or <image 2>. Without any, a prompt's images come before its words."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Names of options."""


class Choice(Section):
    """How one of several options is chosen, and how options are written in the prompt."""

    by: Literal["likelihood", "letter"] = "likelihood"
    """The option that the model finds most likely, or the letter that it writes."""
    answer: Literal["text", "letter"] = "text"
    """What of an option is its answer: its words or its letter. Likelihoods are of it, and training teaches
    it; a choice by letter always takes the letter."""
    normalize: Literal["none", "tokens", "bytes"] = "none"
    """Divide an option's log-likelihood by the number of its tokens or of its UTF-8 bytes."""
    format: str = "{letter}. {option}"
    """An option as `{options}` in the prompt lists it."""
    separator: str = "\n"
    """What stands between options in the prompt."""

    @field_validator("format")
    @classmethod
    def _has_an_option(cls, value: str) -> str:
        if set(PLACEHOLDER.findall(value)) - {"letter", "option"} or "{option}" not in value:
            raise ValueError(f"'{value}' needs {{option}}, may have {{letter}}, and nothing else in braces")
        return value

    @property
    def answers_letter(self) -> bool:
        """Whether the answer is a letter."""
        return self.by == "letter" or self.answer == "letter"


def unknown_columns(prompt: str, mapped: Container[str]) -> list[str]:
    """Names in the prompt's braces that no column has."""
    return [name for name in PLACEHOLDER.findall(prompt) if name not in mapped]
