"""WiSE-FT: weights between a base's and its fine-tune's (Wortsman et al. 2022).

A fine-tune is better on what it learned and worse on what it didn't; on the straight line between the two
there are often weights that keep most of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError

if TYPE_CHECKING:
    from torch import Tensor


def snapshot(model: Any) -> dict[str, Tensor]:
    """A copy of a network's numbers, by name, on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in _numbers(model, tied=True)}


def interpolate(model: Any, base: Mapping[str, Tensor], share: float) -> None:
    """Make every number of a fine-tuned network (1 - share) times its base's plus share times its own, in
    place.

    `share` is in [0, 1]; averages of batch norms are numbers too, counts aren't. Raises AdapterError when
    the two are not of one architecture.
    """
    import torch

    own = dict(_numbers(model, tied=False))
    other = [name for name in own if name not in base or base[name].shape != own[name].shape]
    if other:
        raise AdapterError(
            f"there is nothing between the fine-tune and its base: {len(other)} of their tensors are not in "
            f"both ({other[0]})",
            "They have to be of one architecture.",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(torch.lerp(base[name].to(tensor), tensor, share))


def new_head(name: str) -> AdapterError:
    """The error for a fine-tune with a head that its base doesn't have: the line has no other end."""
    return AdapterError(
        f"{name} was trained with a new head: its base has no weights for these classes to interpolate with",
        "Export it without --interpolate.",
    )


def _numbers(model: Any, *, tied: bool) -> Iterator[tuple[str, Any]]:
    """Parameters and buffers that aren't counts; `tied` ones under every name of theirs, or one."""
    for found in (model.named_parameters, model.named_buffers):
        for name, tensor in found(remove_duplicate=not tied):
            if tensor.is_floating_point():
                yield name, tensor
