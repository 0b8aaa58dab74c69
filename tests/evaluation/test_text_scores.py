"""Answers that are texts: several references, samples that can't be scored, comparisons."""

import json
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.evaluation.changes import WordDifference, differing_words
from harness.evaluation.forms import nearest_reference, target_of
from harness.evaluation.score import Scorer
from harness.spec.schema import Task
from harness.types import Prediction, Sample

METRICS: list[Any] = [
    {"exact_match": {}},
    {"cider": {}},
    {"vqa_accuracy": {"answers": 3}},
    {"rouge_l": {}},
]


def scorer(*metrics, kind="vqa"):
    task = {
        "name": "answers",
        "kind": kind,
        "data": {"path": "none", "columns": {"image": "image", "question": "question", "target": "target"}},
        "model": {"checkpoint": "none"},
        "metrics": list(metrics),
        "statistics": {"draws": 200},
    }
    return Scorer(Task.model_validate(task))


def add(one, number, prediction, target):
    id_ = str(number)
    return one.add(Sample(id_, {}, target, id_), id_, Prediction(id_, prediction))


GOOD = [("red", ["red", "red", "blue"]), ("a dog", ["a dog", "dog", "the dog"]), ("no", ["yes", "no", "no"])]


@pytest.mark.parametrize("position", range(4))
def test_a_sample_that_one_metric_cannot_score_is_counted_by_none(position):
    """Wherever that metric stands in the list, and wherever the sample does."""
    metrics = METRICS[:]
    metrics.insert(position, metrics.pop(2))
    clean, spoilt = scorer(*metrics), scorer(*metrics)
    for number, pair in enumerate(GOOD):
        add(clean, number, *pair)
        if number == 1:
            row = add(spoilt, 9, "red", ["red", "red"])
        add(spoilt, number, *pair)
    assert row["error"].startswith("RowError: vqa_accuracy expects 3 answers a question, and this one has 2")
    assert row["prediction"] == "red"
    assert "prediction_normalised" not in row
    assert not any("." in key for key in row), "a failed sample has no statistics"
    assert (spoilt.n, dict(spoilt.failures)) == (4, {"RowError": 1})
    assert spoilt.values() == clean.values()
    for key, part in spoilt.parts().items():
        assert part == clean.parts()[key]
        assert part.n == 3


def test_rows_of_failed_samples_go_into_the_table():
    one = scorer({"pope_accuracy": {}}, kind="yes_no")
    outcomes = [
        (Sample(target, {}, target, target), target, Prediction(target, "No, there isn't."))
        for target in ("yes", "no", "maybe")
    ]
    [batch] = one.rows(outcomes)
    table = batch.to_pydict()
    assert table["error"] == [
        None,
        None,
        "RowError: pope_accuracy is of yes and no, and the target is 'maybe'",
    ]
    assert table["pope_accuracy.true_no"] == [0, 1, None]
    assert table["pope_accuracy.false_no"] == [1, 0, None]
    assert one.parts()["pope_accuracy"].value == 50


def test_texts_reach_the_metrics_as_they_are():
    """VQA's official rules compare unanimous answers with their case."""
    one = scorer({"vqa_accuracy": {}})
    row = add(one, 0, "Yes", ["yes"] * 10)
    assert row["vqa_accuracy.score"] == 0
    assert json.loads(row["target_normalised"]) == ["yes"] * 10


def test_the_normalizer_of_one_metric_is_not_that_of_another():
    one = scorer({"exact_match": {"normalizer": "vqa"}}, {"exact_match": {}})
    row = add(one, 0, "The two", ["2", "none"])
    assert (row["exact_match.score"], row["exact_match#2.score"]) == (1, 0)


def test_an_answer_is_shown_beside_the_nearest_reference():
    target = json.dumps(["blue car", "a red car", "blue car"])
    assert nearest_reference(target, "a red bus") == "a red car"
    assert nearest_reference(json.dumps(["red", "blue", "red"]), "green") == "red"
    assert nearest_reference("one text", "green") == "one text"
    assert differing_words(target, "a red bus") == (WordDifference("substituted", "car", "bus"),)


def test_a_text_that_begins_like_a_list_is_a_text():
    assert target_of('["quoted" he said', "text") == '["quoted" he said'
    assert target_of('["a", "b"]', "text") == ["a", "b"]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """The command line in this process; what it prints as JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))

    def run(*arguments):
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_stored_answers_are_scored_and_compared(command, tmp_path):
    """A file's targets are lists; one of them is short; McNemar's test and CIDEr's difference come along."""
    task = {
        "name": "answers",
        "kind": "vqa",
        "data": {"path": "none.jsonl", "columns": {"image": "i", "question": "q", "target": "a"}},
        "model": {"checkpoint": "none"},
        "metrics": ["vqa_accuracy", "cider", "caption_bleu@1"],
        "run": {"max_failures": 0.1},
        "statistics": {"draws": 200},
    }
    (tmp_path / "task.yaml").write_text(json.dumps(task))
    rng = np.random.default_rng(0)
    runs = []
    for name, right in (("a", 0.4), ("b", 0.9)):
        rows = []
        for number in range(40):
            color = ["red", "blue", "green"][number % 3]
            target = [color] * 9 + ["grey"] if number else [color] * 9
            said = color if rng.random() < right else "a house"
            people = [{"answer": one, "answer_id": place} for place, one in enumerate(target)]
            given: Any = people if number % 2 else target  # as VQA's own files have them, or texts
            rows.append(json.dumps({"id": number, "prediction": said, "target": given}))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
        [record] = command("score", "task.yaml", "--predictions", f"{name}.jsonl")["runs"]
        assert record["failures"]["by_type"] == {"RowError": 1}
        assert {part["n"] for part in record["metrics"].values()} == {39}
        runs.append(record)
    a, b = runs
    found = command("compare", a["run_id"], b["run_id"])
    assert found["verdict"] == "better"
    assert (found["n"], found["left_out"]) == (39, 1)
    assert found["mcnemar"]["only_b"] > found["mcnemar"]["only_a"]
    cider = command("compare", a["run_id"], b["run_id"], "--metric", "cider")
    assert (cider["n"], cider["left_out"]) == (39, 1)
    assert cider["ci95"][0] > 0
    gain = b["metrics"]["cider"]["value"] - a["metrics"]["cider"]["value"]
    assert cider["difference"] == pytest.approx(gain)
