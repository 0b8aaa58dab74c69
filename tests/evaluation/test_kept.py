"""A check against forgetting: what each interval means against what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from harness.evaluation.compare import Comparison
from harness.evaluation.kept import KeptCheck
from harness.spec.training import Keep


def check(
    difference: float,
    ci95: tuple[float, float] | None,
    *,
    higher_is_better: bool = False,
    tolerance: float = 1.0,
    clusters: int = 30,
) -> KeptCheck:
    fields: dict[str, Any] = dict.fromkeys(Comparison.__dataclass_fields__)
    fields |= {
        "difference": difference, "ci95": ci95, "higher_is_better": higher_is_better, "clusters": clusters,
        "wins": (), "losses": (),
    }  # fmt: skip
    record: Any = type("Record", (), {"run_id": "0" * 64})()
    return KeptCheck(
        Keep(name="x", params={"a": 1}, tolerance=tolerance), record, record, Comparison(**fields)
    )


@pytest.mark.parametrize(
    ("difference", "ci95", "verdict"),
    [
        (0.2, (-0.5, 0.9), "kept"),
        (0.2, (-0.5, 1.0), "kept"),
        (0.2, (-0.5, 1.1), "not certain"),
        (1.5, (-0.5, 3.5), "worse than allowed"),
        (1.5, (1.2, 1.8), "worse than allowed"),
        (-4.0, (-6.0, -2.0), "kept"),
        (0.0, (0.0, 0.0), "kept"),
        (0.2, None, "not certain"),
        (1.5, None, "worse than allowed"),
        (float("nan"), None, "not certain"),
    ],
)
def test_the_upper_end_of_how_much_worse_it_got_decides(difference, ci95, verdict):
    found = check(difference, ci95)
    assert found.verdict == verdict
    mirrored = None if ci95 is None else (-ci95[1], -ci95[0])
    other = check(-difference, mirrored, higher_is_better=True)
    assert other.verdict == verdict
    if difference == difference:
        assert other.worse == found.worse == difference
    assert other.at_most == found.at_most


def test_without_tolerance_any_loss_is_too_much():
    assert check(0.1, (-0.1, 0.3), tolerance=0).verdict == "worse than allowed"
    assert check(0.0, (0.0, 0.0), tolerance=0).verdict == "kept"


def test_few_groups_are_never_certain():
    assert check(0.2, (0.1, 0.3), clusters=3).verdict == "not certain"


def test_what_can_not_be_compared_is_not_certain():
    found = check(0.0, (0.0, 0.0))
    refused = KeptCheck(found.keep, found.base, found.tuned, None, "too many failures")
    assert refused.verdict == "not certain"
    assert refused.to_json()["refusal"] == "too many failures"  # type: ignore[index, call-overload]


def test_json_has_everything_but_the_records():
    found: Any = check(0.2, (-0.5, 0.9)).to_json()
    assert (found["name"], found["params"], found["tolerance"]) == ("x", {"a": 1}, 1.0)
    assert (found["worse"], found["at_most"], found["verdict"]) == (0.2, 0.9, "kept")
    assert found["base"] == "0" * 64
    assert found["comparison"]["ci95"] == [-0.5, 0.9]
