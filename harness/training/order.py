"""Which samples each step learns from: the same ones whatever the hardware, at once from any step.

Samples are drawn in an endless sequence, pass after pass, each in a new seeded order; step k takes the k-th
`batch` of them. Nothing but the seed and the step decides, so a resumed run goes on with the very samples
that an uninterrupted one would have had.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice

import numpy as np

from harness.data import Dataset, Window
from harness.errors import SampleError, UsageError
from harness.spec.training import Train
from harness.types import Sample

STEPS_PER_GROUP = 50
"""Lengths are compared within this many steps: enough to find alike samples, and few headers to read."""
SPARES = 1000
"""Samples that are tried in place of one that is in a step already."""


@dataclass(frozen=True)
class Draw:
    """A sample's turn: its `place` in the endless sequence, and where to find it."""

    place: int
    window: Window
    row: int

    @property
    def id(self) -> str:
        """The sample's id."""
        return self.window.ids[self.row]

    def sample(self) -> Sample:
        """The sample, read now. Raises RowError."""
        return self.window[self.row]

    def spare(self, seed: int, attempt: int) -> Draw:
        """Another sample in this one's place, always the same one."""
        random = np.random.default_rng((seed, self.place, attempt))
        return Draw(self.place, self.window, int(random.integers(len(self.window))))


def number_of_steps(train: Train, size: int | None) -> int:
    """Steps of the whole training; `size` is the number of training samples, None for a stream."""
    if train.steps is not None:
        return train.steps
    assert train.epochs is not None
    assert size is not None, "a stream with epochs is refused when the task is read"
    return math.ceil(train.epochs * size / train.batch)


def draws(dataset: Dataset, seed: int, start: int = 0) -> Iterator[Draw]:
    """The endless sequence from place `start` on. What lies before is skipped without being decoded."""
    place = 0
    for epoch in count():
        for number, window in enumerate(dataset.windows()):
            end = place + len(window)
            if end > start:
                order = np.random.default_rng((seed, epoch, number)).permutation(len(window))
                for at in range(max(place, start), end):
                    yield Draw(at, window, int(order[at - place]))
            place = end


def steps(
    dataset: Dataset,
    batch: int,
    seed: int,
    *,
    start: int = 0,
    cost: Callable[[Sample], float] | None = None,
    workers: int = 1,
    distinct: bool = False,
) -> Iterator[list[Draw]]:
    """The samples of each step from `start` on; with `cost`, samples of similar cost share a step.

    `distinct`: no sample is in a step twice. Where one pass over the data ends and the next begins within a
    step, another takes its place. Raises UsageError when there are too few (`check_batch` tells before).
    """
    found = _steps(dataset, batch, seed, start, cost, workers)
    return (_distinct(step, seed) for step in found) if distinct else found


def _steps(
    dataset: Dataset,
    batch: int,
    seed: int,
    start: int,
    cost: Callable[[Sample], float] | None,
    workers: int,
) -> Iterator[list[Draw]]:
    if cost is None:
        sequence = draws(dataset, seed, start * batch)
        while True:
            yield list(islice(sequence, batch))
    first, skipped = divmod(start, STEPS_PER_GROUP)
    sequence = draws(dataset, seed, first * STEPS_PER_GROUP * batch)
    for number in count(first):
        group = list(islice(sequence, STEPS_PER_GROUP * batch))
        grouped = _alike(group, batch, cost, workers, np.random.default_rng((seed, number, 1)))
        yield from grouped[skipped:]
        skipped = 0


def _distinct(step: Sequence[Draw], seed: int) -> list[Draw]:
    found: dict[str, Draw] = {}
    for draw in step:
        spares = (draw.spare(seed, attempt) for attempt in range(1, SPARES))
        fresh = next((one for one in (draw, *spares) if one.id not in found), None)
        if fresh is None:
            raise _too_few(len(step))
        found[fresh.id] = fresh
    return list(found.values())


def check_batch(batch: int, size: int | None, *, distinct: bool) -> None:
    """Raises UsageError when `size` samples (None: nobody knows) can't fill a step with different ones, and
    for a step of one, where there is nothing to tell it from."""
    if distinct and batch == 1:
        raise UsageError(
            "train.batch: a pair is told from the others of its step, and in a step of 1 there are none",
            "Raise train.batch; train.micro_batch: 1 keeps memory low.",
        )
    if distinct and size is not None and size < batch:
        raise _too_few(batch)


def _too_few(batch: int) -> UsageError:
    return UsageError(
        f"train.batch: there are too few training samples for {batch} different ones in a step",
        "A pair that is in a step twice would be told from itself. Lower train.batch.",
    )


def _alike(
    group: Sequence[Draw],
    batch: int,
    cost: Callable[[Sample], float],
    workers: int,
    random: np.random.Generator,
) -> list[list[Draw]]:
    """The draws as batches of similar cost, the batches in random order."""

    def cost_of(draw: Draw) -> float:
        try:
            return cost(draw.sample())
        except SampleError:  # said when the sample's turn comes
            return 0.0

    with ThreadPoolExecutor(workers) as pool:
        costs = list(pool.map(cost_of, group))
    ordered = sorted(range(len(group)), key=lambda at: (costs[at], group[at].place))
    batches = [[group[at] for at in ordered[first : first + batch]] for first in range(0, len(group), batch)]
    return [batches[at] for at in random.permutation(len(batches))]


def share(step: Sequence[Draw], rank: int, world: int, micro: int | None) -> list[list[Draw]]:
    """This process's part of a step as micro-batches of nearly equal size."""
    mine = step[rank::world]
    parts = micro_batches(len(step), world, micro)
    return [[mine[at] for at in part] for part in np.array_split(np.arange(len(mine)), parts)]


def micro_batches(batch: int, world: int, micro: int | None) -> int:
    """Forward passes per step and process. Raises UsageError when processes would get unequal parts."""
    if batch % world:
        raise UsageError(
            f"train.batch is {batch} samples, which {world} processes can't share equally",
            f"Use --set train.batch={math.ceil(batch / world) * world}, or another number of processes.",
        )
    mine = batch // world
    return math.ceil(mine / min(micro or mine, mine))
