"""What is to be predicted, in which batches: similar costs together, the largest first.

Samples whose prompts begin alike (questions about one image) share a batch, so that an adapter can take the
beginning through its network once: a group stands where its largest cost puts it and is cut only when it is
larger than a batch. A batch may so end up smaller than it could be.

Batches are made from the whole window before anything finished is taken out of them, so a run that is
resumed, or shared by any number of processes, puts the same samples together as one never interrupted.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.data.fingerprint import content_digest, extended, media_digests, media_seconds
from harness.errors import SampleError
from harness.models.base import Adapter
from harness.progress import Progress
from harness.spec.digest import digest_of
from harness.types import Failure, Sample

ROWS_PER_JOB = 64


class Samples(Protocol):
    """Samples by position, made on access, in any thread."""

    @property
    def ids(self) -> Sequence[str]:
        """Every id; access by position may fail, this doesn't."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`. Raises RowError when it can't be made."""


class Source(Protocol):
    """Where samples come from: a dataset, or whatever else comes in windows."""

    def windows(self) -> Iterator[Samples]:
        """All samples, in parts; more than once."""


@dataclass
class Plan:
    """Per row of a window: cache key, cost, media length; and the batches, as lists of rows.

    Rows with the same key (the same clip twice) are in the batches once. `fingerprint` is a SHA-256 over
    ids, targets and inputs of all rows so far, whatever model is asked.
    """

    fingerprint: str = ""

    keys: list[str] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    media_seconds: list[float] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    batches: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    key: str
    content: str = ""
    cost: float = 0.0
    seconds: float = 0.0
    bucket: Hashable = None
    prefix: str | None = None
    failure: Failure | None = None


def make_plan(
    window: Samples, adapter: Adapter, batch_size: int, workers: int, progress: Progress, before: str = ""
) -> Plan:
    """Look at every row's header and digest (in threads), then group the rows into batches.

    `before` is the fingerprint of the windows before this one.
    """
    plan = Plan(fingerprint=before)
    buckets: dict[Hashable, dict[Hashable, list[int]]] = {}
    seen: set[str] = set()
    for number, row in enumerate(_rows(window, adapter, workers, progress)):
        plan.fingerprint = extended(plan.fingerprint, row.content)
        plan.keys.append(row.key)
        plan.costs.append(row.cost)
        plan.media_seconds.append(row.seconds)
        if row.failure is not None:
            plan.failures[number] = row.failure
        elif row.key not in seen:
            seen.add(row.key)
            groups = buckets.setdefault(row.bucket, {})
            groups.setdefault(number if row.prefix is None else row.prefix, []).append(number)
    bucketed = [list(groups.values()) for groups in buckets.values()]
    plan.batches = list(_batches(bucketed, plan.costs, batch_size))
    return plan


def _rows(window: Samples, adapter: Adapter, workers: int, progress: Progress) -> Iterator[_Row]:
    def job(start: int) -> list[_Row]:
        return [_row(window, at, adapter) for at in range(start, min(start + ROWS_PER_JOB, len(window)))]

    with ThreadPoolExecutor(workers) as pool:
        for rows in pool.map(job, range(0, len(window), ROWS_PER_JOB)):
            progress.advance(len(rows))
            yield from rows


def _row(window: Samples, at: int, adapter: Adapter) -> _Row:
    try:
        sample = window[at]
        key = digest_of([adapter.request(sample), media_digests(sample)])
        content, cost, seconds = content_digest(sample), adapter.cost(sample), media_seconds(sample)
        return _Row(key, content, cost, seconds, adapter.bucket(sample), adapter.prefix(sample))
    except SampleError as error:
        return _Row("", window.ids[at], failure=Failure.of(error))


def _batches(buckets: Sequence[list[list[int]]], costs: Sequence[float], size: int) -> Iterator[list[int]]:
    """Buckets by their largest cost, groups within them and rows within those by falling cost; the row's
    number breaks ties."""

    def order(at: int) -> tuple[Any, ...]:
        return (-costs[at], at)

    def first(groups: list[list[int]]) -> tuple[Any, ...]:
        return order(groups[0][0])

    def ordered(groups: list[list[int]]) -> list[list[int]]:
        return sorted((sorted(rows, key=order) for rows in groups), key=lambda rows: order(rows[0]))

    for groups in sorted(map(ordered, buckets), key=first):
        yield from _packed(groups, size)


def _packed(groups: Sequence[list[int]], size: int) -> Iterator[list[int]]:
    """Batches of whole groups, in order; what is left of one that had to be cut is followed by the next."""
    batch: list[int] = []
    for group in groups:
        if batch and len(batch) + len(group) > size:
            yield batch
            batch = []
        batch = batch + group
        while len(batch) > size:
            yield batch[:size]
            batch = batch[size:]
    if batch:
        yield batch
