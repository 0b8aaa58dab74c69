"""What a person reads in 80 columns: names in whole words, every run told from the others."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from harness import listing, report, tuning_report
from harness.metrics.names import in_words
from harness.models.base import Rendered
from harness.outcome import BaselineResult, CellResult, Pair, Shown
from harness.results.record import Record
from harness.spec.load import load
from harness.spec.resolve import parse_setting, worded
from harness.types import Sample
from tests.evaluation.class_runs import run_of, said, task_file

METRICS = ["accuracy", "balanced_accuracy", "ece"]


def printed(shown: RenderableType) -> str:
    written = StringIO()
    Console(width=80, file=written).print(shown)
    return written.getvalue()


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return run_of(tmp_path, [said("cat", "cat"), said("dog", "cat"), said("emu", "emu")], metrics=METRICS)[0]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("wer", "WER"),
        ("chrf++", "chrF++"),
        ("balanced_accuracy", "balanced accuracy"),
        ("text_recall@10", "text recall@10"),
        ("image_mrr", "image MRR"),
        ("macro_f1", "macro F1"),
    ],
)
def test_metrics_are_called_as_the_field_calls_them(key: str, words: str):
    assert in_words(key) == words


def test_no_word_of_the_table_of_scores_is_broken(record: Record):
    record = record.model_copy(update={"task": "digits"})
    runs = [
        Shown(record, {"": "the checkpoint"}),
        Shown(record, {"": "logistic regression on pixels"}, beside=True),
    ]
    table = printed(report.score_table(runs))
    for word in ("checkpoint", "logistic", "regression", "balanced", "accuracy ↑%", "ECE ↓%"):
        assert word in table


def test_no_word_of_the_table_of_a_fine_tuning_is_broken(record: Record, tmp_path: Path):
    [cell] = load(task_file(tmp_path))
    record = record.model_copy(update={"task": "quickstart/handwritten_digits"})
    pair = Pair(record, record, {}, "the same")
    beside = [BaselineResult("logistic regression on pixels", record)]
    table = printed(tuning_report.tuned_table([CellResult(cell, record, pair=pair, baselines=beside)]))
    for words in ("│ handwritten_digits ", "balanced accuracy ↑%", "baseline: logistic ", "on pixels "):
        assert words in table
    alone = printed(tuning_report.tuned_table([CellResult(cell, record, pair=pair)]))
    assert "handwritten_digits " not in alone.split("┡")[1], "one row needs no name"


@pytest.mark.parametrize("value", [["{}.", "the {}."], {"n": 3, "colour": None}, "20", 0.5])
def test_a_parameter_can_be_given_as_it_is_shown(value: Any):
    assert parse_setting(f"key={worded(value)}")[1] == (20 if value == "20" else value)


def test_a_run_shows_its_parameters_below_its_scores(record: Record):
    record = record.model_copy(update={"params": {"templates": ["{}."], "noise": None}})
    assert report.cell_text(record.params) == 'templates ["{}."], noise none'


def rendered(*tokens: tuple[str, bool]) -> str:
    sample = Sample("s", {}, ["a cat", "one cat"], "g")
    return printed(report.rendered_report(sample, Rendered(tokens, {"pixels": "float32 (1, 64)"})))


def test_only_labels_among_other_tokens_are_marked():
    assert "Tokens; ⟦these⟧ are labels:\n  <s>⟦cat⟧" in rendered(("<s>", False), ("cat", True))
    assert "Tokens of the text:\n  a photo" in rendered(("a ", False), ("photo", False))
    assert "Label:\n  cat" in rendered(("cat", True))
    assert "abel" not in rendered()
    assert "target: a cat | one cat" in rendered()


def test_the_list_of_runs_tells_kinds_and_shots_apart(record: Record):
    probe = record.model_copy(update={"kind": "linear_probe", "spec": {**record.spec, "probe": {"shots": 4}}})
    assert "shots=4" in listing._settings(probe)
    row = ("id", "task", "linear_probe", "./model", "shots=4", "", "accuracy 1.00%", "3", "today")
    _, _, [(_, told, _)] = listing.condensed(("Runs", listing.RUNS, [row]))
    assert told == "task, linear_probe\n./model\nshots=4\n3 samples, today UTC"


def test_fast_runs_have_no_decimals(record: Record):
    def speed(each: float) -> str:
        return report.speed_text(record.model_copy(update={"speed": replaced(record, each)}))

    assert (speed(27031.4), speed(12.34)) == ("27,031 samples/s", "12.3 samples/s")


def replaced(record: Record, each: float) -> Any:
    return record.speed.model_copy(update={"samples_per_second": each})
