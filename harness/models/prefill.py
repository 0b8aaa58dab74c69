"""Answers of a chat network to prompts that share their beginnings: written, or chosen among options."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

from harness.models.sequences import Prompts, joined, left_padded, media_of

__all__ = ["Prompts", "Scored", "Written", "generate", "option_scores"]


class Written(NamedTuple):
    """New token ids up to the end token, and whether the length limit came first."""

    ids: list[int]
    truncated: bool


class Scored(NamedTuple):
    """An option's log-probability (the sum over its tokens, natural logarithm) and how many it has."""

    logprob: float
    tokens: int


def generate(
    network: Any,
    prompts: Prompts,
    generation_config: Any,
    *,
    share: bool,  # noqa: ARG001
    streamer: Any = None,
) -> list[Written]:
    """What the network writes after each prompt.

    `generation_config` limits new tokens by `max_new_tokens`; `streamer` is transformers'.
    """
    config = copy(generation_config)
    config.pad_token_id = prompts.pad
    inputs = left_padded(joined(prompts))
    width = inputs["input_ids"].shape[1]
    rows = network.generate(
        **inputs,
        **media_of(prompts, prompts.prefix_of),
        generation_config=config,
        streamer=streamer,
    )
    ends = _ends(generation_config)
    return [_cut(row[width:], ends) for row in rows.tolist()]


def option_scores(
    network: Any,
    prompts: Prompts,
    options: Sequence[Sequence[Sequence[int]]],
    *,
    share: bool,  # noqa: ARG001
) -> list[list[Scored]]:
    """How likely each prompt's options (token ids, at least one) are as its answer, in their order."""
    import torch

    pairs = [row for row, own in enumerate(options) for _ in own]
    asked = replace(
        prompts,
        prefix_of=[prompts.prefix_of[row] for row in pairs],
        suffixes=[prompts.suffixes[row] for row in pairs],
    )
    answers = [list(ids) for own in options for ids in own]
    inputs = left_padded(joined(asked, answers)) | media_of(asked, asked.prefix_of)
    longest = max(map(len, answers))
    with torch.no_grad():
        logits = network(**_forward(network, inputs), logits_to_keep=longest + 1).logits[:, :-1]
    found = logits.float().log_softmax(-1).gather(-1, inputs["input_ids"][:, -longest:, None])[..., 0]
    sums = [row[-len(ids) :].sum().item() for row, ids in zip(found, answers, strict=True)]
    scored = iter([Scored(total, len(ids)) for total, ids in zip(sums, answers, strict=True)])
    return [[next(scored) for _ in own] for own in options]


def _forward(network: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """What a forward pass over whole prompts takes: as `generate` would prepare it, positions after pads."""
    inputs = dict(inputs)
    ids = inputs.pop("input_ids")
    positions = network._prepare_position_ids_for_generation(ids, inputs)
    found: dict[str, Any] = network.prepare_inputs_for_generation(
        ids, **inputs, position_ids=positions, is_first_iteration=True, use_cache=False
    )
    return found


def _ends(generation_config: Any) -> frozenset[int]:
    ends = generation_config.eos_token_id
    return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])


def _cut(row: list[int], ends: frozenset[int]) -> Written:
    for place, token in enumerate(row):
        if token in ends:
            return Written(row[:place], truncated=False)
    return Written(row, truncated=True)
