"""Every error a user can meet, as one tree.

    HarnessError                 exit code, message, hint
    ├── SpecError         2      a task file is wrong: lists every fault with file:line and key
    ├── UsageError        2      a command's arguments are wrong
    ├── DataError         2      a dataset, split or column isn't there
    ├── AdapterError      2      a checkpoint can't do what the task asks
    ├── RemoteError       3      a hub could not be reached, or refused
    ├── RunError          3      a run that was well specified failed
    └── ResultError       2      a record is missing, damaged or not comparable

    SampleError                  one sample failed: recorded beside the score, never raised to the user
    ├── MediaError               its audio, image or video can't be read
    ├── RowError                 its row can't be read or lacks a value
    └── PredictionError          the model raised on it

The command line prints `message` and `hint` without a traceback and exits with `exit_code`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EXIT_USER = 2
EXIT_RUN = 3
EXIT_FAILURES = 4


class HarnessError(Exception):
    """An expected failure: what is wrong (`message`) and what to do about it (`hint`)."""

    exit_code = EXIT_RUN

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a task file."""

    file: Path
    line: int
    key: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else str(self.file)
        text = f"{where}  {self.key}: {self.message}" if self.key else f"{where}  {self.message}"
        return f"{text} {self.suggestion}".rstrip()


class SpecError(HarnessError):
    """A task file is wrong. `faults` holds everything that is, not just the first thing."""

    exit_code = EXIT_USER

    def __init__(self, faults: Sequence[Fault], hint: str = "") -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults), hint)


class UsageError(HarnessError):
    """A command's arguments are wrong."""

    exit_code = EXIT_USER


class DataError(HarnessError):
    """A dataset, a split or a column that the task names isn't there, or ids are not unique."""

    exit_code = EXIT_USER


class AdapterError(HarnessError):
    """A checkpoint can't do what the task asks of it."""

    exit_code = EXIT_USER


class RemoteError(HarnessError):
    """A hub could not be reached, doesn't have what was asked for, or refused to give it."""


class RunError(HarnessError):
    """A run that was well specified failed."""


class ResultError(HarnessError):
    """A record is missing, damaged, or can't be compared with another."""

    exit_code = EXIT_USER


class SampleError(Exception):
    """One sample failed. It is recorded and counted; the run goes on."""


class MediaError(SampleError):
    """A sample's audio, image or video can't be read."""


class RowError(SampleError):
    """A sample's row can't be read, or lacks a value the task needs."""


class PredictionError(SampleError):
    """The model raised on a sample."""
