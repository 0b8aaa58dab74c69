"""Answers of a chat network to prompts that share their beginnings: written, or chosen among options.

Shared or not, the answers are the same: tokens exactly, log-probabilities up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from harness.models.continuation import can_continue, forward, grids_of, positions, prefilled, selected
from harness.models.features import encoded
from harness.models.sequences import Prompts, extended, joined, left_padded, media_tensors, taken

T = TypeVar("T")
__all__ = ["Prompts", "Scored", "Written", "generate", "option_scores"]

Pair: TypeAlias = tuple[int, list[int]]
"""A prompt's number and the token ids of one of its options."""


class Written(NamedTuple):
    """New token ids up to the end token, and whether the length limit came first."""

    ids: list[int]
    truncated: bool


class Scored(NamedTuple):
    """An option's log-probability (the sum over its tokens, natural logarithm) and how many it has."""

    logprob: float
    tokens: int


def generate(
    network: Any, prompts: Prompts, generation_config: Any, *, share: bool, streamer: Any = None
) -> list[Written]:
    """What the network writes after each prompt.

    `generation_config` limits new tokens by `max_new_tokens`, and may ask for beams. With `share` a beginning
    goes through the network once, where the network's cache allows it (`can_continue`).
    """
    config = copy(generation_config)
    config.pad_token_id = prompts.pad
    if share and prompts.repeats and can_continue(network, prompts, config.max_new_tokens):
        inputs = joined(prompts) | grids_of(prompts)
        inputs["position_ids"] = positions(network, inputs)
        rows = [row for row in prompts.prefix_of for _ in range(config.num_beams or 1)]
        inputs["past_key_values"] = selected(prefilled(network, prompts), rows)
    else:
        media = encoded(network, prompts) if prompts.repeats else partial(media_tensors, prompts)
        inputs = left_padded(joined(prompts)) | media(prompts.prefix_of)
    width = inputs["input_ids"].shape[1]
    found = network.generate(**inputs, generation_config=config, streamer=streamer)
    return [_cut(row[width:], _ends(config)) for row in found.tolist()]


def option_scores(
    network: Any, prompts: Prompts, options: Sequence[Sequence[Sequence[int]]], *, share: bool
) -> list[list[Scored]]:
    """How likely each prompt's options (token ids, at least one) are as its answer, in their order.

    With `share` every beginning and every question go through the network once, whatever the options.
    """
    pairs = [(row, list(ids)) for row, own in enumerate(options) for ids in own]
    longest = max(len(ids) for _, ids in pairs)
    if share and can_continue(network, prompts, longest):
        found = _behind_prompts(network, prompts, pairs)
    else:
        found = _each_anew(network, prompts, pairs)
    scored = iter([Scored(total, len(ids)) for total, (_, ids) in zip(found, pairs, strict=True)])
    return [[next(scored) for _ in own] for own in options]


def _each_anew(network: Any, prompts: Prompts, pairs: Sequence[Pair]) -> list[float]:
    """Log-probabilities, from a forward pass over prompt and option for each, as many at once as prompts."""
    found: list[float] = []
    media = encoded(network, prompts)
    for part in _parts(pairs, len(prompts)):
        asked, answers = _of(prompts, [row for row, _ in part]), [ids for _, ids in part]
        inputs = left_padded(joined(asked, answers)) | media(asked.prefix_of)
        logits = forward(network, inputs, keep=max(map(len, answers)) + 1)
        found += _sums(logits[:, :-1], answers)
    return found


def _behind_prompts(network: Any, prompts: Prompts, pairs: Sequence[Pair]) -> list[float]:
    """Log-probabilities, from one pass over the prompts and one over options after their first token."""
    inputs, suffix = joined(prompts), max(map(len, prompts.suffixes))
    cache = selected(prefilled(network, prompts), prompts.prefix_of)
    first = forward(network, inputs | grids_of(prompts), cache, keep=1, new=suffix)
    found = _sums(first[[row for row, _ in pairs]], [ids[:1] for _, ids in pairs])
    longer = [number for number, (_, ids) in enumerate(pairs) if len(ids) > 1]
    for numbers in _parts(longer, len(prompts)):
        rows = [pairs[number][0] for number in numbers]
        given, wanted = zip(
            *((pairs[number][1][:-1], pairs[number][1][1:]) for number in numbers), strict=True
        )
        behind = extended(taken(inputs, rows), given, prompts.pad)
        new = max(map(len, given))
        logits = forward(
            network, behind | grids_of(_of(prompts, rows)), selected(cache, rows), keep=new, new=new
        )
        for number, more in zip(numbers, _sums(logits, wanted), strict=True):
            found[number] += more
    return found


def _sums(logits: Any, answers: Sequence[Sequence[int]]) -> list[float]:
    """Log-probabilities of these token ids, each of which the last logits of its row foretell."""
    import torch

    found = []
    for row, ids in zip(logits.log_softmax(-1), answers, strict=True):
        places = torch.arange(len(row) - len(ids), len(row), device=row.device)
        found.append(row[places, torch.tensor(ids, device=row.device)].sum())
    return torch.stack(found).tolist()  # type: ignore[no-any-return]


def _of(prompts: Prompts, rows: Sequence[int]) -> Prompts:
    """These prompts, some of them several times."""
    return replace(
        prompts,
        prefix_of=[prompts.prefix_of[row] for row in rows],
        suffixes=[prompts.suffixes[row] for row in rows],
    )


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _ends(config: Any) -> frozenset[int]:
    ends = config.eos_token_id
    return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])


def _cut(row: list[int], ends: frozenset[int]) -> Written:
    for place, token in enumerate(row):
        if token in ends:
            return Written(row[:place], truncated=False)
    return Written(row, truncated=True)
