"""Columns from another configuration or dataset, matched on a key: a translation's target, say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.data.columns import require_columns
from harness.data.rows import Request, Row, Rows, Step, Stream
from harness.errors import DataError, RowError


def load_join(
    rows: Rows | Stream, on: str, take: Mapping[str, str], request: Request, key: str | None = None
) -> Step:
    """A step that adds `take` (new column to `rows`' column) from the first of `rows` with the same `on`.

    `key` is what `rows` call that column, when not the same. What is taken is read when it is asked for, so
    that images may be joined. A row without a match is a RowError. Raises DataError when a column isn't
    there.
    """
    if isinstance(rows, Stream):
        raise DataError(f"{request} can only be streamed, and a join needs all of its rows")
    key = key or on
    require_columns({"key": key}, rows.columns, "data.join", str(request))
    require_columns(take, rows.columns, "data.join.take", str(request))
    needed = rows.only({key, *take.values()})
    first: dict[Any, int] = {}
    for position, value in enumerate(rows.only({key}).column(key)):
        if value is not None:
            first.setdefault(value, position)
    if not first:
        raise DataError(f"{request}: column '{key}' is empty in every row")

    def step(row: Row) -> Row:
        position = first.get(row.get(on))
        if position is None:
            raise RowError(f"{request} has no row whose '{key}' is {row.get(on)!r}")
        found = needed[position]
        return {**row, **{new: found[column] for new, column in take.items()}}

    return step
