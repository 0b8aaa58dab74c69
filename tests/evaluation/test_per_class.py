"""What a run says of each class, by hand, and in a terminal of 80 columns."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console
from scipy.stats import binomtest

from harness.evaluation.calibration import calibration
from harness.evaluation.per_class import per_class, wilson
from harness.evaluation.per_class_table import per_class_text
from tests.evaluation.class_runs import NAMES, run_of, said

ANSWERS = [
    said("cat", "cat", sure=0.95),
    said("cat", "dog", sure=0.65),
    said("cat", "dog", sure=0.64),
    said("cat", "emu", sure=0.63),
    said("dog", "dog", sure=0.95),
    said("dog", "emu", sure=0.95),
    said("emu", "emu", sure=0.95),
    {"target": "emu", "prediction": None},
]


def printed(found):
    console = Console(width=80, file=StringIO())
    for part in per_class_text(found):
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def found(tmp_path):
    return per_class(*run_of(tmp_path, ANSWERS, run={"max_failures": 1.0}))


def test_classes_the_worst_first(found):
    assert [(one.name, one.n, one.score) for one in found.classes] == [
        ("cat", 4, 25),
        ("dog", 2, 50),
        ("emu", 1, 100),  # the other one failed
    ]
    assert found.measure == "accuracy"
    low, high = found.classes[0].ci95
    expected = binomtest(1, 4).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((100 * expected.low, 100 * expected.high))


@pytest.mark.parametrize(("right", "n"), [(0, 5), (5, 5), (3, 7), (499, 500)])
def test_wilson_agrees_with_scipy(right, n):
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((100 * expected.low, 100 * expected.high))


def test_confusions_the_most_frequent_first(found):
    assert [(one.target, one.answer, one.n, one.share) for one in found.confusions] == [
        ("cat", "dog", 2, 50),
        ("dog", "emu", 1, 50),
        ("cat", "emu", 1, 25),
    ]


@pytest.mark.parametrize("metrics", [["accuracy", "ece"], ["accuracy"]], ids=["scored", "not asked for"])
def test_calibration_has_the_bins_and_the_value_of_the_metric(tmp_path, metrics):
    scored = run_of(tmp_path, ANSWERS, run={"max_failures": 1.0})[0].metrics["ece"]
    found = calibration(*run_of(tmp_path, ANSWERS, run={"max_failures": 1.0}, metrics=metrics))
    assert found is not None
    assert (found.value, found.ci95, found.n) == (scored.value, scored.ci95, scored.n)
    # 0.95 four times, right three times; 0.65, 0.64 and 0.63 never right
    assert found.value == pytest.approx(100 * (abs(3 - 4 * 0.95) + 0.65 + 0.64 + 0.63) / 7)
    held = [(one.n, one.confidence, one.accuracy) for one in found.bins if one.n]
    assert [number for one in held for number in one] == pytest.approx([3, 64, 0, 4, 95, 75])
    assert sum(one.n for one in found.bins) == found.n == 7
    assert (found.bins[0].low, found.bins[-1].high) == (0, 1)


def test_names_alone_have_no_calibration(tmp_path):
    found = per_class(*run_of(tmp_path, [{"target": "cat", "prediction": "dog"}]))
    assert found is not None
    assert found.calibration is None
    assert "Calibration" not in printed(found)


def test_several_classes_have_average_precisions(tmp_path):
    answers = [
        {"target": ["cat", "dog"], "prediction": {"cat": 0.9, "dog": 0.8, "emu": 0.1}},
        {"target": ["cat"], "prediction": {"cat": 0.2, "dog": 0.9, "emu": 0.0}},
    ]
    sections = {"classes": {"names": NAMES, "multilabel": True}, "metrics": ["map"]}
    found = per_class(*run_of(tmp_path, answers, **sections))
    assert found is not None
    assert [(one.name, one.n, one.score, one.ci95) for one in found.classes] == [
        ("dog", 1, 50, None),
        ("cat", 2, 100, None),
    ]
    assert (found.measure, found.confusions, found.calibration) == ("average precision", (), None)
    assert "Average precision by class, all 2" in printed(found)


def test_texts_have_no_classes(tmp_path):
    columns = {"audio": "audio", "target": "text"}
    data = {"path": "./nowhere", "columns": columns}
    run = run_of(
        tmp_path, [{"target": "a", "prediction": "b"}], kind="asr", classes=None, metrics=["wer"], data=data
    )
    assert per_class(*run) is None
    assert printed(None) == ""


def test_the_tables_show_ten_and_say_of_how_many(tmp_path):
    names = [f"class {n:02}" for n in range(30)]
    answers = [said(name, names[(n + 1) % 30]) for n, name in enumerate(names)]
    text = printed(per_class(*run_of(tmp_path, answers, classes={"names": names})))
    assert "Accuracy by class, the worst 10 of 30" in text
    assert "Most often confused, the first 10 of 30\n" in text
    worst, confused = text.split("Most often")
    assert (worst.count("class 0"), worst.count("class 1")) == (10, 0)
    assert confused.count("class 0") == 10 + 9  # 00 is taken for 01, and so on up to 09 for 10


def test_any_name_fits_the_terminal_and_is_read_literally(tmp_path):
    names = ["[bold]cat[/nope]", "猫头鹰" * 30, "a long name, " * 20 + "at last", "tab\tand\nline", "plain"]
    answers = [said(name, names[(n + 1) % 5]) for n, name in enumerate(names)]
    found = per_class(*run_of(tmp_path, answers, classes={"names": names}))
    assert found is not None
    text = printed(found)
    assert "[bold]cat[/nope]" in text
    assert text.count(" 0.0%  ") == 5, "a long name doesn't push numbers out"
    assert text.count("100.0%\n") == 5
    assert "tab\N{REPLACEMENT CHARACTER}and" in text
    from rich.cells import cell_len

    assert max(map(cell_len, text.splitlines())) <= 80
    assert {one["name"] for one in json.loads(json.dumps(found.to_json()))["classes"]} == set(names)
