"""Text normalizers: what is stripped from prediction and target before they are compared.

The two of Whisper (Radford et al. 2022, appendix C) are those of transformers. The English one also needs
the British-to-American spellings that OpenAI publishes beside it, which transformers leaves to each
checkpoint's files; they are read from the `whisper_normalizer` distribution, whose list is byte for byte
OpenAI's. Without them scores would differ from published ones, so their absence is an error.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import TypeVar

from harness.errors import UsageError
from harness.registry import NORMALIZERS

Texts = TypeVar("Texts", str, list[str])

_ENGLISH = {"en", "eng", "english"}


def none(text: str) -> str:
    """`text` as it is."""
    return text


def lower(text: str) -> str:
    """`text` in lower case, with runs of white space as one space and none at its ends."""
    return " ".join(text.lower().split())


def whisper_english(text: str) -> str:
    """Whisper's English normalizer: contractions, numbers, spelling, punctuation, fillers.

    "..." becomes "." and stays. Raises UsageError when the list of spellings isn't installed.
    """
    return _english()(text)


def whisper_basic(text: str) -> str:
    """Whisper's normalizer for every other language: lower case, no brackets, no symbols, no punctuation.

    NFKC keeps accented letters, but a combining mark that has no composed form becomes a space, which
    breaks words of Devanagari, Thai and others. That is what the published scores have, so it is kept.
    """
    return _basic()(text)


def resolve(name: str, language: str | None) -> str:
    """The normalizer that `name` means for text in `language` ("en", "en_us", "en-GB", "english").

    "whisper" is whisper-english for English and whisper-basic for every other language, also for one
    that isn't known (None): numbers and spellings are rewritten only where the text is known to be English.
    Other names stand for themselves. Raises UsageError for an unknown name.
    """
    if name == "whisper":
        main = re.split("[-_]", (language or "").casefold())[0]
        return "whisper-english" if main in _ENGLISH else "whisper-basic"
    NORMALIZERS.get(name)
    return name


def normalized(texts: Texts, normalizer: Callable[[str], str]) -> Texts:
    """`texts`, one or a list of references, each normalised."""
    return normalizer(texts) if isinstance(texts, str) else [normalizer(text) for text in texts]


def signature(name: str) -> str:
    """What tells this normalizer's output from another's: its name, and which list of spellings it uses."""
    if name in ("whisper", "whisper-english"):
        return f"{name}+spellings.{hashlib.sha256(_spellings()).hexdigest()[:8]}"
    return name


@cache
def _english() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normalizer: Callable[[str], str] = EnglishTextNormalizer(json.loads(_spellings()))
    return normalizer


@cache
def _basic() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    normalizer: Callable[[str], str] = BasicTextNormalizer()
    return normalizer


@cache
def _spellings() -> bytes:
    """OpenAI's spellings as JSON, {British: American}."""
    try:
        return (files("whisper_normalizer") / "normalizers" / "english.json").read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise UsageError(
            "the normalizer whisper-english needs OpenAI's list of British spellings, which isn't installed",
            "Run: pip install whisper_normalizer",
        ) from error
