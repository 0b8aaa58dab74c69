"""Prefilling a beginning once and going on from it with every prompt that shares it.

Causal attention makes keys and values of a beginning independent of what follows, so they are computed once
for each distinct one, media and all, and every prompt takes over the rows of its own. Behind them comes the
prompt's left-padded rest: pads stand in the middle, where the attention mask hides them, and positions count
real tokens only, so every token is where it would be in a prompt of its own. Nothing is kept between calls.

Names with an underscore are transformers' (5.23): they are how `generate` itself counts positions (Qwen-VL
has three for each token) and asks what a network takes. The other way would be a copy of each family's rules.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from harness.models.sequences import GRIDS, Prompts, media_tensors


def new_cache(network: Any) -> Any:
    """An empty cache of the network's kind, as `generate` would make it."""
    from transformers import DynamicCache

    return DynamicCache(config=network.config.get_text_config(decoder=True))


def can_continue(network: Any, prompts: Prompts, more: int) -> bool:
    """Whether the network's cache bears pads in the middle of prompts of this length and `more` tokens.

    A sliding window counts places, pads included, so all has to fit into it; states of convolutions and
    linear attention have no places at all.
    """
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    beginning = prompts.prefixes["input_ids"].shape[1]
    length = beginning + max(map(len, prompts.suffixes)) + more
    layers = new_cache(network).layers
    windows = [layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)]
    attends = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    return beginning > 0 and attends and all(length < window for window in windows)


def prefilled(network: Any, prompts: Prompts) -> Any:
    """A cache of the distinct beginnings, a row for each: one vision pass and one prefill."""
    cache = new_cache(network)
    forward(network, prompts.prefixes, cache, keep=1)
    return cache


def grids_of(prompts: Prompts) -> dict[str, Any]:
    """What positions depend on of each prompt's media."""
    return media_tensors(prompts, prompts.prefix_of, GRIDS.values())


def positions(network: Any, inputs: dict[str, Any]) -> Any:
    """Positions of every token of whole prompts as the network counts them, pads left out."""
    others = {name: value for name, value in inputs.items() if name != "input_ids"}
    return network._prepare_position_ids_for_generation(inputs["input_ids"], others)


def selected(cache: Any, rows: Sequence[int]) -> Any:
    """A cache of these rows of another, which stays as it was."""
    import torch

    found = copy.copy(cache)
    found.layers = [copy.copy(layer) for layer in cache.layers]
    found.batch_select_indices(torch.tensor(rows))
    return found


def forward(
    network: Any, inputs: dict[str, Any], cache: Any = None, *, keep: int, new: int | None = None
) -> Any:
    """Logits of the last `keep` tokens, shape (prompts, keep, vocabulary), float32.

    Of whole prompts only the `new` last tokens run where the cache has the ones before; it takes these up.
    """
    import torch

    settings: dict[str, Any] = {"use_cache": cache is not None, "past_key_values": cache}
    if network._supports_logits_to_keep():
        settings["logits_to_keep"] = keep
    with torch.no_grad():
        prepared = network.prepare_inputs_for_generation(
            **inputs,
            **settings,
            position_ids=positions(network, inputs),
            next_sequence_length=new,
            is_first_iteration=new is None,
        )
        return network(**prepared).logits[:, -keep:].float()
