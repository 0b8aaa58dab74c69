"""Multiple choice from what was said to rows, scores, comparisons and tables; answers that name nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from harness import pipeline
from harness.errors import UsageError
from harness.evaluation.comparable import RunData
from harness.evaluation.compare import compare
from harness.evaluation.compare_table import comparison_table
from harness.evaluation.per_class import per_class
from harness.evaluation.per_class_table import per_class_text
from harness.evaluation.worst import costliest_text
from harness.processes import Processes
from harness.report import record_report
from harness.results.store import Store
from harness.spec.load import load
from tests.evaluation.class_runs import run_of
from tests.models.tiny_chat import tiny_llava

COLUMNS = {name: name for name in ("image", "question", "options", "target", "id")}
LETTERS: dict[str, Any] = {
    "kind": "multiple_choice",
    "data": {"path": "./nowhere", "columns": COLUMNS},
    "classes": None,
    "choice": {"by": "letter"},
    "metrics": ["accuracy", "unparsed", "balanced_accuracy", "macro_f1", "ece"],
}
SAID: list[dict[str, Any]] = [
    {"target": "B", "prediction": "(B) dog"},
    {"target": "A", "prediction": "A cat, I think"},
    {"target": "A", "prediction": {}},
    {"target": "B", "prediction": {"A": 0.6, "B": 0.4}},
]


def printed(*parts: Any) -> str:
    console = Console(width=80, file=StringIO())
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_texts_of_a_file_are_parsed_where_the_task_chooses_by_letter(tmp_path):
    record, table = run_of(tmp_path, SAID, **LETTERS)
    rows = table.to_pylist()
    assert [row["prediction"] for row in rows] == ['{"B": 1.0}', "{}", "{}", '{"A": 0.6, "B": 0.4}']
    assert [row["prediction_normalised"] for row in rows] == ["B", "", "", "A"]
    assert json.loads(rows[1]["extras"]) == {"said": "A cat, I think"}
    # F1 of A: 0 right of 2 targets and 1 answer; of B: 1 right, 2 targets, 1 answer: 2 / 3. ECE: gaps 0, 0.6.
    assert {name: part.value for name, part in record.metrics.items()} == {
        "accuracy": 25,
        "unparsed": 50,
        "balanced_accuracy": 25,
        "macro_f1": pytest.approx(100 / 3),
        "ece": pytest.approx(30),
    }
    assert [part.n for part in record.metrics.values()] == [4, 4, 4, 4, 2]
    assert record.failures.n == 0


def test_reports_say_that_there_was_no_answer(tmp_path):
    record, table = run_of(tmp_path, SAID, **LETTERS)
    classes = printed(*per_class_text(per_class(record, table)))
    assert ["A", "(no", "answer)", "2", "100.0%"] in [line.split() for line in classes.splitlines()]
    worst = printed(*costliest_text(record, table)).splitlines()
    assert "  said (no answer) A cat, I think" in [line.rstrip() for line in worst]
    assert "  said (no answer)" in [line.rstrip() for line in worst]


def test_what_was_said_is_shown_where_no_sample_is_right(tmp_path):
    """Leaving one out of them changes nothing, so none costs anything."""
    record, table = run_of(
        tmp_path, [{"target": "B", "prediction": f"no idea {n}"} for n in range(7)], **LETTERS
    )
    lines = [line.rstrip() for line in printed(*costliest_text(record, table)).splitlines()]
    assert lines[1] == "Every sample is wrong, for example:"
    assert lines[3:5] == ["  is   B", "  said (no answer) no idea 0"]
    assert sum("said" in line for line in lines) == 5
    assert not any("costs" in line for line in lines)


def test_a_stored_run_tells_how_it_was_asked(tmp_path):
    store = Store(tmp_path / "results")

    def facts(rows: list[dict[str, Any]] = SAID, **sections: Any) -> list[str]:
        record, _ = run_of(tmp_path, rows, **{**LETTERS, **sections})
        return [" ".join(line.split()) for line in printed(record_report(record, store)).splitlines()]

    shown = facts(prompt="{question} Which\n{options}?")
    assert {"prompt {question} Which", "{options}?", "choice by the letter that is written"} <= {*shown}
    choice: dict[str, Any] = {"metrics": ["accuracy"], "run": {"max_failures": 1.0}}
    assert "choice by the likelihood of an option's text" in facts(**choice, choice=None)
    by_length = {"answer": "letter", "normalize": "bytes"}
    assert "choice by the likelihood of an option's letter, divided by its bytes" in facts(
        **choice, choice=by_length
    )
    asked: dict[str, Any] = {"kind": "vqa", "choice": None, "prompt": "{question}"}
    [settings] = [
        line for line in facts(SAID[:2], metrics=["exact_match"], **asked) if line.startswith("generate ")
    ]
    assert settings.startswith("generate num_beams 1")


def test_runs_with_answers_that_name_nothing_are_compared(tmp_path):
    before = RunData(*run_of(tmp_path, SAID, **LETTERS))
    better = [*SAID[:1], {"target": "A", "prediction": "A."}, *SAID[2:]]
    after = RunData(*run_of(tmp_path, better, **LETTERS))
    found = compare(before, after)
    assert (found.value_a, found.value_b, found.left_out) == (25, 50, 0)
    [win] = found.wins
    assert [(one.kind, one.reference) for one in win.words_a] == [("deleted", "A")]
    assert "- A" in printed(comparison_table(found))
    # Macro F1 after: of A 2 * 1 of 4, of B 2 / 3; a third before.
    for metric, difference in (("unparsed", -25), ("balanced_accuracy", 25), ("macro_f1", 25)):
        assert compare(before, after, metric).difference == pytest.approx(difference)


def test_a_file_names_options_by_their_letters(tmp_path):
    choice = {**LETTERS, "choice": None, "metrics": ["accuracy"], "run": {"max_failures": 1.0}}
    given: list[dict[str, Any]] = [
        {"target": "B", "prediction": {"A": 0.3, "B": 0.7}},
        {"target": 1, "prediction": "B"},
        {"target": "A", "prediction": "(A) cat"},
    ]
    record, table = run_of(tmp_path, given, **choice)
    assert record.metrics["accuracy"].value == 100
    assert [row["target"] for row in table.to_pylist()] == ["B", "B", "A"]
    assert table.to_pylist()[2]["error"] == "UnknownClass: '(A) cat' is none of the 26 classes."
    with pytest.raises(UsageError, match="holds 'cat', which is none of the 26 classes"):
        run_of(tmp_path, [{"target": "cat", "prediction": "A"}], **choice)


QUESTIONS = [
    ("dark", "Which animal?", ["cat", "a dog", "cow"], 0),
    ("light", "Which animal?", ["cat", "a dog", "cow"], 1),
    ("dark", "Where is it?", ["left", "right"], 1),
    ("light", "Where is it?", ["on the left", "right"], 0),
    ("dark", "What colour is it?", ["red", "green", "blue", "none of these"], 2),
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunData]:
    """Runs a task of these questions with a tiny LLaVA; what a run finds in the cache, it takes."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    tiny_llava(tmp_path / "checkpoint")
    random = np.random.default_rng(0)
    rows = []
    for number, (name, question, options, target) in enumerate(QUESTIONS):
        file = tmp_path / "data" / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        if not file.exists():
            Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(file)
        row = {"id": f"q{number}", "image": file.name, "question": question}
        rows.append({**row, "options": options, "target": target})
    (tmp_path / "data" / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def run(**choice: Any) -> RunData:
        section = {
            "name": "animals",
            "kind": "multiple_choice",
            "data": {"path": "./data/test.jsonl", "columns": COLUMNS},
            "model": {"checkpoint": "./checkpoint"},
            "generate": {"max_new_tokens": 4},
            "choice": choice,
            "metrics": ["accuracy", "unparsed"],
        }
        (tmp_path / "task.yaml").write_text(json.dumps(section))
        options = pipeline.Options(results=tmp_path / "results", device="cpu", show_progress=False)
        [found] = pipeline.run(load(tmp_path / "task.yaml"), options, Processes())
        return RunData(found.record, Store(options.results).samples(found.record.run_id))

    return run


def rows_of(run: RunData) -> dict[str, Any]:
    return {row["id"]: row for row in run.samples.to_pylist()}


@pytest.mark.heavy
def test_a_choice_goes_through_journal_rows_and_reports(run):
    first = run(normalize="bytes")
    assert first.record.failures.n == 0
    for number, (_, _, options, _) in enumerate(QUESTIONS):
        row = rows_of(first)[f"q{number}"]
        answer, said = json.loads(row["prediction"]), json.loads(row["extras"])["options"]
        scores = {
            letter: said[letter]["logprob"] / len(option.encode())
            for letter, option in zip("ABCD", options, strict=False)
        }
        assert list(answer) == sorted(scores, key=lambda letter: -scores[letter])
        powers = {letter: np.exp(score) for letter, score in scores.items()}
        expected = {letter: power / sum(powers.values()) for letter, power in powers.items()}
        assert answer == pytest.approx(expected)
    second = run(normalize="tokens")
    assert second.record.spec_id != first.record.spec_id
    assert second.record.speed.measured_samples == 0, "log-likelihoods were asked for anew"
    assert rows_of(second)["q4"]["extras"] == rows_of(first)["q4"]["extras"]
    assert compare(first, second, across=["choice.normalize"]).n == len(QUESTIONS)


@pytest.mark.heavy
def test_letters_go_through_journal_rows_and_reports(run):
    found = run(by="letter")
    rows = rows_of(found)
    assert {row["prediction"] for row in rows.values()} == {"{}"}, "random weights named a letter"
    assert all(json.loads(row["extras"])["said"] for row in rows.values())
    values = {name: part.value for name, part in found.record.metrics.items()}
    assert values == {"accuracy": 0, "unparsed": 100}
