"""The training samples of a probe: all of a split, or a few of each class, drawn by a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from harness.data.fingerprint import content_digest
from harness.errors import SampleError
from harness.evaluation.plan import Samples, Source
from harness.types import Sample

_COMPARED = 8


@dataclass(frozen=True)
class Chosen:
    """Some of a source's samples. `places` are their numbers in it, in its order."""

    source: Source
    places: Sequence[int]

    def windows(self) -> Iterator[Samples]:
        """Windows with these samples alone."""
        first, left = 0, iter(self.places)
        place = next(left, None)
        for window in self.source.windows():
            own = []
            while place is not None and place < first + len(window):
                own.append(place - first)
                place = next(left, None)
            if own:
                yield _Part(window, own)
            first += len(window)


class _Part:
    """Some samples of a window."""

    def __init__(self, window: Samples, rows: Sequence[int]) -> None:
        self._window = window
        self._rows = rows
        self.ids = [window.ids[row] for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        return self._window[self._rows[index]]


def few_shot(source: Source, shots: int, seed: int) -> Chosen:
    """Up to `shots` samples of each class; with the same seed, fewer shots are among more.

    A sample of several classes counts for each of them; rows that can't be read aren't drawn.
    """
    of_class: dict[str, list[int]] = {}
    for place, sample in enumerate(_samples(source)):
        target = sample.target if sample else []
        for label in [target] if isinstance(target, str) else target:
            of_class.setdefault(label, []).append(place)
    drawn: set[int] = set()
    for number, label in enumerate(sorted(of_class)):
        own = np.random.default_rng([seed, number]).permutation(of_class[label])
        drawn.update(int(place) for place in own[:shots])
    return Chosen(source, sorted(drawn))


def share_samples(a: Source, b: Source) -> bool:
    """Whether the first samples of `a` that can be read are all in `b`, too, under the same ids."""
    found = {}
    for sample in islice((sample for sample in _samples(a) if sample and _content(sample)), _COMPARED):
        found[sample.id] = _content(sample)
    same = 0
    for window in b.windows():
        for number, id_ in enumerate(window.ids):
            if id_ in found:
                same += _content_at(window, number) == found[id_]
    return 0 < len(found) == same


def _samples(source: Source) -> Iterator[Sample | None]:
    """Every sample, None where its row can't be read; media are left alone."""
    for window in source.windows():
        for number in range(len(window)):
            try:
                yield window[number]
            except SampleError:
                yield None


def _content_at(window: Samples, number: int) -> str:
    try:
        return _content(window[number])
    except SampleError:
        return ""


def _content(sample: Sample) -> str:
    """Digest of all that the sample is; empty when its media can't be read."""
    try:
        return content_digest(sample)
    except SampleError:
        return ""
