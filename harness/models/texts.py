"""Texts as the text tower of a dual encoder takes them."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

from harness.models.cousins import Cousin


class Texts:
    """Tokenises for one checkpoint, in any thread; `positions` is how many tokens its tower can take."""

    def __init__(self, tokenizer: Any, cousin: Cousin, positions: int) -> None:
        self._tokenizer = tokenizer
        self._cousin = cousin
        self.length = min(cousin.length or positions, positions, int(tokenizer.model_max_length))
        """Longest text in tokens, special ones included."""
        self._lock = Lock()  # padding and truncation are settings that a fast tokenizer's threads share

    def encode(self, texts: Sequence[str]) -> tuple[dict[str, Any], list[bool]]:
        """`input_ids` and what else the tokenizer makes, int64 (texts, tokens); and which texts were cut.

        A longer text is cut at the limit, as in training; its end token stays.
        """
        texts = [text.lower() for text in texts] if self._cousin.lower else list(texts)
        with self._lock:
            whole = self._tokenizer(texts, verbose=False).input_ids
            tensors = dict(
                self._tokenizer(
                    texts,
                    padding=self._cousin.padding,
                    truncation=True,
                    max_length=self.length,
                    return_tensors="pt",
                )
            )
        if not self._cousin.masked:
            tensors.pop("attention_mask", None)
        return tensors, [len(ids) > self.length for ids in whole]

    def tokens(self, text: str) -> list[str]:
        """The tokens that the text tower sees of a text, padding left out."""
        text = text.lower() if self._cousin.lower else text
        with self._lock:
            ids = self._tokenizer(text, truncation=True, max_length=self.length).input_ids
        return [str(token) for token in self._tokenizer.convert_ids_to_tokens(ids)]
