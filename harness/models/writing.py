"""How a decoder that sees an image writes: its settings, what it is given and learns, what it wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import RowError
from harness.models.base import IGNORED_LABEL
from harness.models.generation import positions, refuse_speech, samples

if TYPE_CHECKING:
    from harness.spec.schema import Generate

TARGETS = ("decoder_input_ids", "decoder_attention_mask", "labels")
"""What encoding with targets adds to a batch's tensors."""


@dataclass(frozen=True)
class Writer:
    """One checkpoint's decoder as a task has it write.

    `settings` is the generation config; a text begins with the token `start` and ends with one of `ends`, of
    which the first is learned; `room` is how many positions there are.
    """

    settings: Any
    start: int
    ends: tuple[int, ...]
    pad: int
    room: int

    @classmethod
    def of(
        cls,
        own: Any,
        config: Any,
        generate: Generate,
        *,
        start: int,
        end: int | Sequence[int],
        pad: int | None,
    ) -> Writer:
        """The checkpoint's generation config `own` with the task's wishes; `config` is the decoder's.

        Raises AdapterError for settings that only speech models have.
        """
        refuse_speech(generate)
        ends = (end,) if isinstance(end, int) else tuple(end)
        own.decoder_start_token_id, own.eos_token_id = start, list(ends)
        own.pad_token_id = pad = ends[0] if pad is None else pad
        own.num_beams, own.length_penalty = generate.num_beams, generate.length_penalty
        own.do_sample = samples(generate)
        own.temperature = generate.temperature if own.do_sample else 1.0
        own.min_new_tokens = generate.min_new_tokens
        if generate.suppress_tokens == "none":
            own.suppress_tokens, own.begin_suppress_tokens = [], []
        if generate.max_new_tokens is not None:
            own.max_new_tokens, own.max_length = generate.max_new_tokens, None
        elif own.max_new_tokens is None and own.max_length is None:
            own.max_length = positions(config)
        return cls(own, start, ends, pad, positions(config))

    def begun(self, prompt: Sequence[int], sample_id: str) -> list[int]:
        """The decoder's first ids: its start token, then the prompt's.

        Raises RowError when they leave no room for as many new ones as were asked for.
        """
        ids = [*prompt] if prompt and prompt[0] == self.start else [self.start, *prompt]
        new, most = self.settings.max_new_tokens, self.settings.max_length
        if new is not None and len(ids) + new > self.room:
            raise RowError(
                f"sample '{sample_id}': the prompt's {len(ids)} tokens and {new} new ones are more than the "
                f"decoder's {self.room} positions"
            )
        limit = self.room if new is not None or most is None else min(most, self.room)
        if new is None and len(ids) >= limit:
            raise RowError(
                f"sample '{sample_id}': the prompt's {len(ids)} tokens leave none of {limit} to write"
            )
        return ids

    def lesson(
        self, begun: Sequence[int], answer: Sequence[int], sample_id: str
    ) -> tuple[list[int], list[int]]:
        """The decoder's input ids and, as long, what is to follow each: nothing within the prompt, then the
        answer and its end.

        Raises RowError for an answer without a token or beyond the decoder's positions.
        """
        if not answer:
            raise RowError(f"sample '{sample_id}' has an empty text to learn from")
        ids = [*begun, *answer]
        if len(ids) > self.room:
            raise RowError(
                f"sample '{sample_id}': prompt and answer have {len(ids)} tokens, more than the decoder's "
                f"{self.room} positions"
            )
        return ids, [IGNORED_LABEL] * (len(begun) - 1) + [*answer, self.ends[0]]

    def tensors(self, lessons: Sequence[tuple[Sequence[int], Sequence[int]]]) -> dict[str, Any]:
        """`decoder_input_ids`, `decoder_attention_mask`, `labels`: int64 (lessons, longest), padded right.

        Padding is told by length, never by value: GPT-2 pads with the end token.
        """
        ids = [given for given, _ in lessons]
        return {
            "decoder_input_ids": padded(ids, self.pad),
            "decoder_attention_mask": padded([[1] * len(row) for row in ids], 0),
            "labels": padded([follows for _, follows in lessons], IGNORED_LABEL),
        }

    def written(self, row: Sequence[int], begun: int) -> tuple[list[int], bool]:
        """The ids of a row after its first `begun`, up to the end token, and whether that is missing."""
        new = list(row[begun:])
        for place, token in enumerate(new):
            if token in self.ends:
                return new[:place], False
        return new, True


def padded(rows: Sequence[Sequence[int]], value: int) -> Any:
    """Rows of numbers as one tensor, int64 (rows, longest), shorter ones filled up at the right."""
    import torch

    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.int64)


@contextmanager
def seeded(generate: Generate, device: str, keys: Sequence[str]) -> Iterator[None]:
    """Draws that depend on the seed and on what is asked, not on the order of the work."""
    import torch

    if not samples(generate):
        yield
        return
    key = " ".join([str(generate.seed), *keys])
    with torch.random.fork_rng([device] if device.startswith("cuda") else []):
        torch.manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) >> 1)
        yield
