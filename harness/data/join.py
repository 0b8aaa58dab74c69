"""Columns from another configuration or dataset, matched on a key: a translation's target, say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.data.columns import require_columns
from harness.data.rows import Request, Row, Rows, Step, Stream
from harness.errors import DataError, RowError


def load_join(rows: Rows | Stream, on: str, take: Mapping[str, str], request: Request) -> Step:
    """A step that adds `take` (new column to `rows`' column) from the first of `rows` with the same `on`.

    Only these columns are read. A row without a match is a RowError. Raises DataError when a column
    isn't there.
    """
    if isinstance(rows, Stream):
        raise DataError(f"{request} can only be streamed, and a join needs all of its rows")
    require_columns({"on": on}, rows.columns, "data.join", str(request))
    require_columns(take, rows.columns, "data.join.take", str(request))
    needed = rows.only({on, *take.values()})
    keys = needed.column(on)
    taken = {new: needed.column(column) for new, column in take.items()}
    first: dict[Any, int] = {}
    for position, key in enumerate(keys):
        if key is not None:
            first.setdefault(key, position)
    if not first:
        raise DataError(f"{request}: column '{on}' is empty in every row")

    def step(row: Row) -> Row:
        position = first.get(row.get(on))
        if position is None:
            raise RowError(f"{request} has no row whose '{on}' is {row.get(on)!r}")
        return {**row, **{new: values[position] for new, values in taken.items()}}

    return step
