"""Relaxed accuracy (Methani et al. 2020; Masry et al. 2022, ChartQA): numbers may be off by 5%."""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS
from harness.metrics.mean_score import MeanScore, TextTarget, references


@dataclass(frozen=True, config=OPTIONS)
class RelaxedAccuracy(MeanScore):
    """The share of answers that are right, in percent: near enough for numbers, else equal but for case.

    As Pix2Struct's code has it, which published scores come from: "5%" is 0.05 and so isn't 5; "1,000" and
    "$5" are texts; where the reference is 0 the texts are compared. Of several references any will do.
    """

    name: ClassVar[str] = "relaxed_accuracy"

    tolerance: float = Field(default=0.05, ge=0)
    """How far a number may be off, as a share of the reference."""

    @property
    def signature(self) -> str:
        """The tolerance, and how texts are compared."""
        return f"tolerance:{self.tolerance:g}|case:ignored"

    def score(self, prediction: str, target: TextTarget) -> float:
        """1 where the answer is right, else 0."""
        said = prediction.strip()
        return float(any(self._right(said, reference.strip()) for reference in references(target)))

    def _right(self, said: str, meant: str) -> bool:
        number, reference = _number(said), _number(meant)
        if number is None or not reference:
            return said.lower() == meant.lower()
        return abs(number - reference) / abs(reference) <= self.tolerance


def _number(text: str) -> float | None:
    """The number that a text is, a percentage as a share; None for any other text."""
    percent = text.endswith("%")
    try:
        value = float(text.rstrip("%") if percent else text)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return value / 100 if percent else value
