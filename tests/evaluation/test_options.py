"""Log-likelihoods of options as probabilities, worked out by hand."""

from __future__ import annotations

from typing import Any, cast

import pytest

from harness.data import Dataset
from harness.evaluation.heads import Embed, Means
from harness.evaluation.options import Options
from harness.models.base import Adapter
from harness.spec.schema import Task
from harness.types import Failure, Prediction, Sample

SAID = {
    "A": {"logprob": -2.0, "tokens": 1},
    "B": {"logprob": -3.0, "tokens": 3},
    "C": {"logprob": -4.0, "tokens": 2},
}
OPTIONS = ("ab", "abcdef", "é")
"""2, 6 and 2 bytes."""


def answer(given: dict[str, Any] = SAID, **choice: Any) -> Prediction:
    task = Task.model_validate(
        {
            "name": "test",
            "kind": "multiple_choice",
            "data": {
                "path": "nowhere",
                "columns": {name: name for name in ("image", "question", "options", "target")},
            },
            "model": {"checkpoint": "none"},
            "choice": choice,
            "metrics": ["accuracy"],
        }
    )
    nothing = cast(Any, None)
    head = Options(Means(task, cast(Adapter, nothing), cast(Dataset, nothing), cast(Embed, nothing), nothing))
    sample = Sample("one", {"question": "?", "options": OPTIONS}, "A", "g")
    said = Prediction("one", given, extras={"was": 1})
    failed = (sample, "one", Prediction("one", None, error=Failure("RowError", "no image")))
    [(_, _, found), last] = head.answers([(sample, "one", said), failed])
    assert last == failed
    assert found.extras == {"was": 1, "options": given}
    return found


def probabilities(found: Prediction) -> list[Any]:
    assert isinstance(found.output, dict)
    return list(found.output.items())


def test_the_likeliest_comes_first_with_its_share_of_the_probability():
    # e^-2, e^-3, e^-4 over their sum: 1 / (1 + e^-1 + e^-2) = 0.665241.
    assert probabilities(answer()) == [
        ("A", pytest.approx(0.665241, abs=1e-6)),
        ("B", pytest.approx(0.244728, abs=1e-6)),
        ("C", pytest.approx(0.090031, abs=1e-6)),
    ]


def test_by_tokens_the_long_option_is_the_likeliest_of_each():
    # -2 / 1, -3 / 3, -4 / 2: B before the equal A and C. 1 / (1 + 2 e^-1) = 0.576117.
    assert probabilities(answer(normalize="tokens")) == [
        ("B", pytest.approx(0.576117, abs=1e-6)),
        ("A", pytest.approx(0.211942, abs=1e-6)),
        ("C", pytest.approx(0.211942, abs=1e-6)),
    ]


def test_by_bytes_of_utf8_and_not_by_letters():
    # -2 / 2, -3 / 6, -4 / 2 = -1, -0.5, -2: e^-0.5, 1, e^-1.5 over their sum 1.829661.
    assert probabilities(answer(normalize="bytes")) == [
        ("B", pytest.approx(0.546549, abs=1e-6)),
        ("A", pytest.approx(0.331499, abs=1e-6)),
        ("C", pytest.approx(0.121952, abs=1e-6)),
    ]


def test_bytes_are_those_of_what_is_answered():
    # Letters are a byte each: nothing is changed.
    assert probabilities(answer(normalize="bytes", answer="letter")) == probabilities(answer())


def test_likelihoods_of_long_answers_do_not_vanish():
    said = {"A": {"logprob": -2000.0, "tokens": 1}, "B": {"logprob": -2001.0, "tokens": 1}}
    assert probabilities(answer(said))[0] == ("A", pytest.approx(0.731059, abs=1e-6))
