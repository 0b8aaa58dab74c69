"""VQA accuracy (Antol et al. 2015): how many of ten people gave the answer."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from harness.errors import RowError
from harness.metrics.base import OPTIONS
from harness.metrics.mean_score import MeanScore, TextTarget, references
from harness.metrics.vqa_text import m4c, one_line, vqa

ENOUGH = 3
"""People who must agree with an answer for it to be right."""


@dataclass(frozen=True, config=OPTIONS)
class VqaAccuracy(MeanScore):
    """The mean over leave-one-out sets of a question's answers of min(matches / 3, 1).

    With ten answers, 0, 1, 2, 3 and 4 matches are worth 0, 0.3, 0.6, 0.9 and 1. A target that is one text is
    a list of one answer, of which there is no leave-one-out set: `exact_match` scores those.
    """

    name: ClassVar[str] = "vqa_accuracy"

    rules: Literal["official", "always", "m4c"] = "official"
    """How answers are normalised. official: the challenge's rules (GT-Vision-Lab), and only where the answers
    aren't all the same, so "Yes" is wrong where ten people said "yes". always: the same rules for every
    question (OpenFlamingo, lmms-eval's VQAv2). m4c: EvalAI's (TextVQA, VizWiz, OK-VQA)."""
    answers: int | None = Field(default=10, ge=2)
    """Answers that a question must have; a question with another number is a failed sample, not scored. null:
    any number from 2 on."""

    @property
    def signature(self) -> str:
        """Which rules, and how many answers."""
        return f"rules:{self.rules}|answers:{self.answers or 'var'}"

    def score(self, prediction: str, target: TextTarget) -> float:
        """0 to 1. Raises RowError where the question hasn't the number of answers that it should have."""
        given, asked = self._normalised(self._all_of(target), prediction)
        matches = given.count(asked)
        without_match, without_other = min(matches - 1, ENOUGH), min(matches, ENOUGH)
        found = matches * without_match + (len(given) - matches) * without_other
        return found / (ENOUGH * len(given))

    def _all_of(self, target: TextTarget) -> list[str]:
        given = references(target)
        if self.answers is None and len(given) < 2:
            raise RowError(f"{self.name} needs 2 answers a question at least, and this one has {len(given)}")
        if self.answers is not None and len(given) != self.answers:
            other = "its option `answers: null` takes any number"
            raise RowError(
                f"{self.name} expects {self.answers} answers a question, and this one has {len(given)}; "
                f"{'exact_match takes a single one' if len(given) < 2 else other}"
            )
        return given

    def _normalised(self, given: list[str], asked: str) -> tuple[list[str], str]:
        """Answers and prediction as they are compared."""
        if self.rules == "m4c":
            return [m4c(answer) for answer in given], m4c(asked)
        if self.rules == "official":
            given, asked = [one_line(answer) for answer in given], one_line(asked)
            if len(set(given)) == 1:
                return given, asked
        return [vqa(answer) for answer in given], vqa(asked)
