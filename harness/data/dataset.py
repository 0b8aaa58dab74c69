"""A split of a task's dataset as windows of samples.

    dataset = load(task.data, base=task_folder, inputs=("audio",))
    for window in dataset.windows():
        window.ids             every id, cheap
        window[3]              a Sample, made on access; a row that can't be read raises RowError

A dataset that is on this machine is one window; a stream comes in windows of 1,024 rows. A window
holds ids (and a stream's rows), never samples, so 100,000 rows stay cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from harness.data.rows import Request, Row, Rows, Stream
from harness.data.samples import SampleMaker
from harness.errors import DataError
from harness.types import Sample

WINDOW_ROWS = 1024
SHUFFLE_ROWS = 256
NAMED_AT_MOST = 5


class Window:
    """Samples by position, made on access. Safe to use from several threads."""

    def __init__(self, rows: Rows, positions: Sequence[int], ids: Sequence[str], maker: SampleMaker) -> None:
        self.ids = ids
        self._rows = rows
        self._positions = positions
        self._maker = maker

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`. Raises RowError when its row can't be read or lacks a value."""
        return self._maker.sample(self._rows[self._positions[index]], self.ids[index])

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class Dataset:
    """A split, found and checked. `revision` is the commit it stands at, None for local data.

    `size` is the number of samples after the limit, None for a stream. `class_names` are those that
    targets come from, in the order of their numbers, None where there is no list of them.
    """

    path: str
    name: str | None
    split: str
    revision: str | None
    size: int | None
    _windows: _MapWindows | _StreamWindows
    class_names: tuple[str, ...] | None = None

    def windows(self) -> Iterator[Window]:
        """Windows in the dataset's order. Raises DataError on a duplicate id, RemoteError from a stream."""
        return iter(self._windows)


class _MapWindows:
    """One window over all rows, or over a seeded subset of them."""

    def __init__(
        self, rows: Rows, maker: SampleMaker, request: Request, limit: int | None, seed: int
    ) -> None:
        if not len(rows):
            raise DataError(f"{request}: the split holds no rows")
        ids = _ids(rows, maker)
        _refuse_duplicates(ids, range(len(rows)), {}, request)
        positions = subset(len(rows), limit, seed)
        self._window = Window(rows, positions, [ids[position] for position in positions], maker)

    def __len__(self) -> int:
        return len(self._window)

    def __iter__(self) -> Iterator[Window]:
        yield self._window


class _StreamWindows:
    """Windows of rows as they arrive. A limit takes the first rows after a seeded shuffle buffer.

    Like the subset of a dataset at rest, a smaller limit's rows are among a larger's; unlike it, they
    come from the stream's beginning, since nobody knows how long a stream is.
    """

    def __init__(
        self, stream: Stream, maker: SampleMaker, request: Request, limit: int | None, seed: int
    ) -> None:
        self._stream = stream
        self._maker = maker
        self._request = request
        self._limit = limit
        self._seed = seed

    def __iter__(self) -> Iterator[Window]:
        numbered: Iterator[tuple[int, Row]] = enumerate(self._stream)
        if self._limit is not None:
            numbered = islice(_shuffled(numbered, self._seed), self._limit)
        seen: dict[str, int] = {}
        while part := list(islice(numbered, WINDOW_ROWS)):
            positions = [position for position, _ in part]
            rows = self._stream.window([row for _, row in part])
            ids = _ids(rows, self._maker, positions)
            _refuse_duplicates(ids, positions, seen, self._request)
            yield Window(rows, range(len(part)), ids, self._maker)
        if not seen:
            raise DataError(f"{self._request}: the split holds no rows")


def make_dataset(
    rows: Rows | Stream,
    maker: SampleMaker,
    request: Request,
    *,
    revision: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """A dataset of rows that were opened and checked. Raises DataError when empty or ids are not unique."""
    windows: _MapWindows | _StreamWindows
    if isinstance(rows, Stream):
        windows, size = _StreamWindows(rows, maker, request, limit, seed), None
    else:
        windows = _MapWindows(rows, maker, request, limit, seed)
        size = len(windows)
    return Dataset(
        request.path,
        request.name,
        request.split,
        revision,
        size,
        windows,
        class_names=maker.targets.class_names,
    )


def subset(size: int, limit: int | None, seed: int) -> Sequence[int]:
    """Positions of a seeded subset, in order; with the same seed a smaller limit's are among a larger's."""
    if limit is None or limit >= size:
        return range(size)
    chosen = np.random.default_rng(seed).permutation(size)[:limit]
    return [int(position) for position in np.sort(chosen)]


def _shuffled(rows: Iterator[tuple[int, Row]], seed: int) -> Iterator[tuple[int, Row]]:
    """The rows in random order, as far as the buffer reaches."""
    rng = np.random.default_rng(seed)
    buffer = list(islice(rows, SHUFFLE_ROWS))
    for row in rows:
        slot = int(rng.integers(len(buffer)))
        yield buffer[slot]
        buffer[slot] = row
    for slot in rng.permutation(len(buffer)):
        yield buffer[slot]


def _ids(rows: Rows, maker: SampleMaker, positions: Sequence[int] | None = None) -> list[str]:
    """Ids as text. Where there is none, or the row can't be read: the row's position in the split."""
    column = maker.columns.get("id")
    assert column is None or isinstance(column, str)
    values = rows.column(column) if column else [None] * len(rows)
    return [
        str(value) if _is_id(value) else f"{position:06d}"
        for position, value in zip(positions or range(len(rows)), values, strict=True)
    ]


def _is_id(value: Any) -> bool:
    """Not empty, and text that a file can hold (the row with any other fails when it is asked for)."""
    if value is None or value == "":
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in str(value))


def _refuse_duplicates(
    ids: Sequence[str], positions: Sequence[int], seen: dict[str, int], request: Request
) -> None:
    """Adds `ids` to `seen`. Raises DataError naming the first ids that were there already, and their rows."""
    repeated: list[str] = []
    for sample_id, position in zip(ids, positions, strict=True):
        first = seen.setdefault(sample_id, position)
        if first != position:
            repeated.append(f"'{sample_id}' in rows {first} and {position}")
    if repeated:
        more = f", and {len(repeated) - NAMED_AT_MOST} more" if len(repeated) > NAMED_AT_MOST else ""
        raise DataError(
            f"{request}: ids are not unique: {'; '.join(repeated[:NAMED_AT_MOST])}{more}",
            "Map 'id' to a column that is unique, or leave it out (a row's position is its id then); "
            "a column that several samples share belongs under 'group'.",
        )
