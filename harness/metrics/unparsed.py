"""Share of samples whose answer could not be parsed (a choice by letter that names no option, or several)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS, Metric
from harness.metrics.classes import ClassAnswer


@dataclass(frozen=True, config=OPTIONS)
class Unparsed(Metric):
    """Answers without any class, in percent; accuracy counts them as wrong."""

    name: ClassVar[str] = "unparsed"
    unit: ClassVar[str] = "%"
    higher_is_better: ClassVar[bool] = False
    columns: ClassVar[tuple[str, ...]] = ("unparsed", "samples")
    takes: ClassVar[tuple[str, ...]] = ("class",)

    @property
    def signature(self) -> str:
        """What counts."""
        return "answers:empty"

    def stats(self, prediction: ClassAnswer, target: Any) -> tuple[float, ...]:
        """Whether the answer is empty (1 or 0), and 1."""
        return float(not prediction), 1.0

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """100 unparsed / samples, shape (..., 2) to (...,); NaN without samples."""
        return 100 * sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan)
