"""Checks against forgetting: how much worse a fine-tune may have become at what it isn't trained for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.evaluation.compare import Comparison
from harness.evaluation.statistics import few
from harness.results.record import Record, plain
from harness.spec.training import Keep
from harness.types import Json

Verdict = Literal["kept", "worse than allowed", "not certain"]


@dataclass(frozen=True)
class KeptCheck:
    """One check: the base and the fine-tune on the same samples, compared by the first metric.

    `comparison` is None when they can't be compared; `refusal` says why. `verdict` is "kept" when even the
    upper end of how much worse it got lies within the tolerance, "worse than allowed" when the estimate
    doesn't, else "not certain".
    """

    keep: Keep
    base: Record
    tuned: Record
    comparison: Comparison | None
    refusal: str = ""

    @property
    def worse(self) -> float | None:
        """By how much the first metric got worse, in its unit; negative when it got better."""
        return None if self.comparison is None else worse_by(self.comparison)[0]

    @property
    def at_most(self) -> float | None:
        """Upper end of the 95% interval of `worse`."""
        return None if self.comparison is None else worse_by(self.comparison)[1]

    @property
    def verdict(self) -> Verdict:
        """Whether what it knew is kept."""
        found, allowed = self.comparison, self.keep.tolerance
        if found is None:
            return "not certain"
        worse, at_most = worse_by(found)
        if at_most is not None and at_most <= allowed and not few(found.clusters):
            return "kept"
        return "worse than allowed" if worse > allowed else "not certain"

    def to_json(self) -> Json:
        """All of it as JSON values; the records by their ids."""
        values: Mapping[str, Any] = {
            "name": self.keep.name,
            "params": self.keep.params,
            "tolerance": self.keep.tolerance,
            "verdict": self.verdict,
            "worse": self.worse,
            "at_most": self.at_most,
            "base": self.base.run_id,
            "fine_tune": self.tuned.run_id,
            "comparison": None if self.comparison is None else self.comparison.to_json(),
            "refusal": self.refusal or None,
        }
        return plain(values)


def worse_by(comparison: Comparison) -> tuple[float, float | None]:
    """How much worse b is than a, and the upper end of its interval if there is one."""
    low, high = comparison.ci95 or (None, None)
    if not comparison.higher_is_better:
        return comparison.difference, high
    return -comparison.difference, None if low is None else -low
