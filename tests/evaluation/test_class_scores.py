"""Classes and ranks from a file of predictions to rows, scores, comparisons and what is said of them."""

from __future__ import annotations

import json
import math
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from harness import pipeline
from harness.errors import SpecError, UsageError
from harness.evaluation.comparable import RunData
from harness.evaluation.compare import compare
from harness.evaluation.forms import answer_of, as_text, first_of, in_short, target_of
from harness.evaluation.worst import costliest, costliest_text
from harness.spec.load import load
from tests.evaluation.class_runs import NAMES, predictions_file, run_of, said, task_file


def printed(*parts):
    console = Console(width=80, file=StringIO())
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


def rows(table):
    return {row["id"]: row for row in table.to_pylist()}


def test_rows_hold_answers_as_json_and_the_first_class_in_short(tmp_path):
    record, table = run_of(
        tmp_path, [said("cat", "dog", "cat", sure=0.75), {"target": 2, "prediction": "emu"}]
    )
    first, second = rows(table).values()
    assert json.loads(first["prediction"]) == {"dog": 0.75, "cat": 0.25}
    assert (first["prediction_normalised"], first["target_normalised"]) == ("dog", "cat")
    assert (first["accuracy.right"], first["accuracy.samples"]) == (0, 1)
    assert (second["prediction"], second["target"], second["accuracy.right"]) == ("emu", "emu", 1)
    assert {key: part.value for key, part in record.metrics.items()} == {
        "accuracy": 50,
        "balanced_accuracy": 50,
        "ece": 75,  # of the one answer that has a probability
    }
    assert [part.n for part in record.metrics.values()] == [2, 2, 1]


def test_the_most_probable_class_is_the_first_whatever_the_order_of_the_file(tmp_path):
    _, table = run_of(tmp_path, [{"target": "cat", "prediction": {"emu": 0.1, "cat": 0.7, "dog": 0.2}}])
    [row] = rows(table).values()
    assert list(json.loads(row["prediction"])) == ["cat", "dog", "emu"]
    assert row["accuracy.right"] == 1


def test_a_class_that_is_not_in_the_list_is_a_failure_that_names_it(tmp_path):
    wrong = [{"target": "cat", "prediction": "catt"}, said("dog", "dog", "wolf", "emu")]
    record, table = run_of(tmp_path, [*wrong, said("emu", "emu")], run={"max_failures": 1.0})
    first, second, third = rows(table).values()
    assert first["error"] == "UnknownClass: 'catt' is none of the 3 classes. Did you mean 'cat'?"
    assert second["error"].startswith("UnknownClass: 'wolf' is none of the 3")
    assert third["error"] is None
    assert record.metrics["accuracy"].n == 1
    assert record.failures.by_type == {"UnknownClass": 2}


@pytest.mark.parametrize(
    ("prediction", "fault"),
    [
        ({"cat": 1.5}, "gives 'cat' 1.5: a probability is between 0 and 1"),
        ({"cat": math.nan}, "gives 'cat' nan"),
        ({"cat": True}, "gives 'cat' True"),
        ({"cat": "0.5"}, "gives 'cat' '0.5'"),
        ({}, "should be a class's name"),
        (["cat"], "should be a class's name"),
        (3, "should be a class's name"),
    ],
    ids=str,
)
def test_what_is_no_answer_is_refused_with_its_line(tmp_path, prediction, fault):
    with pytest.raises(UsageError, match=r"stored.jsonl:1  prediction") as raised:
        run_of(tmp_path, [{"target": "cat", "prediction": prediction}])
    assert fault in raised.value.message


def test_a_target_that_is_no_class_is_refused_with_the_near_name(tmp_path):
    with pytest.raises(UsageError, match=r"'dgo'.*Did you mean 'dog'"):
        run_of(tmp_path, [said("dgo", "dog")])


def test_several_classes_are_scored_by_their_ranking(tmp_path):
    multilabel = {"classes": {"names": NAMES, "multilabel": True}, "metrics": ["map"]}
    answers: list[dict[str, Any]] = [
        {"target": ["cat", "dog"], "prediction": {"cat": 0.9, "dog": 0.8, "emu": 0.1}},
        {"target": [], "prediction": {"cat": 0.2, "dog": 0.9, "emu": 0.0}},
        {"target": [2], "prediction": ["emu"]},
    ]
    record, table = run_of(tmp_path, answers, **multilabel)
    # cat first of all: 1; dog second, below a negative: 1/2; emu: 1
    assert record.metrics["map"].value == pytest.approx(100 * 2.5 / 3)
    first, second, third = rows(table).values()
    assert [json.loads(row["target"]) for row in (first, second, third)] == [["cat", "dog"], [], ["emu"]]
    assert json.loads(third["prediction"]) == {"emu": 1.0}
    assert costliest(record, table) == []


RETRIEVAL = {"kind": "retrieval", "classes": None, "metrics": ["text_recall@1", "image_recall@5", "text_mrr"]}


def test_ranks_are_scored_and_told_in_short(tmp_path):
    answers = [
        {"target": ["a dog", "two dogs"], "prediction": {"text": 1, "image": [3, 7]}},
        {"target": ["[b]a cat[/b]"], "prediction": {"text": 4, "image": [1]}},
    ]
    record, table = run_of(tmp_path, answers, **RETRIEVAL)
    assert {key: part.value for key, part in record.metrics.items()} == {
        "text_recall@1": 50,
        "image_recall@5": pytest.approx(200 / 3),
        "text_mrr": 62.5,
    }
    first, second = rows(table).values()
    assert (first["prediction_normalised"], first["target_normalised"]) == (
        "text 1, image 3 7",
        '["a dog", "two dogs"]',
    )
    assert json.loads(second["prediction"]) == {"text": 4, "image": [1]}
    text = printed(*costliest_text(record, table))
    assert "caption [b]a cat[/b]" in text
    assert "ranks   best caption 4; image 1 for its captions" in text


@pytest.mark.parametrize(
    "prediction",
    [
        {"text": 0, "image": [1]},
        {"text": 1},
        {"text": 1, "image": []},
        {"text": 1, "image": 1},
        {"text": 1, "image": [1.5]},
        {"text": 1, "image": [1], "audio": [1]},
        {"image": [1]},
        "1",
    ],
    ids=str,
)
def test_what_are_no_ranks_is_refused(tmp_path, prediction):
    with pytest.raises(UsageError, match=r"stored.jsonl:1  prediction should be \{\"text\": rank"):
        run_of(tmp_path, [{"target": ["a dog"], "prediction": prediction}], **RETRIEVAL)


def test_ranks_for_other_captions_are_a_failure(tmp_path):
    answers = [{"target": ["a dog", "two dogs"], "prediction": {"text": 1, "image": [3]}}]
    record, table = run_of(tmp_path, answers, **RETRIEVAL, run={"max_failures": 1.0})
    assert record.metrics["text_mrr"].value is None
    [row] = rows(table).values()
    assert row["error"] == "WrongRanks: it has ranks for 1 captions, and there are 2"


@pytest.mark.parametrize(
    ("metrics", "classes", "fault"),
    [
        (
            ["accuracy", "wer"],
            {"names": NAMES},
            "'wer' can't score kind 'classification', whose answers are classes",
        ),
        (
            ["map"],
            {"names": NAMES},
            "These can: accuracy, balanced_accuracy, ece, evaluate, macro_f1, unparsed.",
        ),
        (
            ["accuracy"],
            {"names": NAMES, "multilabel": True},
            "whose answers are lists of classes. These can: map.",
        ),
        (["text_recall@5"], None, "'text_recall' can't score kind 'classification'"),
    ],
    ids=["words", "labels", "a class", "ranks"],
)
def test_a_metric_that_cannot_score_a_kind_is_a_fault_of_the_task(tmp_path, metrics, classes, fault):
    file = task_file(tmp_path, metrics=metrics, classes=classes)
    with pytest.raises(SpecError) as raised:
        load(file)
    assert fault in raised.value.message
    assert "metrics[" in raised.value.message


def test_what_costs_the_most_are_the_mistakes_that_were_surest(tmp_path):
    answers = [said("cat", "dog", "cat", sure=sure) for sure in (0.6, 0.9, 0.7, 0.8, 0.65, 0.75)]
    answers += [said("emu", "emu", sure=0.99), {"target": "dog", "prediction": "cat"}]
    record, table = run_of(tmp_path, answers)
    found = costliest(record, table)
    assert [one.row["id"] for one in found] == ["img1", "img3", "img5", "img2", "img4"]
    text = printed(*costliest_text(record, table))
    assert "What costs the most:" in text
    assert "is   cat\n" in text
    assert "said dog 90.0%, cat 10.0%" in text


def pair_of_runs(tmp_path, **sections):
    """b is right twice where a isn't; each has a sample without a probability."""
    targets = [NAMES[n % 3] for n in range(30)]
    a = [said(name, NAMES[(n + n % 4 % 2) % 3], sure=0.8) for n, name in enumerate(targets)]
    b = [said(name, name, sure=0.7) if n % 5 else a[n] for n, name in enumerate(targets)]
    a[4], b[6] = {"target": targets[4], "prediction": "cat"}, {"target": targets[6], "prediction": "dog"}
    found = []
    for name, answers in (("a", a), ("b", b)):
        (tmp_path / name).mkdir()
        found.append(RunData(*run_of(tmp_path / name, answers, **sections)))
    return found


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "ece"])
def test_runs_of_classes_are_compared_by_every_metric(tmp_path, metric):
    metrics = ["accuracy", "balanced_accuracy", "macro_f1", "ece"]
    a, b = pair_of_runs(tmp_path, metrics=metrics)
    found = compare(a, b, metric, draws=200)
    if metric == "ece":  # the samples that lack a probability on one side are on neither
        assert (found.n, found.left_out) == (28, 2)
    else:
        assert (found.n, found.left_out) == (30, 0)
        assert found.value_a == pytest.approx(a.record.metrics[metric].value)
        assert found.value_b == pytest.approx(b.record.metrics[metric].value)
        assert found.verdict == "better"
    assert found.difference == pytest.approx(found.value_b - found.value_a)
    assert compare(b, a, metric, draws=200).difference == pytest.approx(-found.difference)


def test_wins_name_the_class_that_was_said_instead(tmp_path):
    a, b = pair_of_runs(tmp_path, metrics=["balanced_accuracy", "accuracy"])
    win = compare(a, b, "accuracy").wins[0]
    assert (win.words_b, [(one.reference, one.hypothesis) for one in win.words_a]) == ((), [("dog", "emu")])


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("a text", "text"),
        ('{"not": "an answer"}', "text"),
        ({"猫": 0.5, '"quoted"': 0.25}, "class"),
        ("{a class that begins with a bracket", "class"),
        ({"text": 1, "image": [1, 2]}, "ranks"),
        ({}, "labels"),
    ],
    ids=str,
)
def test_answers_survive_the_rows(value, form):
    assert answer_of(as_text(value), form) == value


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("a", "text"),
        (["a", "b"], "text"),
        ('["a"]', "class"),
        ([], "labels"),
        (["a"], "labels"),
        (["a"], "ranks"),
    ],
    ids=str,
)
def test_targets_survive_the_rows(value, form):
    assert target_of(as_text(value), form) == value


@pytest.mark.parametrize(
    ("value", "first"),
    [
        ({'a: "b", {猫': 0.25, "c": 0.5}, ('a: "b", {猫', 0.25)),
        ({"a": 1}, ("a", 1.0)),
        ("a", ("a", None)),
        ('{"a', ('{"a', None)),
        ("{}", ("{}", None)),
    ],
    ids=str,
)
def test_the_first_class_is_read_alone(value, first):
    assert first_of(as_text(value)) == first


def test_answers_in_short():
    assert in_short({"text": 1, "audio": [3, 7, 2]}, "ranks") == "text 1, audio 3 7 2"
    assert in_short({"cat": 0.5, "dog": 0.4}, "class") == "cat"
    assert in_short({}, "labels") == ""


def test_texts_are_scored_as_they_were(tmp_path):
    rows_: list[dict[str, Any]] = [
        {"target": "A b", "prediction": '{"a": 1}'},
        {"target": ["x", "y"], "prediction": "X"},
    ]
    sections = {
        "kind": "asr",
        "classes": None,
        "metrics": [{"bleu": {"references": "var", "normalizer": "lower"}}],
    }
    columns = {"audio": "audio", "target": "text"}
    _, table = run_of(tmp_path, rows_, **sections, data={"path": "./nowhere", "columns": columns})
    first, second = rows(table).values()
    assert (first["prediction"], first["prediction_normalised"]) == ('{"a": 1}', '{"a": 1}')
    assert (second["target_normalised"], second["prediction_normalised"]) == ('["x", "y"]', "x")


def test_rows_end_where_json_lines_end(tmp_path):
    """Python's own idea of a line ends at U+2028 and U+0085, too, which JSON leaves as they are in a text."""
    names = ["a\u2028b", "c\u0085d"]
    file = tmp_path / "stored.jsonl"
    rows_ = [{"id": name, "target": name, "prediction": name} for name in names]
    file.write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows_), encoding="utf-8")
    [cell] = load(task_file(tmp_path, classes={"names": names}))
    record = pipeline.score(cell, file, pipeline.Options(results=tmp_path / "results"))
    assert record.metrics["accuracy"].value == 100.0


def test_a_file_without_rows_of_classes_is_refused(tmp_path):
    predictions_file(tmp_path, [])
    with pytest.raises(UsageError, match="has no rows"):
        run_of(tmp_path, [])
