"""Rows that a task keeps by what their columns hold, and images that questions share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.data import Dataset
from harness.data.rows import ListRows, Request, Rows, Stream
from harness.data.where import kept_rows
from harness.errors import DataError
from harness.spec.overlay import overlaid
from harness.spec.schema import Data
from harness.types import Image
from tests.data.pictures import write_pictures

LoadFrom = Callable[..., Dataset]
WriteJsonl = Callable[..., Path]
ROWS: list[dict[str, Any]] = [
    {"id": "a", "question": "q0", "answer": "yes", "type": "open", "year": 1},
    {"id": "b", "question": "q1", "answer": "no", "type": "choice", "year": 2},
    {"id": "c", "question": "q2", "answer": "no", "type": "choice", "year": 3},
    {"id": "d", "question": "q3", "answer": "no", "type": None, "year": 3},
]
TEXT = {"id": "id", "question": "question", "target": "answer"}


def ids(dataset: Dataset) -> list[str]:
    return [sample_id for window in dataset.windows() for sample_id in window.ids]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"type": "choice"}, ["b", "c"]),
        ({"type": "choice", "year": 3}, ["c"]),
        ({"type": ["open", "choice"]}, ["a", "b", "c"]),
        ({"year": [1, 3]}, ["a", "c", "d"]),
    ],
)
def test_rows_are_kept_by_their_values(
    load_from: LoadFrom, write_jsonl: WriteJsonl, where: dict[str, object], expected: list[str]
) -> None:
    write_jsonl("test.jsonl", ROWS)
    dataset = load_from("./test.jsonl", columns=TEXT, where=where)
    assert (ids(dataset), dataset.size) == (expected, len(expected))
    [window] = dataset.windows()
    questions = {row["id"]: row["question"] for row in ROWS}
    assert [sample.inputs["question"] for sample in window] == [questions[one] for one in expected]


def test_a_stream_keeps_them_too() -> None:
    rows = [{"type": "a", "n": 1}, {"type": "b", "n": 2}, {"type": "a", "n": 3}]
    kept = kept_rows(Stream(rows, ("type", "n")), {"type": "a"}, Request("x", "test"))
    assert isinstance(kept, Stream)
    assert [[row["n"] for row in kept] for _ in range(2)] == [[1, 3], [1, 3]]


def test_what_is_wrong_is_said(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("test.jsonl", ROWS)
    with pytest.raises(DataError, match=r"data\.where\.typ: .* no column 'typ'. Did you mean 'type'"):
        load_from("./test.jsonl", columns=TEXT, where={"typ": "open"})
    with pytest.raises(DataError, match=r"no row is left by data\.where") as raised:
        load_from("./test.jsonl", columns=TEXT, where={"type": "Open"})
    assert raised.value.hint == "'type' holds 'choice', 'open', None."


def test_only_other_columns_are_read() -> None:
    kept = kept_rows(ListRows(ROWS, tuple(ROWS[0])), {"year": 3}, Request("x", "test"))
    assert isinstance(kept, Rows)
    assert kept.only({"id"}).column("id") == ["c", "d"]


def test_another_dataset_for_training_has_other_columns_to_choose_by() -> None:
    data = {"path": "a", "columns": TEXT, "where": {"type": "open"}}
    assert Data.model_validate(overlaid(data, {"name": "x"})).where == {"type": "open"}
    assert Data.model_validate(overlaid(data, {"path": "b"})).where == {}


def test_images_are_joined_by_a_key_that_is_called_otherwise(
    load_from: LoadFrom, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    """GQA: a table of questions, and one of images whose own id is the questions' imageId."""
    write_pictures(tmp_path / "pictures", "0.png", "1.png")
    questions = [{"id": f"q{n}", "imageId": f"i{n % 2}", "question": "?", "answer": "yes"} for n in range(3)]
    write_jsonl("questions/test.jsonl", questions)
    write_jsonl("pictures/test.jsonl", [{"id": f"i{n}", "image": f"../pictures/{n}.png"} for n in (0, 1)])
    join = {"name": "pictures", "on": "imageId", "key": "id", "take": {"picture": "image"}}
    columns = {**TEXT, "image": "picture", "group": "imageId"}
    [window] = load_from(".", name="questions", columns=columns, join=join).windows()
    assert window.ids == ["q0", "q1", "q2"]
    images = [sample.inputs["image"] for sample in window]
    assert all(isinstance(image, Image) for image in images)
    digests = [image.digest() for image in images if isinstance(image, Image)]
    assert digests[0] == digests[2] != digests[1]
