"""Images and labels from rows, folders and shards, as datasets have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data import Dataset, Window
from harness.data.dataset import make_dataset
from harness.data.image import EncodedImage
from harness.data.rows import ListRows, Request
from harness.data.samples import SampleMaker
from harness.data.targets import target_of
from harness.errors import DataError, MediaError, RowError
from harness.types import Image
from tests.data.pictures import HEIGHT, WIDTH, picture, saved, write_pictures, write_shard

LoadFrom = Callable[..., Dataset]
WriteJsonl = Callable[..., Path]
COLUMNS = {"image": "image", "target": "label"}


def only_window(dataset: Dataset) -> Window:
    [window] = dataset.windows()
    return window


def image_in(value: Any, media_root: Path | None = None) -> Image:
    """The image of a dataset of one row."""
    maker = SampleMaker(COLUMNS, ("image",), media_root)
    rows = ListRows([{"image": value, "label": 0}], ("image", "label"))
    found = only_window(make_dataset(rows, maker, Request("rows", "test")))[0].inputs["image"]
    assert isinstance(found, Image)
    return found


def seen(dataset: Dataset) -> Iterator[tuple[str, str, Any]]:
    """Id, target and pixels of every sample."""
    for sample in only_window(dataset):
        image = sample.inputs["image"]
        assert isinstance(image, Image)
        yield sample.id, sample.target, image.load()


def test_whatever_holds_an_image(tmp_path: Path) -> None:
    write_pictures(tmp_path, "a.png")
    stored = saved(picture())
    values = ["a.png", tmp_path / "a.png", stored, {"bytes": stored, "path": None}]
    values += [{"bytes": None, "path": "a.png"}, np.asarray(picture()), picture(), EncodedImage(stored)]
    for value in values:
        image = image_in(value, tmp_path)
        assert image.load() == picture()
        assert image.size() == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "(image) is empty"),
        (3, "the image is int, not a path, a file's bytes or an array"),
        ({"bytes": None, "path": None}, "the image is dict"),
        ({"bytes": "abc"}, "the image's bytes are str"),
        ({"path": 5}, "the image's path is int"),
        ("", "the image is str"),
        ("a\0.png", "the image's path 'a\\x00.png' can't be the name of a file"),
        ("\ud800.png", "the image's path holds half a character"),
        ("a.png", "the dataset names the media file 'a.png' but doesn't hold it"),
    ],
)
def test_a_row_without_an_image_fails_alone(value: Any, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        image_in(value)
    assert reason in str(caught.value)


def test_an_image_that_is_broken_is_named_by_its_file_or_its_sample() -> None:
    for value, name in (
        (b"broken", "image of 000000: "),
        ({"bytes": b"broken", "path": "some/photo.png"}, "photo.png: "),
        ({"bytes": b"broken", "path": "photo\n.png"}, r"photo\\n.png: "),
    ):
        with pytest.raises(MediaError, match=f"^{name}"):
            image_in(value).load()
    with pytest.raises(MediaError, match=r"^image of 000000: .*int64"):
        image_in([[1, 2], [3, 4]])


def test_a_folder_per_class(load_from: LoadFrom, tmp_path: Path) -> None:
    write_pictures(
        tmp_path / "set/test", "dog/1.png", "cat/2.PNG", "cat/10.png", "cat/._2.png", "cat/notes.txt"
    )
    write_pictures(tmp_path / "set/train", "cat/1.png", "emu/1.png")
    dataset = load_from("./set", columns={**COLUMNS, "id": "file_name"})
    assert dataset.class_names == ("cat", "dog")
    found = [(sample_id, target) for sample_id, target, _ in seen(dataset)]
    assert found == [("cat/10.png", "cat"), ("cat/2.PNG", "cat"), ("dog/1.png", "dog")]
    assert load_from("./set", columns=COLUMNS, split="train").class_names == ("cat", "emu")


def test_a_folder_per_class_and_no_splits(load_from: LoadFrom, tmp_path: Path) -> None:
    write_pictures(tmp_path / "set", "dog/1.png", "cat/2.png")
    assert [target for _, target, _ in seen(load_from("./set", columns=COLUMNS))] == ["cat", "dog"]


def test_a_split_is_not_a_class(load_from: LoadFrom, tmp_path: Path) -> None:
    write_pictures(tmp_path / "set", "train/1.png", "dev/2.png")
    with pytest.raises(DataError, match="holds images but nothing that says what they show"):
        load_from("./set", columns=COLUMNS)


@pytest.mark.parametrize("stray", ["test/1.png", "test/cat/young/1.png"])
def test_no_image_goes_missing_without_a_word(load_from: LoadFrom, tmp_path: Path, stray: str) -> None:
    write_pictures(tmp_path / "set", "test/cat/1.png", "test/dog/1.png", stray)
    with pytest.raises(
        DataError, match=r"is not one folder below .*test, where the folder's name is the class"
    ):
        load_from("./set", columns=COLUMNS)


@pytest.mark.parametrize("names", [("test/1.png",), ("test/cat/1.png",), ("1.png", "2.png")])
def test_a_folder_that_tells_nothing(load_from: LoadFrom, tmp_path: Path, names: tuple[str, ...]) -> None:
    write_pictures(tmp_path / "set", *names)
    with pytest.raises(DataError, match="nothing that says what they show") as caught:
        load_from("./set", columns=COLUMNS)
    assert "folder per class" in caught.value.hint


def test_classes_of_clips_and_images_at_once(load_from: LoadFrom, tmp_path: Path) -> None:
    write_pictures(tmp_path / "set/test", "cat/1.png", "dog/1.wav")
    with pytest.raises(DataError, match="both audio and images"):
        load_from("./set", columns=COLUMNS)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_folder_with_metadata(
    load_from: LoadFrom, write_jsonl: WriteJsonl, tmp_path: Path, name: str
) -> None:
    write_pictures(tmp_path / "set/test", "a.png", "sub/b.png")
    rows = [{"file_name": "a.png", "label": "cat"}, {"file_name": "sub/b.png", "label": "dog"}]
    lines = ["file_name,label", "a.png,cat", "sub/b.png,dog"]
    write_jsonl(f"set/test/{name}", lines if name.endswith("csv") else rows)
    dataset = load_from("./set", columns=COLUMNS)
    assert dataset.class_names is None
    assert [(target, image) for _, target, image in seen(dataset)] == [
        ("cat", picture()),
        ("dog", picture(1)),
    ]


@pytest.mark.usefixtures("arrow_cache")
def test_webdataset_shards(load_from: LoadFrom, tmp_path: Path) -> None:
    write_shard(tmp_path / "set/test/0.tar", 0, 4)
    write_shard(tmp_path / "set/test/1.tar", 4, 2)
    write_shard(tmp_path / "other/test-000.tar", 0, 1)
    columns = {"image": "webp", "target": "cls", "id": "__key__"}
    found = list(seen(load_from("./set", columns=columns)))
    assert [(key, target) for key, target, _ in found] == [(f"s{n:07d}", str(n % 3)) for n in range(6)]
    assert found[4][2] == EncodedImage(saved(picture(1), "WEBP")).load()
    assert load_from("./other", columns=columns).size == 1
    assert load_from("./other/test-000.tar", columns=columns).class_names is None


@pytest.mark.usefixtures("arrow_cache")
@pytest.mark.parametrize("kept", [0, 300, 2048, 2348, 4000])
def test_half_a_shard_is_refused(load_from: LoadFrom, tmp_path: Path, kept: int) -> None:
    write_shard(tmp_path / "set/test/0.tar", 0, 6)
    whole = (tmp_path / "set/test/0.tar").read_bytes()
    (tmp_path / "set/test/0.tar").write_bytes(whole[:kept])
    with pytest.raises(DataError, match=r"0\.tar: .*(cut off|can't be read)"):
        load_from("./set", columns={"image": "webp", "target": "cls"})


@pytest.mark.usefixtures("arrow_cache")
def test_what_is_no_shard(load_from: LoadFrom, tmp_path: Path) -> None:
    (tmp_path / "test.tar").write_bytes(b"no archive" * 500 + bytes(1024))
    with pytest.raises(DataError, match=r"test\.tar: can't be read"):
        load_from("./test.tar", columns={"image": "webp", "target": "cls"})


@pytest.fixture
def labelled(tmp_path: Path, arrow_cache: None) -> Path:
    """A parquet file whose labels have names: cat, dog, and a row without a label."""
    import datasets

    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "several": datasets.List(datasets.ClassLabel(names=["red", "blue"])),
            "number": datasets.Value("int64"),
        }
    )
    rows = {
        "picture": [{"bytes": saved(picture(seed)), "path": None} for seed in range(3)],
        "label": [1, 0, -1],
        "several": [[0], [1, 0], [1]],
        "number": [7, 8, 9],
    }
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "test.parquet")
    return tmp_path / "test.parquet"


@pytest.mark.usefixtures("labelled")
@pytest.mark.parametrize("streaming", [False, True])
def test_numbers_of_classes_become_their_names(load_from: LoadFrom, streaming: bool) -> None:
    dataset = load_from(
        "./test.parquet", columns={"image": "picture", "target": "label"}, streaming=streaming
    )
    window = only_window(dataset)
    assert dataset.class_names == ("cat", "dog")
    assert [window[0].target, window[1].target] == ["dog", "cat"]
    assert window[1].inputs["image"].load() == picture(1)  # type: ignore[union-attr,call-arg]
    with pytest.raises(RowError, match=r"'label' \(target\) holds -1: the row has no label"):
        window[2]


@pytest.mark.usefixtures("labelled")
def test_several_classes_and_plain_numbers(load_from: LoadFrom) -> None:
    several = load_from("./test.parquet", columns={"image": "picture", "target": "several"})
    assert several.class_names == ("red", "blue")
    assert [sample.target for sample in only_window(several)] == [["red"], ["blue", "red"], ["blue"]]
    number = load_from("./test.parquet", columns={"image": "picture", "target": "number"})
    assert number.class_names is None
    assert only_window(number)[0].target == "7"


@pytest.mark.usefixtures("labelled")
def test_names_of_a_joined_label(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("rows.jsonl", [{"number": 8, "question": "q"}])
    join = {"path": "./test.parquet", "on": "number", "take": {"animal": "label"}}
    dataset = load_from("./rows.jsonl", columns={"question": "question", "target": "animal"}, join=join)
    assert dataset.class_names == ("cat", "dog")
    assert only_window(dataset)[0].target == "cat"


@pytest.mark.usefixtures("labelled")
def test_a_transforms_numbers_are_its_own(load_from: LoadFrom, tmp_path: Path) -> None:
    (tmp_path / "coarse_labels.py").write_text(
        "def coarse(row):\n    return {**row, 'label': 1 - row['label']}\n"
    )
    columns = {"image": "picture", "target": "label"}
    dataset = load_from("./test.parquet", columns=columns, transform="coarse_labels:coarse")
    assert dataset.class_names is None
    assert only_window(dataset)[0].target == "0"


@pytest.mark.usefixtures("arrow_cache")
def test_names_of_what_save_to_disk_wrote(load_from: LoadFrom, tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"q": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    rows = datasets.Dataset.from_dict({"q": ["x"], "label": [1]}, features=features)
    rows.save_to_disk(tmp_path / "set")
    dataset = load_from("./set", columns={"question": "q", "target": "label"})
    assert (dataset.class_names, only_window(dataset)[0].target) == (("a", "b"), "b")


def test_a_label_beyond_the_classes() -> None:
    assert target_of("dog", "the target", ("cat",)) == "dog"
    for value in (True, 1, -2):
        with pytest.raises(RowError, match="the target holds"):
            target_of(value, "the target", ("cat",))
