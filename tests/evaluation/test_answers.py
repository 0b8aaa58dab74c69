"""Nothing is embedded twice: embeddings are shared by templates, kinds of tasks and runs."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.errors import RunError
from harness.evaluation.answers import Answers, EngineEmbed
from harness.evaluation.entries import entry, prediction
from harness.evaluation.journal import Journal
from harness.evaluation.predict import Engine
from harness.evaluation.speed import SpeedMeter
from harness.models.base import Batch
from harness.types import Output
from tests.evaluation.fakes import Table, answers, engines, pictures, shown
from tests.tasks import task_of

NAMES = ("cat", "dog")
TEXTS = {f"{before}{name}{after}": (1.0, place) for place, name in enumerate(NAMES)
         for before, after in (("", ""), ("a ", ""), ("a ", "."))}  # fmt: skip
ROWS = [(shown(number, 10 - number), number % 2) for number in range(8)]


def test_other_templates_embed_no_image_and_no_old_prompt(tmp_path: Path) -> None:
    table, dataset = Table(TEXTS), pictures(ROWS, names=NAMES)
    answers(table, dataset, tmp_path, classes={"templates": ["{}", "a {}"]})
    assert (table.images_asked, sorted(table.texts_asked)) == (8, ["a cat", "a dog", "cat", "dog"])
    answers(table, dataset, tmp_path, classes={"templates": ["a {}", "a {}."]})
    assert table.images_asked == 8
    assert sorted(table.texts_asked[4:]) == ["a cat.", "a dog."]


def test_a_probe_and_zero_shot_share_the_images(tmp_path: Path) -> None:
    table = Table(TEXTS)
    train = pictures([(shown(number, 3 * number), number % 2) for number in range(6)], names=NAMES, split="t")
    answers(table, pictures(ROWS, names=NAMES), tmp_path)
    found = answers(
        table,
        pictures(ROWS, names=NAMES),
        tmp_path,
        "linear_probe",
        {"train": train},
        probe={"strengths": [1]},
    )
    assert table.images_asked == 8 + 6
    assert len(found) == 8


def test_another_process_reads_what_one_embedded(tmp_path: Path) -> None:
    first = answers(Table(TEXTS), pictures(ROWS, names=NAMES), tmp_path)
    again = Table({})
    assert [output for _, _, output in answers(again, pictures(ROWS, names=NAMES), tmp_path)] == [
        replace(prediction, fresh=False) for _, _, prediction in first
    ]
    assert (again.images_asked, again.texts_asked) == (0, [])


def test_an_interrupted_run_keeps_its_embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, dataset, calls = Table(TEXTS), pictures(ROWS, names=NAMES), iter(range(100))
    predict = Table.predict

    def interrupted(self: Table, batch: Batch) -> list[Output]:
        if next(calls) == 3:  # prompts, then two batches of images
            raise KeyboardInterrupt
        return predict(self, batch)

    monkeypatch.setattr(Table, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        answers(table, dataset, tmp_path)
    assert table.images_asked == 6
    found = answers(table, dataset, tmp_path)
    assert table.images_asked == 8
    fresh = answers(Table(TEXTS), dataset, tmp_path / "other")
    assert [one.output for _, _, one in found] == [one.output for _, _, one in fresh]


def test_only_the_samples_are_timed(tmp_path: Path) -> None:
    meter, task = SpeedMeter(), task_of("nowhere", "zero_shot_classification", column="image")
    dataset = pictures(ROWS, names=NAMES)
    list(Answers(task, dataset, engines(Table(TEXTS), tmp_path), lambda purpose: dataset).run(meter))
    assert meter.part("cpu").measured_samples == 8


def test_texts_come_in_their_order_and_each_is_embedded_once(tmp_path: Path) -> None:
    table = Table({text: (place, 1) for place, text in enumerate("abcdefg")})
    found = EngineEmbed(engines(table, tmp_path)).texts(["g", "a", "g", "c", "a"], "captions")
    assert found.tolist() == [[6, 1], [0, 1], [6, 1], [2, 1], [0, 1]]
    assert found.dtype == np.float32
    assert sorted(table.texts_asked) == ["a", "c", "g"]


def test_texts_that_are_cut_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def predict(self: Table, batch: Batch) -> list[Output]:
        return [Output(np.ones(2, np.float32), truncated=len(text) > 3) for text in batch.tensors["vectors"]]

    monkeypatch.setattr(Table, "predict", predict)
    for _ in range(2):  # the second time from the journal, as in a training that validates at every step
        EngineEmbed(engines(Table(), tmp_path)).texts(["abc", "abcde", "abcd", "abcd"], "captions")
    assert capsys.readouterr().err == "2 of 3 captions are longer than the model reads: 'abcde' is cut.\n"


def test_an_embedding_survives_the_journal(tmp_path: Path) -> None:
    vector = np.array([0.1, -2.5, 3e-38], np.float32)
    journal = Journal(tmp_path, "r")
    journal.append([("0" * 64, entry(Output(vector), 0.5))])
    journal.scan()
    found = prediction("a", journal.read("0" * 64), 0.0)
    journal.close()
    assert isinstance(found.output, np.ndarray)
    assert found.output.tobytes() == vector.tobytes()
    assert found.elapsed_seconds == 0.5


@pytest.mark.parametrize("output", [None, "", "AAAA", "no base64!", base64.b64encode(bytes(12)).decode()])
def test_a_damaged_embedding_is_refused(output: str | None) -> None:
    row = {**entry(Output(np.ones(4, np.float32)), 0.0), "error": None, "fresh": False, "output": output}
    with pytest.raises(RunError, match="holds a damaged embedding of sample-7") as caught:
        prediction("sample-7", row, 0.0)
    assert "--no-cache" in caught.value.hint


def test_an_embedding_with_a_hole_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    monkeypatch.setattr(table, "_vector", lambda sample: np.array([1.0, np.nan], np.float32))
    engine = Engine(table, tmp_path, batch_size=2, workers=1, show_progress=False)
    for _, _, found in engine.run(pictures(ROWS, names=NAMES)):
        assert found.error is not None
        assert (found.error.type, "non-finite" in found.error.message) == ("PredictionError", True)
