"""SIGTERM and Ctrl-C during training: finish the step, keep a checkpoint, then leave."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopNow(BaseException):
    """Raised where work can be dropped at once (an evaluation), so that a checkpoint is written in time.

    Not an Exception: nobody may take it for a sample's failure.
    """


class StopRequest:
    """Whether somebody has asked for the training to end; `name` is the signal's ("SIGTERM")."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._at_once = False
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take these signals as requests; the same one once more ends the process as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this block a request raises StopNow instead of waiting for the step's end."""
        self._at_once = True
        try:
            if self.name is not None:
                raise StopNow
            yield
        finally:
            self._at_once = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # Only this signal's: a launcher answers Ctrl-C, which reaches everybody, with a SIGTERM of its own.
        signal.signal(number, self._before[signal.Signals(number)])
        if self.name is not None:
            return
        self.name = signal.Signals(number).name
        message = f"{self.name}: finishing this step and writing a checkpoint; once more to stop at once"
        print(f"\n{message}", file=sys.stderr, flush=True)  # noqa: T201
        if self._at_once:
            raise StopNow
