"""What was asked of a server: requests, tokens and their cost, over what was predicted now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from math import fsum
from typing import TypeVar

from harness.results.record import UsagePart
from harness.types import Json, Prediction

S = TypeVar("S")


class UsageMeter:
    """Adds up what the extras of the predictions that pass through it say, of those that have been asked for
    now; cached ones cost nothing. A sample that failed tells nothing and isn't counted.
    """

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()
        self._cost: list[float] = []
        self._served: set[str] = set()

    def watch(self, outcomes: Iterable[tuple[S, str, Prediction]]) -> Iterator[tuple[S, str, Prediction]]:
        """The outcomes, unchanged."""
        for sample, id_, prediction in outcomes:
            if prediction.error is None:
                self._add(prediction)
            yield sample, id_, prediction

    def _add(self, prediction: Prediction) -> None:
        extras = prediction.extras
        if "retries" not in extras:  # no request was made
            return
        if model := extras.get("model"):
            self._served.add(
                " ".join(str(part) for part in (model, extras.get("system_fingerprint")) if part)
            )
        if not prediction.fresh:
            self._sums["cached"] += 1
            return
        retries = _whole(extras["retries"])
        self._sums.update(requests=1 + retries, retries=retries)
        for name in ("input_tokens", "output_tokens"):
            self._sums[name] += _whole(extras.get(name))
        if isinstance(cost := extras.get("cost"), int | float):
            self._cost.append(cost)

    def part(self, currency: str | None) -> UsagePart | None:
        """The sums as the record has them, money in this currency; None when no server was asked, now or
        before."""
        if not self._sums:
            return None
        return UsagePart(
            requests=self._sums["requests"],
            retries=self._sums["retries"],
            cached=self._sums["cached"],
            input_tokens=self._sums["input_tokens"],
            output_tokens=self._sums["output_tokens"],
            cost=fsum(self._cost) if currency and (self._cost or not self._sums["requests"]) else None,
            currency=currency,
            served=tuple(sorted(self._served)),
        )


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0
