"""Metrics of classes against scikit-learn on random answers, with equal probabilities among them."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score

from harness.metrics import build
from harness.metrics.base import WeightedMetric
from harness.metrics.ece import BINS

NAMES = ["bird", "cat", "dog", "emu", "猫"]


def weighted_metric(name):
    metric = build(name)
    assert isinstance(metric, WeightedMetric)
    return metric


@pytest.mark.parametrize("seed", range(5))
def test_balanced_accuracy_and_f1_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    targets, answers = rng.choice(NAMES, 40).tolist(), rng.choice(NAMES, 40).tolist()
    ours = weighted_metric("balanced_accuracy").compute(answers, targets)
    assert ours == pytest.approx(100 * balanced_accuracy_score(targets, answers))
    ours = weighted_metric("macro_f1").compute(answers, targets)
    assert ours == pytest.approx(100 * f1_score(targets, answers, average="macro"))


@pytest.mark.parametrize("digits", [1, 9])
@pytest.mark.parametrize("seed", range(5))
def test_mean_average_precision_agrees_with_scikit_learn(seed, digits):
    rng = np.random.default_rng(seed)
    truth, scores = rng.random((30, 5)) < 0.3, rng.random((30, 5)).round(digits)
    truth[:, 4] = False  # a class without a positive is left out
    answers = [dict(zip(NAMES, map(float, row), strict=True)) for row in scores]
    targets = [[name for name, has in zip(NAMES, row, strict=True) if has] for row in truth]
    each = [average_precision_score(truth[:, at], scores[:, at]) for at in range(4)]
    assert weighted_metric("map").compute(answers, targets) == pytest.approx(100 * np.mean(each))


def test_mean_average_precision_does_not_depend_on_the_order_of_an_answer():
    forwards, backwards = {"cat": 0.9, "dog": 0.2}, {"dog": 0.2, "cat": 0.9}
    targets, metric = [["dog"], ["cat"], ["dog"]], weighted_metric("map")
    other = {"cat": 0.1, "dog": 0.6}
    value = metric.compute([forwards, other, other], targets)
    assert metric.compute([backwards, other, other], targets) == value


@pytest.mark.parametrize("seed", range(3))
def test_calibration_agrees_with_its_definition(seed):
    rng = np.random.default_rng(seed)
    confidence, right = rng.random(200), rng.random(200) < 0.5
    answers = [{"a": float(value)} for value in confidence]
    error = 0.0
    for low, high in zip(np.arange(BINS) / BINS, np.arange(1, BINS + 1) / BINS, strict=True):
        held = (low < confidence) & (confidence <= high)
        if held.any():
            error += held.mean() * abs(right[held].mean() - confidence[held].mean())
    ours = weighted_metric("ece").compute(answers, ["a" if hit else "b" for hit in right])
    assert ours == pytest.approx(100 * error)
