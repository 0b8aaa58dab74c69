"""Comparing two stored runs: numbers, words, refusals."""

import json

import numpy as np
import pytest

from harness.errors import ResultError
from harness.evaluation.changes import WordDifference
from harness.evaluation.comparable import labels
from harness.evaluation.compare import compare
from harness.evaluation.statistics import paired
from harness.metrics import Metric, build
from harness.results.record import (
    FailurePart,
    ModelPart,
)
from tests.evaluation.stored_runs import GROUPS, TARGETS, data, garbled, metric_part, printed, run


def test_a_clearly_better_run():
    a, b = run(garbled(0.4)), run(garbled(0.05, seed=1), checkpoint="tuned", order=range(39, -1, -1))
    found = compare(a, b)
    expected = paired(statistics(a), statistics(b), GROUPS, build_wer().reduce, 1000, 0)
    assert (found.difference, found.ci95, found.p) == (expected.difference, expected.bounds, expected.p)
    assert found.value_b - found.value_a == pytest.approx(found.difference)
    assert (found.n, found.clusters, found.left_out) == (40, 20, 0)
    assert found.verdict == "better"
    assert found.sentence.startswith("B is better: wer -")
    assert "points" in found.sentence
    assert found.mcnemar is not None
    assert found.mcnemar.only_b > found.mcnemar.only_a
    back = compare(b, a)
    assert back.verdict == "worse"
    assert back.difference == pytest.approx(-found.difference)


def statistics(side):
    """WER's statistics in the order of the samples' ids."""
    table = side.samples.sort_by("id")
    return np.stack([table[column].to_numpy() for column in side.record.metrics["wer"].columns], axis=1)


def build_wer() -> Metric:
    metric = build("wer")
    assert isinstance(metric, Metric)
    return metric


def test_no_clear_difference():
    found = compare(run(garbled(0.2)), run(garbled(0.2, seed=1)))
    assert found.verdict == "no clear difference"
    assert found.sentence.startswith("No clear difference")


def test_higher_is_better_turns_the_verdict():
    found = compare(run(garbled(0.4)), run(garbled(0.05, seed=1)), "bleu")
    assert found.difference > 0
    assert found.verdict == "better"
    assert found.mcnemar is None
    assert found.wins[0].difference > 0


def test_wins_and_losses_are_the_samples_that_moved_the_score_with_their_words():
    predictions = list(TARGETS)
    a, b = list(predictions), list(predictions)
    a[3] = "word3 an then some words here now"  # 1 substituted, 1 deleted, 1 inserted
    b[5] = "word5 and then some more words"  # 1 deleted
    found = compare(run(a), run(b))
    [win], [loss] = found.wins, found.losses
    assert (win.id, loss.id) == ("utt03", "utt05")
    words = 7 * len(TARGETS)
    assert win.difference == pytest.approx(-100 * 3 / words)
    assert loss.difference == pytest.approx(100 * 1 / words)
    assert win.difference + loss.difference == pytest.approx(found.difference)
    assert win.words_a == (
        WordDifference("substituted", "and", "an"),
        WordDifference("deleted", "more", ""),
        WordDifference("inserted", "", "now"),
    )
    assert win.words_b == ()
    assert loss.words_b == (WordDifference("deleted", "here", ""),)


def test_at_most_ten_wins_largest_first():
    found = compare(run(garbled(0.5)), run(TARGETS))
    differences = [change.difference for change in found.wins]
    assert len(differences) == 10
    assert differences == sorted(differences)
    assert differences[-1] < 0
    assert found.losses == ()


def test_samples_that_one_run_failed_on_are_left_out_and_counted():
    a = [None, *TARGETS[1:]]
    b = [None, None, *garbled(0.1)[2:]]
    found = compare(run(a), run(b))
    assert (found.n, found.left_out) == (38, 2)


def test_nothing_scored_in_both():
    with pytest.raises(ResultError, match="no sample was scored in both"):
        compare(run([None] * 40), run(TARGETS))


def test_one_cluster_gives_a_difference_without_an_interval():
    a, b = (run(side[:1]) for side in (garbled(1.0), TARGETS))
    found = compare(a, b)
    assert found.difference < 0
    assert (found.ci95, found.p, found.verdict) == (None, None, "too few groups")
    assert "1 cluster (10 or more are needed)" in found.sentence


@pytest.mark.parametrize(("count", "verdict"), [(2, "too few groups"), (9, "too few groups"), (10, "better")])
def test_a_verdict_needs_ten_groups(count, verdict):
    groups = [f"speaker{n % count}" for n in range(40)]
    found = compare(run(garbled(0.5), groups=groups), run(TARGETS, groups=groups))
    assert found.verdict == verdict
    assert found.ci95 is not None  # the numbers stay, and seem to say that b is better
    assert found.ci95[1] < 0
    too_few = f"Too few groups to say: {count} clusters (10 or more are needed) for wer "
    assert found.sentence.startswith(too_few) == (verdict == "too few groups")
    assert "p = " in printed(found)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"spec_id": "6" * 64, "params": {"lang": "fr"}}, r"what they ask differs: .*lang=fr; spec 66666666"),
        ({"data": data(limit=40)}, r"different samples: test \(all\) and test \(limit 40\)"),
        ({"data": data(split="validation")}, "test .* and validation"),
        ({"data": data(fingerprint="e" * 64)}, "data differ in ids, targets or media"),
        ({"metrics": ("cer",)}, "has no metric 'wer', only cer"),
        ({"parts": {"wer": metric_part("wer", build("wer"), signature="other")}}, "isn't the same metric"),
        ({"failures": FailurePart(n=4, threshold=0.05)}, "failed on 4 of 40 samples, more than the 5.0%"),
        ({"order": range(38)}, "2 samples are only in .*, such as 'utt38'"),
    ],
    ids=["spec", "limit", "split", "fingerprint", "metric", "signature", "failures", "ids"],
)
def test_what_is_not_comparable_is_refused(changes, reason):
    with pytest.raises(ResultError, match=reason):
        compare(run(TARGETS), run(TARGETS, **changes))


SPEC = {
    "name": "digits",
    "data": {"path": "synthetic:x", "splits": {"test": "test"}, "streaming": False},
    "model": {"checkpoint": "base"},
    "generate": {"language": None, "num_beams": 1},
    "metrics": [{"name": "wer", "options": {"normalizer": "none"}}],
    "run": {"batch_size": 16},
}


def differing(own, other):
    """The message about two runs whose tasks are `own` and `other`."""
    with pytest.raises(ResultError) as raised:
        compare(run(TARGETS, spec=own), run(TARGETS, spec=other, spec_id="6" * 64))
    return raised.value.message


def test_the_settings_that_differ_are_named_with_both_values():
    other = {
        "name": "other",
        "data": {"path": "synthetic:x", "splits": {"test": "dev"}, "streaming": True},
        "model": {"checkpoint": "tuned"},
        "generate": {"language": "fr", "num_beams": 5},
        "metrics": [{"name": "wer", "options": {"normalizer": "lower"}}, {"name": "cer", "options": {}}],
        "run": {"batch_size": 4},
    }
    reason = differing(SPEC, other).split("what they ask differs:")[1]
    assert [line.strip() for line in reason.splitlines() if line.strip()] == [
        "generate.language: null and fr",
        "generate.num_beams: 1 and 5",
        "metrics[0].options.normalizer: none and lower",
        "metrics[1].name: not given and cer",
        "metrics[1].options: not given and {}",
    ]


def test_keys_that_are_to_differ_may():
    one, three = (
        SPEC | {"kind": "zero_shot_classification", "classes": {"names": None, "templates": templates}}
        for templates in (["a {}."], ["a {}.", "the {}.", "my {}."])
    )
    a, b = run(TARGETS, spec=one), run(garbled(0.3), spec=three, spec_id="6" * 64)
    found = compare(a, b, across=["classes.templates"])
    assert found.difference == compare(a, run(garbled(0.3), spec=one)).difference
    assert found.differs == {
        "classes.templates[1]": ("not given", "the {}."),
        "classes.templates[2]": ("not given", "my {}."),
    }
    assert "classes.templates[1] not given and the {}.;" in printed(found)
    assert compare(a, b, across=["classes"]).differs == found.differs
    for across in ([], ["classes.template"], ["data"]):
        with pytest.raises(ResultError, match="what they ask differs") as raised:
            compare(a, b, across=across)
        assert "--across classes.templates" in raised.value.hint


def test_a_hook_that_changed_is_not_among_the_keys():
    with pytest.raises(ResultError, match="a hook's source"):
        compare(run(TARGETS, spec=SPEC), run(TARGETS, spec=SPEC, spec_id="6" * 64), across=["data"])


def test_a_setting_that_this_version_does_not_know_counts():
    assert "novelty.depth: 1 and 2" in differing(
        SPEC | {"novelty": {"depth": 1}}, SPEC | {"novelty": {"depth": 2}}
    )


@pytest.mark.parametrize("own", [{}, SPEC], ids=["an old record", "a hook changed"])
def test_tasks_whose_settings_tell_nothing_are_named_by_their_digests(own):
    message = differing(own, SPEC)
    assert "digits (spec 55555555) and digits (spec 66666666)" in message
    assert ("a hook's source" in message) == bool(own)


def test_a_run_is_not_compared_with_itself():
    one = run(TARGETS, failures=FailurePart(n=4, threshold=0.05))
    with pytest.raises(ResultError, match=r"^these are the same run") as raised:
        compare(one, one)
    assert "\n" not in raised.value.message


def test_a_reason_is_given_once(monkeypatch):
    from harness.evaluation import comparable

    monkeypatch.setattr(comparable, "_failure_reasons", lambda record: ["too many failed"])
    with pytest.raises(ResultError) as raised:
        compare(run(TARGETS), run(garbled(0.1)))
    assert raised.value.message.count("too many failed") == 1


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ({}, {"checkpoint": "tuned", "revision": "c" * 40, "digest": "d" * 64}, ("base", "tuned")),
        ({}, {"adapter": "out/lora", "digest": "d" * 64}, ("base", "base + out/lora")),
        ({"dtype": "float32"}, {"dtype": "bfloat16"}, ("base, dtype float32", "base, dtype bfloat16")),
        ({}, {"quantize": "int8"}, ("base, quantize none", "base, quantize int8")),
        (
            {"revision": "c" * 40},
            {"revision": "d" * 40},
            ("base, revision cccccccc", "base, revision dddddddd"),
        ),
        ({"digest": "c" * 64}, {"digest": "d" * 64}, ("base, digest cccccccc", "base, digest dddddddd")),
        ({"dtype": "float32"}, {"dtype": "float32"}, ("base", "base")),
    ],
    ids=["checkpoint", "adapter", "dtype", "quantize", "revision", "digest", "alike"],
)
def test_labels_tell_runs_apart(own, other, expected):
    a, b = (
        run(predictions, model=ModelPart(**{"checkpoint": "base", **model})).record
        for predictions, model in ((TARGETS, own), (garbled(0.1), other))
    )
    assert labels(a, b) == tuple(f"{name} ({r.run_id[:8]})" for name, r in zip(expected, (a, b), strict=True))


def test_all_reasons_are_given_at_once():
    with pytest.raises(ResultError) as raised:
        compare(run(TARGETS), run(TARGETS, spec_id="6" * 64, data=data(limit=5), metrics=("cer",)))
    assert raised.value.message.count("\n  - ") == 3


def test_json_is_strict_and_complete():
    found = compare(run(garbled(0.4)), run(TARGETS, checkpoint="tuned"))
    read = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert read["metric"] == "wer"
    assert read["ci95"] == list(found.ci95 or ())
    assert read["mcnemar"]["only_b"] == found.mcnemar.only_b if found.mcnemar else 0
    assert read["wins"][0]["words_a"][0]["kind"] == "substituted"
    assert read["label_b"].startswith("tuned (")
