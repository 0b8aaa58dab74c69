"""Progress of long work on standard error: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

SECONDS_TO_FIRST_LINE = 5.0
SECONDS_BETWEEN_LINES = 20.0


class Progress(Protocol):
    """Something that is told about finished work."""

    def advance(self, done: int = 1) -> None:
        """Count `done` more units as finished."""

    def note(self, *parts: str) -> None:
        """What is shown beside the count: loss, speed. The last parts are left out where room is scarce."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def paused(self) -> AbstractContextManager[None]:
        """Leave the screen to other progress within this block."""


class Silent:
    """Progress that nobody watches."""

    def advance(self, done: int = 1) -> None:
        """Count nothing."""

    def note(self, *parts: str) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def paused(self) -> AbstractContextManager[None]:
        """There is nothing to pause."""
        return nullcontext()


class Lines:
    """A line on standard error after 5 seconds and then at most every 20, with the time left."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._note = ""
        self._started = time.monotonic()
        self._next = self._started + SECONDS_TO_FIRST_LINE

    def advance(self, done: int = 1) -> None:
        """Count `done` more units; print when the last line is long ago."""
        self._done += done
        now = time.monotonic()
        if self._done and now >= self._next:
            self._next = now + SECONDS_BETWEEN_LINES
            self.say(self._line(now))

    def note(self, *parts: str) -> None:
        """What the next line says besides the count."""
        self._note = ", ".join(parts)

    def say(self, text: str) -> None:
        """Print it."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Lines of others may come between, whose time doesn't count."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._started += time.monotonic() - began

    def _line(self, now: float) -> str:
        note = f" ({self._note})" if self._note else ""
        if not self._total:
            return f"{self._what}: {self._done} {self._unit}{note}"
        left = (now - self._started) / self._done * (self._total - self._done)
        return f"{self._what}: {self._done} of {self._total} {self._unit}{note}, about {left:.0f} s left"


@contextmanager
def progress(what: str, total: int | None, unit: str = "samples", *, show: bool = True) -> Iterator[Progress]:
    """Progress of `total` units (None when unknown) of `what`; silent when `show` is false."""
    if not show or total == 0:
        yield Silent()
        return
    if not sys.stderr.isatty():
        yield Lines(what, total, unit)
        return
    from rich.console import Console

    from harness.progress_bar import Bar

    with Bar(what, total, unit, Console(stderr=True)) as bar:
        yield bar
