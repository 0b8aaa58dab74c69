"""Prompts as tensors: beginnings that several share, what each goes on with, both laid side by side.

Knows no task and no family: what a tensor is follows from its name and its shape, as transformers' processors
make them.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.errors import AdapterError

ALONG_TOKENS = (
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "mm_token_type_ids",
    "cross_attention_mask",
)
"""Tensors of shape (prompts, tokens, ...); whatever else a processor makes is media."""
GRIDS = {"pixel_values": "image_grid_thw", "pixel_values_videos": "video_grid_thw"}
"""Tensors with a row for each patch, of all media one after the other, and who says how many patches."""


@dataclass(frozen=True)
class Prompts:
    """Prompts whose beginnings are kept apart, so that what several share goes through the network once.

    `prefixes` is what the processor made of the distinct beginnings, as tensors on the network's device:
    left-padded `input_ids` and `attention_mask` (prefixes, tokens), cut after the last media token, and the
    media. `prefix_of` is each prompt's beginning, `suffixes` its token ids after it, at least one. `media` is
    how many images or clips each beginning has; one each when not given. `by_prompt` says that media tensors
    have a row for each beginning and not for each image (Idefics 3, Llama 3.2 Vision), where there are as
    many of both and shapes don't tell; `rows`, by a media tensor's name, how many of its rows each beginning
    has, where somebody counted. `answer_type` is the token type of what is answered (1 for PaliGemma).
    """

    prefixes: dict[str, Any]
    prefix_of: list[int]
    suffixes: list[list[int]]
    pad: int
    media: list[int] = field(default_factory=list)
    by_prompt: bool = False
    answer_type: int = 0
    rows: dict[str, list[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.suffixes)

    @property
    def counts(self) -> list[int]:
        """How many images or clips each beginning has."""
        return self.media or [1] * len(self.prefixes["input_ids"])

    @property
    def repeats(self) -> bool:
        """Whether any beginning is shared."""
        return len(set(self.prefix_of)) < len(self.prefix_of)


def joined(prompts: Prompts, answers: Sequence[Sequence[int]] = ()) -> dict[str, Any]:
    """Tensors along tokens of every prompt: its beginning, then its suffix (left-padded), then `answers`
    (token ids for each prompt, left-padded), with pads between them."""
    found = extended(taken(prompts.prefixes, prompts.prefix_of), prompts.suffixes, prompts.pad)
    return extended(found, answers, prompts.pad, prompts.answer_type) if answers else found


def taken(tensors: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """Rows of the tensors along tokens."""
    return {name: tensors[name][list(rows)] for name in ALONG_TOKENS if name in tensors}


def extended(
    tensors: dict[str, Any], ids: Sequence[Sequence[int]], pad: int, token_type: int = 0
) -> dict[str, Any]:
    """Tensors along tokens with more tokens behind, left-padded. They see of the media what the last did."""
    import torch

    width = max(map(len, ids))
    device = tensors["input_ids"].device
    rows = torch.tensor([[pad] * (width - len(row)) + list(row) for row in ids], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=device)
    found = {}
    for name, tensor in tensors.items():
        if name == "cross_attention_mask":
            more = tensor[:, -1:].expand(-1, width, *tensor.shape[2:])
        elif name == "token_type_ids":
            more = mask * token_type
        else:
            more = {"input_ids": rows, "attention_mask": mask}.get(name, torch.zeros_like(mask))
        found[name] = torch.cat([tensor, more.to(tensor.dtype)], dim=1)
    return found


def left_padded(tensors: dict[str, Any]) -> dict[str, Any]:
    """Tensors along tokens with every pad moved before the first token, and as few of them as can be."""
    import torch

    mask = tensors["attention_mask"]
    width = int(mask.sum(1).max())
    order = mask.argsort(dim=1, stable=True)[:, -width:]
    rows = torch.arange(len(order), device=order.device)[:, None]
    return {name: tensor[rows, order] for name, tensor in tensors.items()}


def media_tensors(prompts: Prompts, of: Sequence[int], only: Container[str] | None = None) -> dict[str, Any]:
    """The media tensors of these beginnings, one after the other: all, or `only` some.

    Raises AdapterError for a tensor whose rows can't be told apart.
    """
    names = [name for name in prompts.prefixes if name not in ALONG_TOKENS and (only is None or name in only)]
    if list(of) == list(range(len(prompts.prefixes["input_ids"]))):
        return {name: prompts.prefixes[name] for name in names}
    return {name: _rows_of(name, prompts, of) for name in names}


def _rows_of(name: str, prompts: Prompts, of: Sequence[int]) -> Any:
    import torch

    tensor = prompts.prefixes[name]
    parts = torch.as_tensor(tensor).split(_lengths(name, prompts))
    return torch.cat([parts[number] for number in of])


def _lengths(name: str, prompts: Prompts) -> list[int]:
    """How many rows of this tensor each beginning has."""
    if name in prompts.rows:
        return prompts.rows[name]
    rows, prefixes = len(prompts.prefixes[name]), len(prompts.prefixes["input_ids"])
    media = prompts.counts
    grid = prompts.prefixes.get(GRIDS.get(name, ""))
    if grid is not None:
        patches = iter(grid.prod(-1).tolist())
        return [sum(next(patches) for _ in range(count)) for count in media]
    if rows == sum(media) and not (prompts.by_prompt and rows == prefixes):
        return media
    if rows == prefixes:
        return [1] * prefixes
    raise AdapterError(f"'{name}' has {rows} rows for {prefixes} prompts with {sum(media)} images or clips")
