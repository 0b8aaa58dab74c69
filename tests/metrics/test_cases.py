"""Every metric against cases computed by hand: tests/metrics/cases/<metric>.json, arithmetic in `comment`."""

import json
from pathlib import Path

import numpy as np
import pytest

from harness.metrics import Metric, build
from harness.metrics.base import WeightedMetric
from harness.metrics.normalizers import normalized, resolve
from harness.registry import METRICS, NORMALIZERS

CASES = Path(__file__).parent / "cases"
WITHOUT_CASES = {"evaluate"}  # not one metric but a door to many


def cases():
    return [
        pytest.param(path.stem, case, id=f"{path.stem}-{number}")
        for path in sorted(CASES.glob("*.json"))
        for number, case in enumerate(json.loads(path.read_text()))
    ]


@pytest.mark.parametrize(("name", "case"), cases())
def test_case(name, case):
    metric = build(name, case.get("options"))
    if isinstance(metric, WeightedMetric):
        assert metric.compute(case["predictions"], case["targets"]) == expected(case)
        return
    assert isinstance(metric, Metric)
    normalizer = NORMALIZERS.get(resolve(metric.normalizer, case.get("language")))
    pairs = [
        (normalized(prediction, normalizer), normalized(target, normalizer))
        if isinstance(prediction, str)
        else (prediction, target)
        for prediction, target in zip(case["predictions"], case["targets"], strict=True)
    ]
    stats = [metric.stats(*pair) for pair in pairs]
    assert [row and list(row) for row in stats] == case["stats"]

    value = float(metric.reduce(np.sum([row for row in stats if row], axis=0, dtype=np.float64)))
    assert value == expected(case)


def expected(case):
    value = float("nan") if case["value"] is None else case["value"]
    return pytest.approx(value, rel=1e-6, nan_ok=True)


def test_every_metric_has_cases():
    covered = {path.stem for path in CASES.glob("*.json")}
    assert set(METRICS) - WITHOUT_CASES <= covered
