"""Encoded micro-batches in order, made by threads a few ahead of the model.

A sample that can't be read, or that the family can't learn from (a target too long), is left out and named;
another takes its place, so that every step has its full number of samples.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from harness.data.augment import Augmenter
from harness.data.fingerprint import media_seconds
from harness.errors import HarnessError, RunError
from harness.models.base import Adapter, Batch
from harness.spec.training import SpecAugment
from harness.training.order import Draw, share
from harness.types import Sample

SPARES = 20
"""Samples that are tried in place of one that can't be used."""
AHEAD = 2
"""Micro-batches that wait for the model beyond those that threads work on."""

MakeSteps: TypeAlias = Callable[[int], Iterator[list[Draw]]]


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass takes: the encoded batch and the seconds of media in it."""

    batch: Batch
    media_seconds: float

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of its samples."""
        return tuple(sample.id for sample in self.batch.samples)


class Encoder:
    """Draws to encoded batches, perturbed as the task says. Safe to use from several threads."""

    def __init__(
        self, adapter: Adapter, augmenter: Augmenter | None, masks: SpecAugment | None, seed: int
    ) -> None:
        self._adapter = adapter
        self._augmenter = augmenter
        self._masks = masks
        self._seed = seed
        self.left_out: dict[str, str] = {}
        """Samples that could not be used: id to reason."""
        self.unperturbed: dict[str, str] = {}
        """Samples that were learned as they are, because perturbed they could not be used: id to reason."""

    def __call__(self, draws: Sequence[Draw]) -> MicroBatch:
        """Encode these draws with targets. Raises RunError when one can't be replaced either."""
        try:
            samples = [self._sample(draw) for draw in draws]
            batch = self._adapter.encode(samples, with_targets=True)
        except HarnessError:
            raise
        except Exception:  # noqa: BLE001 - the sample at fault is found, named and replaced
            samples = [self._usable(draw) for draw in draws]
            batch = self._adapter.encode(samples, with_targets=True)
        if self._masks is not None:
            random = [np.random.default_rng((self._seed, draw.place, 2)) for draw in draws]
            self._adapter.spec_augment(batch, self._masks, random)
        return MicroBatch(batch, sum(media_seconds(sample) for sample in samples))

    def _sample(self, draw: Draw, *, clean: bool = False) -> Sample:
        random = np.random.default_rng((self._seed, draw.place, 3))
        sample = self._adapter.chosen(draw.sample(), random)
        if self._augmenter is None or clean:
            return sample
        return self._augmenter(sample, np.random.default_rng((self._seed, draw.place)))

    def _usable(self, draw: Draw) -> Sample:
        """The sample, unperturbed if need be (slowed down it may be too long), or a spare."""
        for attempt in range(SPARES):
            chosen = draw.spare(self._seed, attempt) if attempt else draw
            reason = ""
            for clean in (False, True):
                try:
                    sample = self._sample(chosen, clean=clean)
                    self._adapter.encode([sample], with_targets=True)
                except HarnessError:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is named
                    reason = f"{type(error).__name__}: {error}"
                else:
                    if clean and self._augmenter is not None:
                        self.unperturbed[chosen.id] = reason
                    return sample
            self.left_out[chosen.id] = reason
        raise RunError(
            f"{SPARES} training samples in a row can't be used; '{chosen.id}': {reason}",
            "Look at one with --dry-run. Does the task fit the data?",
        )


class Loader:
    """This process's micro-batches from step `start` on, without an end.

    `waited_seconds` is how long the model has waited for them.
    """

    def __init__(
        self,
        encoder: Encoder,
        make_steps: MakeSteps,
        *,
        start: int = 0,
        micro: int | None = None,
        workers: int = 4,
        rank: int = 0,
        world: int = 1,
        pin: bool = False,
    ) -> None:
        self.encoder = encoder
        self.waited_seconds = 0.0
        self._make_steps = make_steps
        self._start = start
        self._share = (rank, world, micro)
        self._workers = workers
        self._pin = pin

    def __iter__(self) -> Iterator[MicroBatch]:
        waiting: deque[Future[MicroBatch]] = deque()
        parts = (part for step in self._make_steps(self._start) for part in share(step, *self._share))
        with ThreadPoolExecutor(self._workers, thread_name_prefix="encode") as pool:
            try:
                while True:
                    while len(waiting) < self._workers + AHEAD:
                        waiting.append(pool.submit(self._encode, next(parts)))
                    started = time.perf_counter()
                    micro = waiting.popleft().result()
                    self.waited_seconds += time.perf_counter() - started
                    yield micro
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _encode(self, draws: Sequence[Draw]) -> MicroBatch:
        micro = self.encoder(draws)
        if not self._pin:
            return micro
        tensors = {name: tensor.pin_memory() for name, tensor in micro.batch.tensors.items()}
        return replace(micro, batch=replace(micro.batch, tensors=tensors))
