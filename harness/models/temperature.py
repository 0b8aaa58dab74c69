"""The learned temperature of a dual encoder: read from its network, or from its files without loading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

from harness.models.cousins import Cousin
from harness.models.trained import EXTRA_PARAMETERS

if TYPE_CHECKING:
    from pathlib import Path

    from harness.models.weights import Weights

BIAS = "logit_bias"
HIGHEST = 100.0
"""Cosines are never multiplied by more (Radford et al. 2021)."""


@dataclass(frozen=True)
class Scales:
    """What cosines become logits by: factors from media to text and from text to media, and a bias.

    Float32 scalars: tensors with gradient, when they were read from a network.
    """

    forth: Any
    back: Any
    bias: Any


def of_network(network: Any, cousin: Cousin) -> Scales:
    """The scales of a network, whatever it is wrapped in for training."""
    wanted = {*cousin.scales, BIAS}
    found = {
        name.rpartition(".")[2]: parameter
        for name, parameter in network.named_parameters()
        if name.rpartition(".")[2] in wanted
    }
    return _scales(found, cousin)


def of_files(weights: Weights, cousin: Cousin) -> Scales | None:
    """The scales as the network would have them, read from safetensors files; None where that can't be."""
    import torch

    names = {*cousin.scales, BIAS}
    dtype = getattr(torch, weights.dtype)
    files = [path for path in weights.checkpoint.files() if path.suffix == ".safetensors"]
    found = {name: value.to(dtype) for path in files for name, value in _read(path, names).items()}
    if weights.adapter is not None:
        found |= _read(weights.adapter.folder / EXTRA_PARAMETERS, names)
    return _scales(found, cousin) if found.keys() >= set(cousin.scales) else None


def clamp(network: Any, cousin: Cousin) -> None:
    """Bring the scales of a softmax back to [1, 100], in place.

    Those of a sigmoid have no limit (Zhai et al. 2023; published ones are above 100).
    """
    import torch

    if cousin.scoring == "sigmoid":
        return
    low, high = (1 / HIGHEST, 1.0) if cousin.divides else (0.0, log(HIGHEST))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.rpartition(".")[2] in cousin.scales:
                parameter.clamp_(low, high)


def _scales(found: Mapping[str, Any], cousin: Cousin) -> Scales:
    forth, back = (found[name].float().reshape(()) for name in cousin.scales)
    forth, back = (1 / forth, 1 / back) if cousin.divides else (forth.exp(), back.exp())
    bias = found[BIAS].float().reshape(()) if BIAS in found else 0.0 * forth
    return Scales(forth, back, bias)


def _read(path: Path, names: set[str]) -> dict[str, Any]:
    """The tensors of these names in a safetensors file; none when there is no such file."""
    from safetensors import safe_open

    if not path.is_file():
        return {}
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in names & set(file.keys())}
