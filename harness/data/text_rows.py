"""Rows of JSONL, CSV and TSV files, parsed on access, so that a malformed row fails alone."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from harness.data.rows import Row, Rows
from harness.errors import DataError, RowError

TRIED_ROWS = 1000


class Span(NamedTuple):
    """Where a record stands: its bytes, and the number of its first line (from 1)."""

    start: int
    end: int
    line: int


class Format(ABC):
    """How a file is cut into records, and a record into a row."""

    @abstractmethod
    def spans(self, file: BinaryIO) -> Iterator[Span]:
        """Every record's place. Raises DataError, with the line, when the file can't be cut."""

    @abstractmethod
    def parse(self, record: str) -> dict[str, Any]:
        """One record as a row. Raises ValueError."""

    def columns(self, rows: Iterator[Row]) -> tuple[str, ...]:
        """Names of the columns; `rows` are the first that can be read."""
        return tuple(dict.fromkeys(name for row in rows for name in row))


class JsonLines(Format):
    """One JSON object per line; blank lines are skipped."""

    def spans(self, file: BinaryIO) -> Iterator[Span]:
        end = 0
        for number, line in enumerate(file, start=1):
            start, end = end, end + len(line)
            if line.strip():
                yield Span(start, end, number)

    def parse(self, record: str) -> dict[str, Any]:
        row = json.loads(record)
        if not isinstance(row, dict):
            raise ValueError(f"holds {type(row).__name__}, not an object")
        return row


class Delimited(Format):
    """A header and records of as many fields. CSV fields may be quoted, TSV fields are not.

    A stray quotation mark would swallow the rows up to the next one, so it is refused wherever it shows.
    """

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self._dialect: dict[str, Any] = {
            "strict": True,
            "delimiter": delimiter,
            "quoting": csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL,
        }
        self._header: list[str] = []

    def spans(self, file: BinaryIO) -> Iterator[Span]:
        read = [0, 0]  # bytes and lines that the csv reader has taken so far

        def lines() -> Iterator[str]:
            for line in file:
                read[0] += len(line)
                read[1] += 1
                yield line.decode("utf-8", errors="replace")

        start, number = 0, 1
        try:
            for record in csv.reader(lines(), **self._dialect):
                if record and not self._header:
                    self._header = _header(record, f"{file.name}:{number}")
                elif record:
                    yield Span(start, read[0], number)
                start, number = read[0], read[1] + 1
        except csv.Error as error:
            raise DataError(
                f"{file.name}:{number}  the row that starts here can't be read: {error}",
                "Is a quotation mark left open, or not doubled within quotation marks? "
                "Do lines end in \\n or \\r\\n?",
            ) from error

    def parse(self, record: str) -> dict[str, Any]:
        [fields] = csv.reader(StringIO(record, newline="\n"), **self._dialect)
        if len(fields) != len(self._header):
            raise ValueError(f"has {len(fields)} fields, but the header has {len(self._header)}")
        if self._swallows_rows(record):
            raise ValueError(
                "starts a quoted text over several lines that all look like rows: is a quotation mark left "
                "open? (If not, JSON lines can hold such a text.)"
            )
        return dict(zip(self._header, fields, strict=True))

    def _swallows_rows(self, record: str) -> bool:
        """Whether each of a record's lines has as many fields as the header by itself."""
        lines = record.rstrip("\r\n").split("\n")
        delimiters = len(self._header) - 1
        return len(lines) > 1 <= delimiters and all(
            line.count(self._delimiter) == delimiters for line in lines
        )

    def columns(self, rows: Iterator[Row]) -> tuple[str, ...]:
        return tuple(self._header)


def _header(record: list[str], where: str) -> list[str]:
    """Names of the columns. Raises DataError when two share one: which of them is meant?"""
    names = [name.removeprefix("\ufeff") for name in record]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise DataError(f"{where}  the header names more than one column {', '.join(map(repr, repeated))}")
    return names


FORMATS: dict[str, Callable[[], Format]] = {
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".csv": lambda: Delimited(","),
    ".tsv": lambda: Delimited("\t"),
}


class TextRows(Rows):
    """A text file's rows. Only the places of its records are kept, so a long file costs 20 bytes a row.

    `aliases` are further names of columns (an audio folder's `file_name` is its `audio`).
    """

    def __init__(self, file: Path, aliases: Mapping[str, str] | None = None) -> None:
        self._file = file
        self._format: Format = FORMATS[file.suffix.lower()]()
        self._starts, self._ends, self._lines = array("q"), array("q"), array("l")
        self.media_root = file.parent
        self._index()
        if not len(self):
            raise DataError(f"{file}: the file holds no rows")
        self._aliases: dict[str, str] = {}
        tried = self._rows(min(len(self), TRIED_ROWS))
        found = self._format.columns(row for row in tried if row is not None)
        if not found:
            self._refuse()
        self._aliases = {
            new: old for new, old in (aliases or {}).items() if old in found and new not in found
        }
        self.columns = (*found, *self._aliases)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, position: int) -> Row:
        with self._file.open("rb") as file:  # a file of its own, since threads would share its position
            return self._row(file, position)

    def column(self, name: str) -> list[Any]:
        name = self._aliases.get(name, name)
        return [None if row is None else row.get(name) for row in self._rows(len(self))]

    def _refuse(self) -> None:
        """Raises DataError: none of the first rows has a column."""
        reason = f"{self._file}:{self._lines[0]} is an empty object"
        try:
            self[0]
        except RowError as error:
            reason = str(error)
        raise DataError(
            f"none of the first rows can be read: {reason}",
            "A .jsonl file holds one JSON object per line, and lines end in \\n.",
        )

    def _row(self, file: BinaryIO, position: int) -> dict[str, Any]:
        file.seek(self._starts[position])
        record = file.read(self._ends[position] - self._starts[position])
        try:
            row = self._format.parse(record.decode("utf-8-sig"))
        except (ValueError, csv.Error) as error:
            raise RowError(f"{self._file}:{self._lines[position]} {error}") from error
        except RecursionError as error:
            raise RowError(f"{self._file}:{self._lines[position]} is nested too deep") from error
        return row | {new: row[old] for new, old in self._aliases.items() if old in row}

    def _rows(self, count: int) -> Iterator[Row | None]:
        """The first rows. None where one can't be read: asking for that row itself says why."""
        with self._file.open("rb") as file:
            for position in range(count):
                try:
                    yield self._row(file, position)
                except RowError:
                    yield None

    def _index(self) -> None:
        try:
            with self._file.open("rb") as file:
                for span in self._format.spans(file):
                    self._starts.append(span.start)
                    self._ends.append(span.end)
                    self._lines.append(span.line)
        except OSError as error:
            raise DataError(f"{self._file}: can't be read: {error.strerror or error}") from error
