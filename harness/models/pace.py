"""When to ask a server: evenly spaced below its limits, and later after a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 60.0


class Pace:
    """A token bucket that holds one request: whatever is taken out of it delays whoever comes next.

    `per_minute` is the rate at which it fills, in requests or in tokens; None never delays. Safe to use from
    several threads.
    """

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = None if per_minute is None else per_minute / 60
        self._clock = clock
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, amount: float) -> float:
        """Take so much; how many seconds to wait before using it."""
        with self._lock:
            now = self._clock()
            start = max(now, self._free_at)
            self._free_at = start + self._seconds(amount)
            return start - now

    def correct(self, more: float) -> None:
        """It was this much more than was taken, or less where negative."""
        with self._lock:
            self._free_at += self._seconds(more)

    def hold(self, seconds: float) -> None:
        """Nothing may be taken for so long: a server said so to one of those who ask."""
        with self._lock:
            self._free_at = max(self._free_at, self._clock() + seconds)

    def _seconds(self, amount: float) -> float:
        return 0.0 if self._per_second is None else amount / self._per_second


def backoff_seconds(attempt: int, random: Callable[[], float]) -> float:
    """How long to wait after the failed attempt of this number (0 is the first): anything up to a bound that
    doubles each time, so that those who failed together don't come again together ("full jitter").

    `random` gives a number in [0, 1).
    """
    return random() * min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0**attempt)


def retry_after_seconds(header: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float:
    """What a Retry-After header asks for, in seconds or as a date (RFC 9110, 10.2.3); 0 for neither."""
    if header is None:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        at = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now()).total_seconds())
