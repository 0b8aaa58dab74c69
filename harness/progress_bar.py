"""Progress in a terminal: count and time left always, bar and notes as far as there is room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

BAR_FROM = 100
"""Columns of a terminal from which on there is room for the bar itself."""


class Bar:
    """What harness.progress.Progress asks for, drawn by rich on `console`; gone when it ends."""

    def __init__(self, what: str, total: int | None, unit: str, console: Console) -> None:
        self._live = Progress(
            _What(),
            *([BarColumn()] if console.width >= BAR_FROM else []),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            _Note(),
            console=console,
            transient=True,
        )
        self._task = self._live.add_task(what, total=total, note=())

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def advance(self, done: int = 1) -> None:
        """Count `done` more units as finished."""
        self._live.advance(self._task, done)

    def note(self, *parts: str) -> None:
        """What is shown beside the count, as many of its first parts as there is room for."""
        self._live.update(self._task, note=parts)

    def say(self, text: str) -> None:
        """A line that stays, above the bar."""
        self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the screen to other progress within this block."""
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()


class _What(ProgressColumn):
    def render(self, task: Task) -> _AsFits:
        return _AsFits((task.description,))

    def get_table_column(self) -> Column:
        return Column()


class _Note(ProgressColumn):
    def render(self, task: Task) -> _AsFits:
        return _AsFits(task.fields["note"])

    def get_table_column(self) -> Column:
        return Column()


class _AsFits:
    """The first of these parts that fit into one line; the first one, cut, where even that doesn't.

    Only columns that hold this give way: rich never shrinks the others as long as these can.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self._parts = parts

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(0, len(", ".join(self._parts))).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        count = len(self._parts)
        while count > 1 and len(", ".join(self._parts[:count])) > options.max_width:
            count -= 1
        yield Text(", ".join(self._parts[:count]), no_wrap=True, overflow="ellipsis")
