"""Classes as a frozen text tower sees them: the mean of a class's prompts (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.models.texts import Texts
from harness.spec.classes import prompts

CHUNK = 256
"""Prompts that are embedded at once."""


@dataclass(frozen=True)
class PromptClassifier:
    """`weights`, float32 (classes, dimensions), L2-normalised; `tokens` of one prompt, (1, tokens)."""

    weights: Any
    tokens: dict[str, Any]


def prompt_classifier(
    model: Any, texts: Texts, names: Sequence[str], templates: Sequence[str]
) -> PromptClassifier:
    """Embed every prompt, normalise each, take the mean of each class's and normalise that, in float32.

    Nothing drops out and nothing is learned here, whatever the network is doing otherwise.
    """
    import torch
    from torch.nn.functional import normalize

    asked = [prompt for own in prompts(names, templates) for prompt in own]
    chunks = [texts.encode(asked[start : start + CHUNK])[0] for start in range(0, len(asked), CHUNK)]
    device = model.device
    with torch.no_grad(), evaluating(model), torch.autocast(device.type, enabled=False):
        found = [
            model.get_text_features(
                **{name: tensor.to(device) for name, tensor in chunk.items()}
            ).pooler_output
            for chunk in chunks
        ]
        embedded = normalize(torch.cat(found).float(), dim=-1)
        weights = normalize(embedded.unflatten(0, (len(names), len(templates))).mean(1), dim=-1)
    return PromptClassifier(weights, {name: tensor[:1] for name, tensor in chunks[0].items()})


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The network in evaluation mode; afterwards every module as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
