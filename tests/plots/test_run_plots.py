"""Plots of a run: their tables hold the numbers, and no name breaks the picture."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness import plots
from harness.plots import confusion
from harness.plots.confusion import draw_confusion, shown_classes
from harness.plots.picture import ends, short
from harness.plots.run import TITLE_LENGTH, _model
from tests.evaluation.class_runs import run_of, said

ANSWERS = [
    said("cat", "cat", sure=0.95),
    said("cat", "dog", sure=0.65),
    said("cat", "dog", sure=0.64),
    said("dog", "dog", sure=0.95),
    {"target": "emu", "prediction": None},
]


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def drawn(folder: Path, answers=ANSWERS, **sections):
    record, samples = run_of(folder, answers, run={"max_failures": 1.0}, **sections)
    return plots.draw_run(record, samples, folder / "plots")


def test_a_run_has_two_pictures_with_their_tables(tmp_path):
    pictures = drawn(tmp_path)
    assert [file.name for file in pictures] == ["confusion.png", "reliability.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in pictures)
    assert [tuple(row.values()) for row in table(tmp_path / "plots" / "confusion.csv")] == [
        ("cat", "dog", "2", str(2 / 3)),
        ("cat", "cat", "1", str(1 / 3)),
        ("dog", "dog", "1", "1.0"),
    ]
    rows = table(tmp_path / "plots" / "reliability.csv")
    assert len(rows) == 15
    held = {row["samples"]: row for row in rows if row["samples"] != "0"}
    last, only = rows[-1], rows[9]
    assert len(held) == 1  # two bins of two samples each
    assert [float(only[name]) for name in ("mean_confidence", "accuracy")] == pytest.approx([0.645, 0])
    assert [float(last[name]) for name in ("mean_confidence", "accuracy")] == pytest.approx([0.95, 1])
    assert (rows[0]["mean_confidence"], rows[0]["accuracy"]) == ("", "")


def test_a_picture_is_drawn_once_unless_it_is_asked_for(tmp_path):
    record, samples = run_of(tmp_path, ANSWERS, run={"max_failures": 1.0})
    folder = plots.plots_folder(tmp_path / "results", record)
    assert folder == tmp_path / "results" / "plots" / record.run_id[:2] / record.run_id
    first = plots.draw_run(record, samples, folder)
    first[0].write_bytes(b"mine")
    assert plots.draw_run(record, samples, folder) == first
    assert first[0].read_bytes() == b"mine"
    (folder / "confusion.csv").unlink()  # half a picture is none
    plots.draw_run(record, samples, folder)
    assert first[0].read_bytes().startswith(b"\x89PNG")
    first[1].write_bytes(b"mine")
    assert plots.draw_run(record, samples, folder, again=True) == first
    assert first[1].read_bytes().startswith(b"\x89PNG")


def test_names_alone_have_no_reliability(tmp_path):
    [only] = drawn(tmp_path, [{"target": "cat", "prediction": "dog"}])
    assert only.name == "confusion.png"
    assert [file.name for file in (tmp_path / "plots").iterdir() if "reliability" in file.name] == []


def test_nothing_is_drawn_where_nothing_was_scored_or_answers_are_no_classes(tmp_path):
    assert drawn(tmp_path, [{"target": "cat", "prediction": None}]) == []
    several = {"classes": {"names": ["cat", "dog"], "multilabel": True}, "metrics": ["map"]}
    assert drawn(tmp_path, [{"target": ["cat"], "prediction": ["cat"]}], **several) == []
    assert not (tmp_path / "plots").exists()


def test_any_name_can_be_drawn(tmp_path):
    names = ["[bold]cat[/nope]", "猫头鹰" * 30, "$x_$ and \\frac{", "tab\tand\nline", "plain"]
    answers = [said(name, names[(n + 1) % 5]) for n, name in enumerate(names)]
    drawn(tmp_path, answers, classes={"names": names})
    assert {row["target"] for row in table(tmp_path / "plots" / "confusion.csv")} == set(names)


def test_of_many_classes_the_most_confused_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(confusion, "MOST_CLASSES", 4)
    pairs = Counter({("a", "b"): 9, ("c", "d"): 5, ("a", "e"): 7, ("f", "g"): 1, ("h", "h"): 100})
    # a, b and e fill three of four places; c and d don't both fit, nor f and g
    assert shown_classes(pairs) == ["a", "b", "e"]
    assert shown_classes(pairs, ["e", "b", "a"]) == ["e", "b", "a"]
    draw_confusion(tmp_path / "many", "a title", pairs)
    assert len(table(tmp_path / "many.csv")) == 5, "the table has all of them"


def test_many_classes_without_a_confusion_are_drawn_all_the_same(tmp_path):
    pairs = Counter({(f"class {n}", f"class {n}"): 1 for n in range(100)})
    assert len(shown_classes(pairs)) == confusion.MOST_CLASSES
    assert draw_confusion(tmp_path / "right", "a title", pairs).is_file()


def test_an_answer_outside_of_the_targets_has_a_column(tmp_path):
    assert shown_classes(Counter({("a", "z"): 1})) == ["a", "z"]
    assert draw_confusion(tmp_path / "one", "a title", Counter({("a", "z"): 1})).is_file()


def test_long_names_are_cut_where_it_costs_least():
    assert short("abcdefghij", 6) == "abcde…"
    assert ends("common species 1001", 10) == "comm… 1001"
    assert ends("tab\there") == "tab\N{REPLACEMENT CHARACTER}here"


def test_importing_plots_costs_nothing():
    script = "import sys, harness.plots; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_drawing_touches_no_global_state(tmp_path):
    script = (
        "import sys; from collections import Counter; from pathlib import Path\n"
        "from harness.plots.confusion import draw_confusion\n"
        "import matplotlib as mpl; names = 'font.family', 'text.parse_math'\n"
        "before = [mpl.rcParams[name] for name in names]\n"
        "draw_confusion(Path(sys.argv[1]), 't', Counter({('a', 'b'): 1}))\n"
        "assert [mpl.rcParams[name] for name in names] == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "x")], check=True)


def test_the_end_of_an_adapters_name_stays_in_the_title(tmp_path):
    record, _ = run_of(tmp_path, ANSWERS, run={"max_failures": 1.0})
    folders = {
        "checkpoint": "./checkpoints/handwritten_digits",
        "adapter": f"results/adapters/{'x' * 60}-8c5934d5",
    }
    told = _model(record.model_copy(update={"model": record.model.model_copy(update=folders)}))
    assert told.endswith("-8c5934d5")
    assert short(told, TITLE_LENGTH) == told
