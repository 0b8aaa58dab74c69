"""The curve of a matrix: which parameters are drawn, what the table holds, where the lines are."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from harness.plots.matrix import Point, draw_matrix, numeric
from harness.plots.results import draw_results, drawn_text
from harness.results.record import Record
from harness.results.store import Store
from tests.evaluation.class_runs import run_of, said


@pytest.fixture
def record(tmp_path) -> Record:
    return run_of(tmp_path, [said("cat", "cat"), said("dog", "cat")])[0]


def point(record: Record, value: float | None, model: str = "base", **cell: Any) -> Point:
    bounds = None if value is None else (value - 5, value + 5)
    part = record.metrics["accuracy"].model_copy(update={"value": value, "ci95": bounds})
    changed = {"metrics": {"accuracy": part}, "run_id": f"{abs(hash((value, model, str(cell)))):064x}"[:64]}
    return Point(cell, model, record.model_copy(update=changed))


def _named(value: float) -> dict[str, Any]:
    return {"snr/db": value}


def table(file):
    with file.with_suffix(".csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([1, 2], True),
        ([None, 1, 2.5], True),
        ([None, 1], False),
        ([1, 1], False),
        (["a", "b"], False),
        ([1, "b", 2], False),
        ([True, False], False),
        ([True, 1, 2], False),
    ],
    ids=str,
)
def test_parameters_with_several_numbers_are_drawn(record, values, drawn):
    points = [point(record, 50.0, x=value) for value in values]
    assert numeric(points) == (["x"] if drawn else [])


def test_the_table_has_a_row_for_each_run(record, tmp_path):
    points = [
        point(
            record,
            90.0 - 10 * (severity or 0) - (5 if model == "base" else 0),
            model,
            kind="blur",
            severity=severity,
        )
        for severity in (None, 1, 2)
        for model in ("base", "fine-tune")
    ]
    [file] = draw_matrix(points, tmp_path / "plots")
    assert file.read_bytes().startswith(b"\x89PNG")
    rows = table(file)
    assert list(rows[0]) == [
        "severity",
        "kind",
        "model",
        "metric",
        "value",
        "low",
        "high",
        "samples",
        "run_id",
    ]
    assert [(row["severity"], row["model"], float(row["value"])) for row in rows] == [
        ("", "base", 85.0),
        ("", "fine-tune", 90.0),
        ("1", "base", 75.0),
        ("1", "fine-tune", 80.0),
        ("2", "base", 65.0),
        ("2", "fine-tune", 70.0),
    ]
    assert (float(rows[0]["low"]), float(rows[0]["high"]), rows[0]["kind"]) == (80, 90, "blur")


def test_the_name_tells_task_parameter_and_runs(record, tmp_path):
    renamed = record.model_copy(update={"task": "../quickstart/digits: 数字"})
    points = [point(renamed, 50.0, **_named(value)) for value in (1, 2)]
    [file] = draw_matrix(points, tmp_path)
    assert file.parent == tmp_path
    assert file.name.startswith("quickstart-digits-数字-snr-db-")
    assert draw_matrix(points, tmp_path) == [file]
    [other] = draw_matrix([*points, point(renamed, 40.0, **_named(3))], tmp_path)
    assert other != file


def test_two_numeric_parameters_give_two_pictures(record, tmp_path):
    points = [point(record, 50.0 + x - y, x=x, y=y) for x in (1, 2) for y in (0.1, 100)]
    assert [file.name.split("-")[1] for file in draw_matrix(points, tmp_path)] == ["x", "y"]


def test_an_undefined_score_leaves_a_gap(record, tmp_path):
    points = [point(record, value, x=x) for x, value in enumerate((50.0, None, 40.0))]
    [file] = draw_matrix(points, tmp_path)
    assert [row["value"] for row in table(file)] == ["50.0", "", "40.0"]


def test_results_are_drawn_with_their_matrix(record, tmp_path):
    store = Store(tmp_path / "results")
    drawn = draw_results([Point({"x": x}, "base", record) for x in (1, 2)], store)
    folder = tmp_path / "results" / "plots"
    assert [file.relative_to(folder).parts[-1] for file in drawn][1:] == ["confusion.png", "reliability.png"]
    told = f"Plots of each run: confusion.png, reliability.png below {folder}/, the first's {drawn[1]}"
    assert drawn_text(drawn) == f"Plots: {drawn[0].name} in {folder}/\n{told}"
    assert (
        drawn_text([folder / "a" / "x.png", folder / "b" / "x.png"])
        == f"Plots of each run: x.png below {folder}/, the first's {folder}/a/x.png"
    )
    assert drawn_text(drawn[1:]) == f"Plots: confusion.png, reliability.png in {drawn[1].parent}/"
    assert drawn_text([]) == ""
