"""The bootstrap against formulas that need none, and at its edges."""

import numpy as np
import pyarrow as pa
import pytest

from harness.evaluation import statistics
from harness.evaluation.statistics import (
    Interval,
    cluster_codes,
    few,
    interval,
    mcnemar,
    paired,
    resampled_interval,
    resampled_paired,
    weighted_interval,
    weighted_paired,
)
from harness.metrics import build
from harness.metrics.base import WeightedMetric

RNG = np.random.default_rng(7)


def ratio(sums):
    """Edits over words in percent, (..., 2) to (...,); undefined without words."""
    return 100 * sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan)


def utterances(n):
    words = RNG.integers(1, 20, n)
    return np.stack([RNG.binomial(words, 0.2), words], axis=1).astype(np.float64)


def test_the_value_is_the_ratio_of_sums():
    found = interval(np.array([[1.0, 2.0], [0.0, 4.0]]), ["a", "b"], ratio, 100, 0)
    assert found.value == pytest.approx(100 / 6)
    assert (found.n, found.clusters, found.level) == (2, 2, 0.95)


def test_the_interval_agrees_with_the_normal_one_for_a_mean():
    stats = np.stack([RNG.normal(10, 3, 2000), np.ones(2000)], axis=1)
    found = interval(stats, np.arange(2000), lambda sums: sums[..., 0] / sums[..., 1], 4000, 0)
    error = stats[:, 0].std(ddof=1) / np.sqrt(2000)  # of the mean: divided by sqrt(n) once
    assert found.low == pytest.approx(stats[:, 0].mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(stats[:, 0].mean() + 1.96 * error, abs=0.1 * error)


def test_a_cluster_is_drawn_whole():
    # Ten copies of each utterance carry no more information than one, however many rows there are.
    once = utterances(40)
    groups = np.arange(40)
    alone = interval(once, groups, ratio, 1000, 3)
    copied = interval(np.repeat(once, 10, axis=0), np.repeat(groups, 10), ratio, 1000, 3)
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))
    ignored = interval(np.repeat(once, 10, axis=0), np.arange(400), ratio, 1000, 3)
    assert ignored.high - ignored.low < 0.5 * (alone.high - alone.low)


def test_the_order_of_rows_does_not_matter():
    stats, groups = utterances(300), np.array([f"speaker {n % 37}" for n in range(300)])
    shuffle = RNG.permutation(300)
    assert interval(stats, groups, ratio, 200, 5) == interval(stats[shuffle], groups[shuffle], ratio, 200, 5)


def test_a_seed_decides_the_draws_however_they_are_blocked(monkeypatch):
    stats, groups = utterances(50), [str(n % 25) for n in range(50)]
    found = interval(stats, groups, ratio, 300, 1)
    assert found == interval(stats, groups, ratio, 300, 1)
    assert found != interval(stats, groups, ratio, 300, 2)
    for block in (1, 60):
        monkeypatch.setattr(statistics, "BLOCK", block)
        assert found == interval(stats, groups, ratio, 300, 1)


@pytest.mark.parametrize(
    ("stats", "groups"),
    [
        (np.zeros((0, 2)), []),
        (np.array([[1.0, 4.0]]), ["a"]),
        (np.array([[1.0, 4.0], [2.0, 4.0]]), ["a", "a"]),
    ],
    ids=["nothing", "one sample", "one cluster"],
)
def test_nothing_to_resample_gives_no_interval(stats, groups):
    found = interval(stats, groups, ratio, 100, 0)
    assert found.bounds is None
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(found.value) == (len(stats) == 0)
    both = paired(stats, stats, groups, ratio, 100, 0)
    assert both.bounds is None
    assert np.isnan(both.p)


def test_undefined_draws_are_left_out_and_counted():
    # Two of three clusters have no words: (2/3)^3 = 30 % of the draws have none at all.
    found = interval(np.array([[1.0, 4.0], [0.0, 0.0], [1.0, 0.0]]), ["a", "b", "c"], ratio, 2000, 0)
    assert found.undefined == pytest.approx(2000 * 8 / 27, rel=0.1)
    assert found.value == 50
    assert found.bounds is not None


def test_an_undefined_value_has_no_interval():
    found = interval(np.array([[1.0, 0.0], [0.0, 0.0]]), ["a", "b"], ratio, 100, 0)
    assert np.isnan(found.value)
    assert found.bounds is None
    assert found.undefined == 100


@pytest.mark.parametrize(
    "groups",
    [
        ["b", "a", "b", "c"],
        np.array([20, 10, 20, 30]),
        pa.chunked_array([["b", "a"], ["b", "c"]]),
        pa.array(["unused", "b", "a", "b", "c"]).dictionary_encode()[1:],
    ],
    ids=["strings", "numbers", "chunks", "dictionary"],
)
def test_clusters_are_numbered_in_the_order_of_their_labels(groups):
    codes, clusters = cluster_codes(groups)
    assert codes.tolist() == [1, 0, 1, 2]
    assert clusters == 3


def test_paired_draws_are_the_same_for_both():
    a = utterances(200)
    b = a.copy()
    b[:, 0] = np.maximum(b[:, 0] - 1, 0)
    groups = np.arange(200)
    found = paired(a, b, groups, ratio, 500, 0)
    assert found.difference == pytest.approx(ratio(b.sum(0)) - ratio(a.sum(0)))
    assert found.high < 0
    assert found.p == pytest.approx(2 / 501)  # never 0
    alone = [interval(side, groups, ratio, 500, 0) for side in (a, b)]
    unpaired_width = sum(each.high - each.low for each in alone)
    assert found.high - found.low < unpaired_width / 4
    back = paired(b, a, groups, ratio, 500, 0)
    assert (back.low, back.high, back.p) == pytest.approx((-found.high, -found.low, found.p))


def test_equal_systems_differ_by_nothing():
    stats = utterances(30)
    found = paired(stats, stats, np.arange(30), ratio, 200, 0)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_p_is_uniform_where_nothing_differs():
    rng = np.random.default_rng(0)
    words = np.full(60, 10.0)
    ps = []
    for _ in range(300):
        a, b = (np.stack([rng.binomial(10, 0.3, 60), words], axis=1).astype(float) for _ in "ab")
        ps.append(paired(a, b, np.arange(60), ratio, 200, 0).p)
    assert np.mean(np.array(ps) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert np.mean(np.array(ps) < 0.5) == pytest.approx(0.5, abs=0.08)


def test_mcnemar_is_the_exact_binomial():
    a = np.array([True] * 10 + [False] * 2 + [True] * 50)
    b = np.array([False] * 10 + [True] * 2 + [True] * 50)
    found = mcnemar(a, b)
    assert (found.only_a, found.only_b) == (10, 2)
    assert found.p == pytest.approx(2 * (1 + 12 + 66) / 2**12)  # 0, 1 or 2 of 12, both sides
    assert mcnemar(a, a).p == 1


def test_resampled_lists_agree_with_statistics():
    stats, other = utterances(60), utterances(60)
    other[:, 1] = stats[:, 1]
    groups = [f"{n % 13}" for n in range(60)]

    def compute(predictions, targets):
        return float(100 * sum(predictions) / sum(targets))

    edits, words = stats.T.tolist()
    fast = interval(stats, groups, ratio, 200, 4)
    slow = resampled_interval(compute, edits, words, groups, 200, 4)
    assert (slow.value, slow.low, slow.high) == pytest.approx((fast.value, fast.low, fast.high))
    assert (slow.n, slow.clusters) == (60, 13)
    fast_pair = paired(stats, other, groups, ratio, 200, 4)
    slow_pair = resampled_paired(compute, edits, other[:, 0].tolist(), words, groups, 200, 4)
    assert (slow_pair.difference, slow_pair.low, slow_pair.high, slow_pair.p) == pytest.approx(
        (fast_pair.difference, fast_pair.low, fast_pair.high, fast_pair.p)
    )


CLASSES = [f"class {n}" for n in range(7)]


def classified(n, rng):
    """Answers and targets of single classes; the last class is rare, so that draws without it occur."""
    targets = [CLASSES[int(rng.integers(6))] for _ in range(n - 1)] + [CLASSES[6]]
    return [answer(target, rng) for target in targets], targets


def answer(target, rng):
    probabilities = sorted(rng.dirichlet(np.ones(len(CLASSES))).round(2), reverse=True)
    names = rng.permutation(CLASSES).tolist()
    if rng.random() < 0.6:
        names.insert(0, names.pop(names.index(target)))
    return dict(zip(names, map(float, probabilities), strict=True))


def labelled(n, rng):
    """Answers and targets of several classes, with equal probabilities among them."""
    targets = [[name for name in CLASSES if rng.random() < 0.25] for _ in range(n)]
    answers = [
        {name: round(float(rng.random() * 0.5 + 0.3 * (name in target)), 1) for name in CLASSES}
        for target in targets
    ]
    return answers, targets


@pytest.mark.parametrize("block", [statistics.BLOCK, 1, 100])
@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "ece", "map"])
def test_weights_agree_with_resampled_lists(name, block, monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK", block)
    metric, rng = build(name), np.random.default_rng(3)
    assert isinstance(metric, WeightedMetric)
    a, targets = (labelled if name == "map" else classified)(60, rng)
    b = a[:30] + a[30:][::-1]
    groups = [f"{n % 13}" for n in range(60)]
    weighted_a, weighted_b = (
        metric.weighted([metric.kept(*pair) for pair in zip(side, targets, strict=True)]) for side in (a, b)
    )
    fast = weighted_interval(weighted_a, groups, 200, 4)
    slow = resampled_interval(metric.compute, a, targets, groups, 200, 4)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high))
    assert (fast.n, fast.clusters, fast.undefined) == (slow.n, slow.clusters, slow.undefined)
    fast_pair = weighted_paired(weighted_a, weighted_b, groups, 200, 4)
    slow_pair = resampled_paired(metric.compute, a, b, targets, groups, 200, 4)
    assert (fast_pair.difference, fast_pair.low, fast_pair.high, fast_pair.p) == pytest.approx(
        (slow_pair.difference, slow_pair.low, slow_pair.high, slow_pair.p)
    )


def test_weights_of_nothing_and_of_one_cluster():
    found = weighted_interval(lambda weights: weights[:, 0], [], 100, 0)
    assert np.isnan(found.value)
    assert found.bounds is None
    one = weighted_interval(lambda weights: weights.sum(axis=1), ["g", "g"], 100, 0)
    assert (one.value, one.bounds) == (2, None)
    assert np.isnan(weighted_paired(lambda weights: weights[:, 0], lambda w: w[:, 0], [], 100, 0).difference)


def test_the_interval_of_balanced_accuracy_holds_the_truth():
    # Two classes, nine times as many of one, recalls of 0.9 and 0.6: the truth is 0.75.
    rng, metric, held = np.random.default_rng(0), build("balanced_accuracy"), 0
    assert isinstance(metric, WeightedMetric)
    for seed in range(200):
        rare = rng.random(400) < 0.1
        right = rng.random(400) < np.where(rare, 0.6, 0.9)
        kept = [("rare" if name else "common", bool(hit)) for name, hit in zip(rare, right, strict=True)]
        found = weighted_interval(metric.weighted(kept), np.arange(400), 200, seed)
        held += found.low <= 75 <= found.high
    assert 0.9 <= held / 200 <= 0.98


def test_resampled_lists_of_nothing():
    found = resampled_interval(lambda p, t: 1.0, [], [], [], 100, 0)
    assert np.isnan(found.value)
    assert found.bounds is None
    assert resampled_interval(lambda p, t: 1.0, ["a"], ["a"], ["g"], 100, 0).bounds is None


def test_bounds_are_what_a_record_holds():
    assert Interval(1.0, 0.5, 2.0, 3, 3).bounds == (0.5, 2.0)


def test_ten_clusters_are_no_longer_few():
    assert [few(clusters) for clusters in (0, 1, 2, 9, 10, 11)] == [True] * 4 + [False] * 2
