"""Losses that couple the samples of a step: each pair is told from all others of the whole step.

How a step is split, over micro-batches and processes, doesn't change its gradient: the loss is taken over the
embeddings of all of it, its gradients with respect to them are kept, and each micro-batch is then embedded
again and pushed along its own (cached gradients: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch
Size under Memory Limited Setup"). A step of one micro-batch is embedded only once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from harness.errors import RunError
from harness.models.base import Adapter, Batch
from harness.processes import Processes

ALIKE = 0.999
"""Least cosine of an embedding and the same one computed again: half precision explains that much."""

Sides: TypeAlias = tuple[Tensor, Tensor]
RandomState: TypeAlias = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class _Waiting:
    """A micro-batch that is still to be embedded with gradient: its embeddings, and what drew its dropout."""

    sides: Sides
    random: RandomState


@dataclass(frozen=True)
class _Learned:
    """A step's `loss`, and its gradients: for each micro-batch's embeddings, and for learned scales."""

    loss: Tensor
    sides: deque[Sides]
    scales: list[tuple[Tensor, Tensor]]
    passes: int


class CoupledLoss:
    """One step after the other: `begin` with all of its micro-batches, then `of` for each in its turn."""

    def __init__(self, adapter: Adapter, processes: Processes) -> None:
        self._adapter = adapter
        self._processes = processes
        self._device = adapter.weights.device
        self._waiting: deque[_Waiting] = deque()
        self._learned: _Learned | None = None
        self._cosines: list[Tensor] = []

    def begin(self, network: Any, batches: Iterable[Batch]) -> None:
        """Embed all micro-batches of a step without gradient; `batches` have their tensors on the device."""
        with torch.no_grad():
            for batch in batches:
                random = _random_state(self._device)
                self._waiting.append(_Waiting(self._adapter.pair_embeddings(network, batch), random))
        torch.clear_autocast_cache()  # where older torch finds weights that were cast without a gradient
        self._learned = self._learn(network, [waiting.sides for waiting in self._waiting])

    def of(self, network: Any, batch: Batch) -> Tensor:
        """This micro-batch's share of the step's loss, a sum over pairs; gradients add up to the step's.

        Its gradient is that of the mean over processes, which data parallel training takes. Raises RunError
        when a network doesn't embed a sample twice alike.
        """
        embed = self._again if self._waiting else self._adapter.pair_embeddings
        sides = embed(network, batch)
        learned = self._learned or self._learn(network, [_detached(sides)])
        pushed = sum(
            (side * gradient).sum() * self._processes.world
            for side, gradient in zip(sides, learned.sides.popleft(), strict=True)
        )
        # In every micro-batch, since the last one's backward pass must reach every parameter.
        pushed += sum((scale * gradient).sum() / learned.passes for scale, gradient in learned.scales)
        self._learned = learned if learned.sides else None
        assert isinstance(pushed, Tensor)
        return learned.loss / learned.passes + (pushed - pushed.detach())

    def _again(self, network: Any, batch: Batch) -> Sides:
        """The embeddings that `begin` made, this time with gradient."""
        waiting = self._waiting.popleft()
        _draw_again(waiting.random, self._device)
        sides = self._adapter.pair_embeddings(network, batch)
        self._cosines.append(_cosine(sides, waiting.sides))
        if not self._waiting:
            _check_alike(self._cosines)
            self._cosines.clear()
        return sides

    def _learn(self, network: Any, embedded: list[Sides]) -> _Learned:
        """The loss of a step over all processes' embeddings, and its gradients for this process's own."""
        left, right = (torch.cat(side).requires_grad_() for side in zip(*embedded, strict=True))
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        with torch.enable_grad(), torch.autocast(left.device.type, enabled=False):
            loss = self._adapter.pair_loss(network, self._everyones(left), self._everyones(right))
            of_left, of_right, *others = torch.autograd.grad(loss, [left, right, *trained], allow_unused=True)
        sizes = [len(side) for side, _ in embedded]
        return _Learned(
            loss.detach(),
            deque(zip(of_left.split(sizes), of_right.split(sizes), strict=True)),
            [(scale, slope) for scale, slope in zip(trained, others, strict=True) if slope is not None],
            len(embedded),
        )

    def _everyones(self, own: Tensor) -> Tensor:
        """All processes' embeddings; only one's own carry a gradient.

        Every process takes the whole loss, so its gradients for its own embeddings are all that it needs:
        nothing has to be sent backwards.
        """
        if self._processes.world == 1:
            return own
        found = [torch.empty_like(own) for _ in range(self._processes.world)]
        torch.distributed.all_gather(found, own.detach())
        found[self._processes.rank] = own
        return torch.cat(found)


def _random_state(device: str) -> RandomState:
    """What dropout draws from now: the CPU's generator and the device's."""
    return torch.get_rng_state(), None if device == "cpu" else torch.get_device_module(device).get_rng_state()


def _draw_again(state: RandomState, device: str) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.get_device_module(device).set_rng_state(state[1])


def _detached(sides: Sides) -> Sides:
    return sides[0].detach(), sides[1].detach()


def _cosine(one: Sides, other: Sides) -> Tensor:
    """That of the least alike embeddings."""
    found = [cosine_similarity(a.detach(), b, dim=-1).min() for a, b in zip(one, other, strict=True)]
    return torch.stack(found).min()


def _check_alike(cosines: list[Tensor]) -> None:
    """The gradient of one embedding must not be another's: refuse what draws numbers that aren't torch's."""
    least = float(torch.stack(cosines).min())
    if least < ALIKE:
        raise RunError(
            f"embeddings aren't the same when they are computed again (cosine {least:.4f}), so micro-batches "
            "can't share a contrastive loss",
            "The network draws random numbers that can't be drawn again. Leave out train.micro_batch.",
        )
