"""What a source of data yields: a split's rows by position, or as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from harness.errors import RowError

Row: TypeAlias = Mapping[str, Any]
Step: TypeAlias = Callable[[Row], Row]
ClassNames: TypeAlias = Mapping[str, tuple[str, ...]]
"""Columns that hold numbers of classes, and the names of those in the order of their numbers."""


@dataclass(frozen=True)
class Request:
    """A split that a task asks for. `base` is the task file's folder, which ./ is relative to."""

    path: str
    split: str
    name: str | None = None
    revision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    streaming: bool = False
    offline: bool = False
    base: Path = Path()

    def __str__(self) -> str:
        config = f", configuration {self.name}" if self.name else ""
        return f"{self.path}{config}, split {self.split}"


class Rows(ABC):
    """A split's rows by position. Access is safe from several threads.

    `media_root` is the folder that relative paths of media stand in, None where there is none.
    """

    columns: tuple[str, ...]
    media_root: Path | None = None

    @property
    def class_names(self) -> ClassNames:
        """Names of classes, where there are columns of such."""
        return {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, position: int) -> Row:
        """The row at `position`. Raises RowError when it can't be read."""

    def column(self, name: str) -> list[Any]:
        """All values of one column; None where the row can't be read or lacks it."""
        return [self._value(position, name) for position in range(len(self))]

    def only(self, columns: Collection[str]) -> Rows:
        """The same rows with no more columns than these, where that makes access cheaper."""
        return self

    def _value(self, position: int, name: str) -> Any:
        try:
            return self[position].get(name)
        except RowError:
            return None


class ListRows(Rows):
    """Rows that are in memory."""

    def __init__(self, rows: Sequence[Row], columns: tuple[str, ...], media_root: Path | None = None) -> None:
        self._rows = rows
        self.columns = columns
        self.media_root = media_root

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> Row:
        return self._rows[position]


class SteppedRows(Rows):
    """Rows that `steps` (a join, a transform) change on access. A step may raise RowError."""

    def __init__(self, rows: Rows, steps: Sequence[Step], class_names: ClassNames | None = None) -> None:
        self._rows = rows
        self._steps = tuple(steps)
        self._class_names = class_names or {}
        self.columns = rows.columns
        self.media_root = rows.media_root

    @property
    def class_names(self) -> ClassNames:
        return self._class_names

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> Row:
        row = self._rows[position]
        for step in self._steps:
            row = step(row)
        return row

    def column(self, name: str) -> list[Any]:
        """As in the dataset where it has the column, so that reading ids runs no step."""
        return self._rows.column(name) if name in self._rows.columns else super().column(name)


@dataclass(frozen=True)
class Stream:
    """A split's rows as they arrive, in the dataset's order; can be iterated more than once."""

    rows: Iterable[Row]
    columns: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    class_names: ClassNames = field(default_factory=dict)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def window(self, rows: Sequence[Row]) -> Rows:
        """Some of the stream's rows, by position, changed by its steps on access."""
        held = ListRows(rows, self.columns)
        return SteppedRows(held, self.steps, self.class_names) if self.steps else held


@dataclass(frozen=True)
class Opened:
    """A split that was found, and the commit it stands at (None where there are no commits)."""

    rows: Rows | Stream
    revision: str | None = None
