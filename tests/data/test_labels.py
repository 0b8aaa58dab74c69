"""Labels as names out of a closed list, and captions, whatever the dataset holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data import Dataset, load
from harness.data.labels import Labels, labels
from harness.data.targets import Captions
from harness.errors import DataError, RowError
from harness.spec.classes import Classes, prompts, told_apart
from harness.spec.schema import Data
from tests.data.pictures import write_pictures, write_shard

WriteJsonl = Callable[..., Path]
ANIMALS = ("cat", "dog", "emu")


def read(found: Labels, *values: Any) -> list[Any]:
    return [found.read(value, "the target") for value in values]


def test_numbers_texts_of_numbers_and_names() -> None:
    found = labels(ANIMALS, None, "rows")
    assert read(found, 0, "1", " emu\n", "2", ["dog"], np.int64(1), np.array([2])) == [
        *("cat", "dog", "emu", "emu", "dog", "dog", "emu")
    ]
    assert found.class_names == ANIMALS


def test_a_name_that_looks_like_a_number_is_a_name() -> None:
    found = labels(("1", "0"), None, "rows")
    assert read(found, "1", 1, "0") == ["1", "0", "0"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("dgo", r"holds 'dgo', which is none of the 3 classes. Did you mean 'dog'\?"),
        (-1, "holds -1: the row has no label"),
        ("-1", "holds -1: the row has no label"),
        (3, "holds 3, but its classes are numbered 0 to 2"),
        ("3", "holds 3, but its classes are numbered 0 to 2"),
        (True, "holds True, neither a class's number nor its name"),
        (1.0, "holds 1.0, neither a class's number nor its name"),
        (None, "is empty"),
        (" ", "is empty"),
        (["cat", "dog"], "lists 2 classes; classes.multilabel: true"),
        ([], "lists 0 classes"),
    ],
)
def test_what_is_no_class(value: Any, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        read(labels(ANIMALS, None, "rows"), value)


def test_the_same_names_in_another_order_go_by_name() -> None:
    found = labels(("emu", "cat", "dog"), ANIMALS, "rows")
    assert found.class_names == ("emu", "cat", "dog")
    assert read(found, 0, "0", "emu", 2) == ["cat", "cat", "emu", "emu"]


def test_as_many_other_names_go_by_number() -> None:
    found = labels(("a cat", "a dog", "an emu"), ANIMALS, "rows")
    assert read(found, 0, "dog", "an emu", "2") == ["a cat", "a dog", "an emu", "an emu"]
    assert found.class_names == ("a cat", "a dog", "an emu")


def test_another_number_of_names_says_how_many_each_has() -> None:
    with pytest.raises(DataError, match="the task names 2 classes, and rows has 3") as caught:
        labels(("cat", "dog"), ANIMALS, "rows")
    assert "cat, dog, emu" in caught.value.hint


def test_names_that_come_twice_are_told_apart_and_asked_for_as_they_are() -> None:
    names = told_apart(["crane", "cat", "crane"])
    assert names == ("crane [0]", "cat", "crane [2]")
    assert prompts(names, ["a {}.", "{}"]) == [
        ["a crane.", "crane"],
        ["a cat.", "cat"],
        ["a crane.", "crane"],
    ]
    found = labels(None, ("crane", "cat", "crane"), "rows")
    assert read(found, 0, 2, "crane [2]") == ["crane [0]", "crane [2]", "crane [2]"]
    with pytest.raises(RowError, match=r"2 classes are called: crane \[0\], crane \[2\]"):
        read(found, "crane")


def test_several_classes_at_once() -> None:
    found = labels(ANIMALS, None, "rows", multilabel=True)
    assert read(found, ["emu", 0], [], "dog", 1, [2, 2], ("cat",)) == [
        *(["emu", "cat"], [], ["dog"], ["dog"], ["emu"], ["cat"])
    ]
    with pytest.raises(RowError, match="Did you mean 'emu'"):
        read(found, ["cat", "emuu"])


def test_a_vector_of_zeros_and_ones() -> None:
    found = labels(ANIMALS, None, "rows", multilabel=True)
    assert read(found, [1, 0, 1], np.array([0, 0, 0]), [0.0, 1.0, 0.0]) == [["cat", "emu"], [], ["dog"]]
    pair = labels(("cat", "dog"), None, "rows", multilabel=True)
    assert read(pair, [0, 1]) == [["cat", "dog"]], "two numbers are both classes, not a vector"


def test_without_a_list_every_name_counts() -> None:
    found = labels(None, None, "rows")
    assert found.class_names is None
    assert read(found, "anything", 7, "7") == ["anything", "7", "7"]


def test_captions() -> None:
    read = Captions().read
    assert read("a dog.", "t") == ["a dog."]
    assert read("a dog.\na cat. \r\n", "t") == ["a dog.", "a cat."]
    assert read([" a dog", "a\ncat"], "t") == ["a dog", "a\ncat"]
    for value in ("", " \n ", [], ["a", ""], ["a", " "], "a\n\nb", None, 3, ["a", 3], {"raw": "a"}):
        with pytest.raises(RowError, match=r"^t (is empty|has an empty caption|holds)"):
            read(value, "t")


def loaded(folder: Path, path: str = "./rows.jsonl", kind: str = "linear_probe", **classes: Any) -> Dataset:
    section = Data(path=path, columns={"image": "image", "target": "label"})
    found = Classes(**classes) if classes else None
    return load(section, base=folder, inputs=("image",), kind=kind, classes=found)


def targets(dataset: Dataset) -> list[Any]:
    return [sample.target for window in dataset.windows() for sample in window]


def test_labels_of_rows(write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.png")
    rows = [{"image": "a.png", "label": label} for label in (1, "cat", "0")]
    write_jsonl("rows.jsonl", rows)
    dataset = loaded(tmp_path, names=ANIMALS)
    assert dataset.class_names == ANIMALS
    assert targets(dataset) == ["dog", "cat", "cat"]
    assert targets(loaded(tmp_path)) == ["1", "cat", "0"]


def test_captions_of_rows(write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.png")
    write_jsonl("rows.jsonl", [{"image": "a.png", "label": "a dog.\na pet."}])
    dataset = loaded(tmp_path, kind="retrieval")
    assert targets(dataset) == [["a dog.", "a pet."]]
    assert dataset.class_names is None


def test_folders_of_classes_take_the_tasks_names(tmp_path: Path) -> None:
    write_pictures(tmp_path / "set/test", "0/1.png", "1/1.png")
    dataset = loaded(tmp_path, "./set", names=("zero", "one"))
    assert targets(dataset) == ["zero", "one"]


@pytest.mark.usefixtures("arrow_cache")
def test_a_file_of_names_beside_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "set/test/0.tar", 0, 4)
    (tmp_path / "set/classnames.txt").write_text("cat\ncrane\ncrane\n\n")
    section = Data(path="./set", columns={"image": "webp", "target": "cls"})
    classes = Classes(names_file="classnames.txt")
    dataset = load(
        section, base=tmp_path, inputs=("image",), kind="zero_shot_classification", classes=classes
    )
    assert targets(dataset) == ["cat", "crane [1]", "crane [2]", "cat"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"has no file 'names\.txt' \(classes\.names_file\)"),
        (b"cat\n\ndog\n", r"names\.txt:2  is empty, where class 1 has its name"),
        (b"cat\n", "names 1 classes"),
        (b"", "names 0 classes|is empty"),
        (b"cat\n\xff\xfe\n", "isn't UTF-8"),
    ],
)
def test_a_file_of_names_that_is_none(
    write_jsonl: WriteJsonl, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    write_jsonl("rows.jsonl", [{"image": "a.png", "label": 0}])
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        loaded(tmp_path, names_file="names.txt")


def test_a_synthetic_dataset_has_no_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no files, but classes\.names_file is 'names.txt'"):
        loaded(tmp_path, "synthetic:handwritten_digits", names_file="names.txt")
