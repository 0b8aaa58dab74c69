"""What a user sees of plots and classes: one line after a run, tables and pictures from `harness show`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.class_runs import predictions_file, said, task_file

pytestmark = pytest.mark.heavy  # a process for each command

ANSWERS = [said("cat", "cat"), said("cat", "dog", sure=0.6), said("dog", "dog"), said("emu", "dog")]


def score(harness, folder: Path, *arguments: str):
    task_file(folder)
    predictions_file(folder, ANSWERS)
    done = harness("score", "task.yaml", "--predictions", "stored.jsonl", *arguments)
    assert done.code == 0, done.err
    return done


def test_a_run_names_its_plots_in_one_line(harness, tmp_path):
    out = score(harness, tmp_path).out
    [line] = [line for line in out.splitlines() if line.startswith("Plots:")]
    [folder] = (tmp_path / "results" / "plots").glob("*/*")
    assert line == f"Plots: confusion.png, reliability.png in {folder.relative_to(tmp_path)}/"
    assert {file.name for file in folder.iterdir()} == {
        f"{name}.{kind}" for name in ("confusion", "reliability") for kind in ("png", "csv")
    }


def test_show_tells_each_class_and_draws_anew(harness, tmp_path):
    ran = score(harness, tmp_path, "--json").json()
    assert [Path(file).name for file in ran["plots"]] == ["confusion.png", "reliability.png"]
    for file in ran["plots"]:
        (tmp_path / file).unlink()
    shown = harness("show", "latest", "--plots")
    assert "Accuracy by class, all 3" in shown.out
    assert "Most often confused, all 2" in shown.out
    assert "Calibration: expected error" in shown.out
    assert "Plots: confusion.png, reliability.png in results/plots/" in shown.out
    assert all((tmp_path / file).is_file() for file in ran["plots"])

    told = harness("show", "latest", "--json", "--plots", "pictures").json()
    assert [one["name"] for one in told["per_class"]["classes"]] == ["emu", "cat", "dog"]
    assert told["per_class"]["calibration"]["value"] == told["metrics"]["ece"]["value"]
    assert told["plots"] == ["pictures/confusion.png", "pictures/reliability.png"]
    assert (tmp_path / "pictures" / "confusion.csv").is_file()
    assert told["run_id"] == ran["runs"][0]["run_id"]


def test_plots_that_cannot_be_written_cost_nothing_else(harness, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "plots").write_text("in the way")
    out = score(harness, tmp_path).out
    assert "Plots can't be drawn: results/plots" in out
    assert "accuracy ↑%" in out


def test_a_run_of_texts_has_nothing_to_draw(harness, dummy_task, tmp_path):
    dummy_task(n=4)
    ran = harness("run", "task.yaml")
    assert ran.code == 0, ran.err
    assert "Plots" not in ran.out
    assert not (tmp_path / "results" / "plots").exists()
    assert "Plots: none, a run of kind asr" in harness("show", "latest", "--plots").out
    done = harness("show", "task.yaml", "--plots")
    assert (done.code, "--plots draws runs" in done.err) == (2, True)


def test_a_matrix_of_numbers_is_drawn_for_any_kind(harness, dummy_task, tmp_path):
    import json

    file = dummy_task(n=4)
    task = json.loads(file.read_text())
    task |= {"params": {"beams": 1}, "matrix": {"beams": [1, 2, 3]}, "generate": {"num_beams": "{beams}"}}
    file.write_text(json.dumps(task))
    ran = harness("run", "task.yaml", "--json")
    assert ran.code == 0, ran.err
    [picture] = ran.json()["plots"]
    assert picture.startswith("results/plots/engine-beams-")
    rows = (tmp_path / picture).with_suffix(".csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["beams", "1", "2", "3"]
