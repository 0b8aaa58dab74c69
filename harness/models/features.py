"""Encoding each image once for prompts that can't share their beginnings.

Where every token of a prompt sees the whole of it (PaliGemma), or where a prompt doesn't fit into a sliding
window, each prompt is read anew. Its images need not be. Names with an underscore are transformers' (5.23).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

from harness.models.sequences import GRIDS, Prompts, media_tensors

Media: TypeAlias = Callable[[Sequence[int]], dict[str, Any]]
"""From beginnings, some of them several times, to what a network takes of their media."""


def encoded(network: Any, prompts: Prompts) -> Media:
    """Hands out features that were made once of each image; media themselves where a network takes no
    features one by one (audio, features of several layers)."""
    import torch

    media = media_tensors(prompts, range(len(prompts.counts)))
    if "pixel_values" in media and network._supports_mm_encoder_outputs():
        with torch.no_grad():
            made = network._prepare_multimodal_encoder_kwargs_for_generation(media)["mm_encoder_outputs"]
        if _one_by_one(made, prompts.counts):
            return lambda of: _features(made["image"], prompts, of)
    return lambda of: media_tensors(prompts, of)


def _one_by_one(made: dict[str, Any], counts: Sequence[int]) -> bool:
    image = made.get("image")
    alone = len(made) == 1 and getattr(image, "deepstack_features", None) is None
    return image is not None and alone and len(image.pooler_output) == sum(counts)


def _features(made: Any, prompts: Prompts, of: Sequence[int]) -> dict[str, Any]:
    import torch

    ends = [0, *accumulate(prompts.counts)]
    rows = [row for number in of for row in range(ends[number], ends[number + 1])]
    found = copy.copy(made)
    pooled = made.pooler_output
    found.pooler_output = pooled[rows] if isinstance(pooled, torch.Tensor) else [pooled[row] for row in rows]
    return {"mm_encoder_outputs": {"image": found}} | media_tensors(prompts, of, GRIDS.values())
