"""What a speech decoder is trained on: the tokens that choose language and task, the text, the end token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import RowError
from harness.models import generation
from harness.models.base import IGNORED_LABEL
from harness.types import Sample

if TYPE_CHECKING:
    from harness.models.languages import Controls

TARGETS = ("labels", "decoder_input_ids")
"""What encoding with targets adds to a batch's tensors."""


class Labels:
    """Makes labels as a checkpoint's decoder expects them.

    `settings` is its generation config; `positions` is how many tokens its decoder has room for.
    """

    def __init__(self, tokenizer: Any, controls: Controls, settings: Any, positions: int) -> None:
        self.start = int(settings.decoder_start_token_id)
        self._tokenizer = tokenizer
        self._controls = controls
        self._end = generation.end_token(settings)
        self._pad = int(settings.pad_token_id)
        self._positions = positions

    def row(self, sample: Sample, language: str | None, task: str) -> list[int]:
        """Prefix, text and end token; the decoder's start is not a label.

        Raises RowError for a target that is no text or has too many tokens.
        """
        if not isinstance(sample.target, str):
            raise RowError(f"sample '{sample.id}' has no text to learn from, but {sample.target!r}")
        # Not through the tokenizer's own prefix, which is a setting that threads would share.
        text = self._tokenizer(sample.target, add_special_tokens=False).input_ids
        labels = [*self._controls.prefix(language, task), *text, self._end]
        if len(labels) > self._positions:
            raise RowError(
                f"sample '{sample.id}' has a target of {len(labels)} tokens, more than {self._positions}"
            )
        return labels

    def tensors(self, rows: Sequence[list[int]]) -> dict[str, Any]:
        """`labels` and `decoder_input_ids`, int64 (clips, longest target); each label follows its input.

        Padding is told by length, never by value: Whisper pads with the end token. Labels get -100 there.
        """
        import torch

        width = max(map(len, rows))
        labels = [row + [IGNORED_LABEL] * (width - len(row)) for row in rows]
        inputs = [[self.start, *row[:-1]] + [self._pad] * (width - len(row)) for row in rows]
        return {"labels": torch.tensor(labels), "decoder_input_ids": torch.tensor(inputs)}
