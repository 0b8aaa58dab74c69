"""How fast predictions were made: ratios of sums over what was predicted now, never over cached answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from harness.evaluation import memory
from harness.results.record import SpeedPart
from harness.types import Prediction

S = TypeVar("S")


class SpeedMeter:
    """Counts time, audio and tokens of the outcomes that pass through it.

    Time is feature extraction, transfer, generation and detokenisation; reading and decoding files,
    normalising and scoring are left out (the Open ASR leaderboard's RTFx).
    """

    def __init__(self) -> None:
        self._samples = self._tokens = 0
        self._elapsed = self._media = 0.0

    def watch(self, outcomes: Iterable[tuple[S, str, Prediction]]) -> Iterator[tuple[S, str, Prediction]]:
        """The outcomes, unchanged."""
        for sample, id_, prediction in outcomes:
            if prediction.fresh and prediction.error is None:
                self._samples += 1
                self._tokens += prediction.tokens
                self._elapsed += prediction.elapsed_seconds
                self._media += prediction.media_seconds
            yield sample, id_, prediction

    def part(self, device: str) -> SpeedPart:
        """The figures as the record has them; null when everything came from the cache."""
        return SpeedPart(
            samples_per_second=self._rate(self._samples),
            rtfx=self._rate(self._media) if self._media else None,
            tokens_per_second=self._rate(self._tokens),
            peak_memory_bytes=memory.peak_bytes() if self._samples else None,
            device=device,
            measured_samples=self._samples,
        )

    def _rate(self, amount: float) -> float | None:
        return amount / self._elapsed if self._elapsed > 0 else None
