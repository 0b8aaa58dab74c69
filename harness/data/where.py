"""The rows of a dataset that count for a task: those whose columns hold certain values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from harness.data.columns import require_columns
from harness.data.rows import ClassNames, Request, Row, Rows, Stream
from harness.errors import DataError

Wanted: TypeAlias = "Mapping[str, str | int | tuple[str | int, ...]]"
_NAMED_AT_MOST = 10


def kept_rows(rows: Rows | Stream, where: Wanted, request: Request) -> Rows | Stream:
    """The rows whose columns hold what `where` says: a value, or one of several.

    Raises DataError when a column isn't there, or no row is left (a stream ends empty then).
    """
    if not where:
        return rows
    require_columns({column: column for column in where}, rows.columns, "data.where", str(request))
    wanted = {column: given if isinstance(given, tuple) else (given,) for column, given in where.items()}
    if isinstance(rows, Stream):
        kept = _KeptStream(rows, wanted)
        return Stream(kept, rows.columns, rows.steps, rows.class_names)
    columns = {column: rows.only({column}).column(column) for column in wanted}
    positions = [
        position
        for position in range(len(rows))
        if all(columns[column][position] in values for column, values in wanted.items())
    ]
    if not positions:
        raise DataError(f"{request}: no row is left by data.where", _held(columns))
    return _Kept(rows, positions)


def _held(columns: Mapping[str, Sequence[Any]]) -> str:
    """What there is to choose from."""
    lines = []
    for column, values in columns.items():
        found = sorted({repr(value) for value in values})
        more = ", ..." if len(found) > _NAMED_AT_MOST else ""
        lines.append(f"'{column}' holds {', '.join(found[:_NAMED_AT_MOST])}{more}.")
    return " ".join(lines)


class _Kept(Rows):
    """Some of the rows, by position."""

    def __init__(self, rows: Rows, positions: Sequence[int]) -> None:
        self._rows = rows
        self._positions = positions
        self.columns = rows.columns
        self.media_root = rows.media_root

    @property
    def class_names(self) -> ClassNames:
        return self._rows.class_names

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, position: int) -> Row:
        return self._rows[self._positions[position]]

    def column(self, name: str) -> list[Any]:
        values = self._rows.column(name)
        return [values[position] for position in self._positions]

    def only(self, columns: Collection[str]) -> Rows:
        return _Kept(self._rows.only(columns), self._positions)


@dataclass(frozen=True)
class _KeptStream:
    """The rows of a stream that hold what is wanted, each time it is read."""

    rows: Stream
    wanted: Mapping[str, tuple[str | int, ...]]

    def __iter__(self) -> Iterator[Row]:
        for row in self.rows:
            if all(row.get(column) in values for column, values in self.wanted.items()):
                yield row
