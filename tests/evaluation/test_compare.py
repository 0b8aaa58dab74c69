"""Comparing two stored runs: numbers, words, refusals, and the table in the terminal."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from harness.errors import ResultError
from harness.evaluation.changes import WordDifference, differing_words
from harness.evaluation.comparable import RunData, labels
from harness.evaluation.compare import compare
from harness.evaluation.compare_table import comparison_table
from harness.evaluation.statistics import paired
from harness.metrics import Metric, build
from harness.results.record import (
    DataPart,
    Draft,
    FailurePart,
    MetricIdentity,
    MetricPart,
    ModelPart,
    seal,
)

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
TARGETS = [f"word{n} and then some more words here" for n in range(40)]
GROUPS = [f"speaker{n % 20}" for n in range(40)]


def metric_part(name, metric, key=None, **changes):
    columns = tuple(f"{key or name}.{column}" for column in getattr(metric, "columns", ()))
    fields = {
        "value": 1.0,
        "n": 40,
        "clusters": 20,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "signature": metric.signature,
        "columns": columns,
        "metric": MetricIdentity(name=name),
    }
    return MetricPart(**{**fields, **changes})


def run(
    predictions,
    *,
    checkpoint="base",
    metrics=("wer", "bleu"),
    order=None,
    parts=None,
    groups=GROUPS,
    **changes,
):
    """A stored run over TARGETS; a prediction of None failed."""
    built = {name: build(name) for name in metrics}
    rows = []
    for n in order if order is not None else range(len(predictions)):
        prediction, target = predictions[n], TARGETS[n]
        row = {"id": f"utt{n:02}", "group": groups[n], "target": target, "prediction": prediction}
        row |= {"target_normalised": target.lower(), "prediction_normalised": prediction}
        for name, metric in built.items():
            assert isinstance(metric, Metric)
            stats = metric.stats(prediction, target) if prediction is not None else None
            row |= {f"{name}.{c}": stats and float(stats[i]) for i, c in enumerate(metric.columns)}
        rows.append(row)
    fields = {
        "spec_id": "5" * 64,
        "task": "digits",
        "kind": "asr",
        "family": "whisper",
        "model": ModelPart(checkpoint=checkpoint),
        "data": DataPart(path="synthetic:x", split="test", n=len(rows), fingerprint="f" * 64),
        "primary": metrics[0],
        "metrics": {name: metric_part(name, metric) for name, metric in built.items()} | (parts or {}),
        "started": WHEN,
        "ended": WHEN,
        "samples_sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
    }
    return RunData(seal(Draft(**{**fields, **changes})), pa.Table.from_pylist(rows))


def garbled(share, seed=0):
    """TARGETS with some words replaced."""
    rng = np.random.default_rng(seed)
    return [" ".join("oops" if rng.random() < share else word for word in t.split()) for t in TARGETS]


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


def printed(found):
    console = Console(width=80, file=StringIO())
    console.print(comparison_table(found))
    return console.file.getvalue()  # type: ignore[attr-defined]


def data(**changes):
    return DataPart(**{"path": "synthetic:x", "split": "test", "n": 40, "fingerprint": "f" * 64, **changes})


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


def test_the_table_fits_80_columns_and_reads_texts_literally():
    a = garbled(0.4)
    a[7] = "[bold]word7[/nope] " + "averylongwordwithoutanyspace" * 5
    text = printed(compare(run(a), run(garbled(0.1, seed=1), checkpoint="tuned")))
    assert max(map(len, text.splitlines())) <= 80
    for expected in (
        "wer, lower is better",
        "95% interval",
        "20 clusters",
        "McNemar",
        "Largest wins of B (wer falls)",
        "and → oops",
    ):
        assert expected in text
    assert "[/nope]" in text


def test_long_names_and_markup_do_not_break_the_table():
    checkpoint = "/somewhere/" + "deep/" * 40 + "base"
    found = compare(run(garbled(0.4)), run(TARGETS, checkpoint=checkpoint))
    ids = ["/data/" + "averylongfolder/" * 12 + "[/b][red]clip7.wav", "[link=x]utt"]
    wins = [replace(win, id=name) for win, name in zip(found.wins, ids, strict=False)]
    text = printed(replace(found, wins=tuple(wins), metric="[/i]" + "metric" * 8))
    assert max(map(len, text.splitlines())) <= 80
    cells = "".join(line.split("│")[1].strip() for line in text.splitlines() if "│" in line)
    assert "[/b][red]clip7.wav" in cells  # the end of a path is what tells it from others
    assert "[link=x]utt" in cells
    assert "/data/" not in cells
    assert checkpoint in "".join(line.strip() for line in text.splitlines())


def test_the_changes_say_what_they_count_and_have_the_sign_of_the_difference():
    a, b = run(garbled(0.4)), run(garbled(0.1, seed=1))
    wer, bleu = printed(compare(a, b)), printed(compare(a, b, "bleu"))
    assert "Largest wins of B (wer falls)" in wer
    assert "Largest losses of B (wer rises)" in wer
    assert "Largest wins of B (bleu rises)" in bleu
    assert all(part in wer for part in ("change of", "wer,", "points"))
    assert "points" not in bleu.split("Largest")[1]


def test_a_metric_of_whole_lists_is_compared_by_its_texts(monkeypatch):
    from harness.metrics.evaluate_library import EvaluateMetric

    class Hits:
        _hash = "0" * 64

        def compute(self, predictions, references):
            return {"hits": float(np.mean([p == r for p, r in zip(predictions, references, strict=True)]))}

    monkeypatch.setattr(EvaluateMetric, "_module", Hits())
    part = MetricPart(
        value=1.0,
        n=40,
        clusters=20,
        unit="",
        higher_is_better=True,
        signature="evaluate:hits@0|normalizer:lower|version:0",
        metric=MetricIdentity(name="evaluate", options={"path": "hits", "normalizer": "whisper"}),
    )
    a, b = (run(side, parts={"hits": part}) for side in (garbled(0.2), [t.upper() for t in TARGETS]))
    found = compare(a, b, "hits", draws=100)
    assert found.value_b == 1
    assert found.verdict == "better"
    assert (found.wins, found.mcnemar) == ((), None)


def test_words_differ_along_the_scored_alignment():
    assert differing_words("a b c", "a b c") == ()
    assert differing_words("", "x y") == (WordDifference("inserted", "", "x y"),)
    assert differing_words("a b c d", "a x y d") == (WordDifference("substituted", "b c", "x y"),)
