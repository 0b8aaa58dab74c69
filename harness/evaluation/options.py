"""Choice by likelihood: how likely each option is as the answer, against the others of its sample."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from harness.evaluation.heads import Head, Means, Outcome
from harness.models.asking import Asking
from harness.types import Json, Sample


class Options(Head):
    """Letters of options by their probabilities, the most probable first, equal ones in the options' order.

    The model gives each option a log-likelihood ({"A": {"logprob": -1.5, "tokens": 2}, ...}), which
    `choice.normalize` leaves as it is (none) or divides by its tokens or by the UTF-8 bytes of its answer,
    so that long options aren't the unlikelier for it; probabilities are the softmax of that. What the model
    gave is kept under "options" in the extras.
    """

    def __init__(self, means: Means) -> None:
        self._asking = Asking.of(means.task)
        self._normalize = means.task.chooses.normalize

    def answers(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """The outcomes with probabilities in place of log-likelihoods."""
        for sample, id_, prediction in outcomes:
            if sample is None or not isinstance(prediction.output, Mapping):
                yield sample, id_, prediction
                continue
            found: dict[str, Any] = dict(prediction.output)
            extras: dict[str, Json] = {**prediction.extras, "options": found}
            yield sample, id_, replace(prediction, output=self._probabilities(sample, found), extras=extras)

    def _probabilities(self, sample: Sample, found: Mapping[str, Any]) -> dict[str, Json]:
        lengths = self._lengths(sample, found)
        scores = {letter: one["logprob"] / lengths[letter] for letter, one in found.items()}
        highest = max(scores.values())
        powers = {letter: math.exp(score - highest) for letter, score in scores.items()}
        total = sum(powers.values())
        return {letter: powers[letter] / total for letter in sorted(scores, key=lambda name: -scores[name])}

    def _lengths(self, sample: Sample, found: Mapping[str, Any]) -> dict[str, int]:
        """What log-likelihoods are divided by."""
        if self._normalize == "tokens":
            return {letter: one["tokens"] for letter, one in found.items()}
        if self._normalize == "bytes":
            texts = self._asking.answers(sample)
            return {letter: len(text.encode()) for letter, text in zip(found, texts, strict=True)}
        return dict.fromkeys(found, 1)
