"""Edit distance with its parts, shared by the word and the character error rate."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from rapidfuzz.distance import Levenshtein

from harness.errors import DataError
from harness.metrics import normalizers
from harness.metrics.base import OPTIONS, Metric

_KINDS = ("replace", "delete", "insert")


def edit_counts(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int, int]:
    """Substitutions, deletions and insertions of a shortest path from reference to hypothesis.

    Several shortest paths can split differently; this is the one that jiwer reports.
    """
    if reference == hypothesis:
        return 0, 0, 0
    kinds = [kind for kind, _, _ in Levenshtein.editops(reference, hypothesis).as_list()]
    substitutions, deletions, insertions = map(kinds.count, _KINDS)
    return substitutions, deletions, insertions


@dataclass(frozen=True, config=OPTIONS)
class ErrorRate(Metric):
    """Edits over reference units, in percent; over a corpus the ratio of the sums, never a mean of ratios.

    An empty reference adds its insertions to the edits and nothing to the units. Where all references are
    empty the rate is undefined (NaN).
    """

    unit: ClassVar[str] = "%"
    higher_is_better: ClassVar[bool] = False

    normalizer: str = "none"
    """Text normalizer: none, lower, whisper-english, whisper-basic, or whisper (by language)."""
    skip_references: tuple[str, ...] = ()
    """Normalised references that aren't scored; the Open ASR leaderboard skips "" and
    "ignore time segment in scoring"."""

    @abstractmethod
    def units(self, text: str) -> Sequence[str]:
        """What is counted in `text`: its words or its characters."""

    @property
    def signature(self) -> str:
        """Normalizer, skipped references, and what else changes the count."""
        skipped = [f"skip:{'/'.join(map(repr, self.skip_references))}"] if self.skip_references else []
        return "|".join([f"normalizer:{normalizers.signature(self.normalizer)}", *skipped])

    def stats(self, prediction: str, target: str | list[str]) -> tuple[float, ...] | None:
        """Substitutions, deletions, insertions, reference units; None for a skipped reference.

        Raises DataError for a list of references: an error rate has one.
        """
        if not isinstance(target, str):
            message = f"metric '{self.name}' takes one reference a sample, not a list of {len(target)}"
            raise DataError(message, "Map `target` to a column of text, or score with bleu or chrf.")
        if self.skip_references and target.strip() in self.skip_references:
            return None
        reference = self.units(target)
        return (*edit_counts(reference, self.units(prediction)), len(reference))

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """100 (S + D + I) / N, shape (..., 4) to (...,); NaN where N is 0."""
        units = sums[..., 3]
        edits = sums[..., :3].sum(axis=-1)
        rate: NDArray[np.float64] = 100 * edits / np.where(units > 0, units, np.nan)
        return rate

    def correct(self, stats: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Samples without an edit, (n, 4) to (n,)."""
        flawless: NDArray[np.bool_] = np.equal(stats[:, :3].sum(axis=1), 0)
        return flawless
