"""Handwritten and rendered digits: the same bytes each time, every class, digits that can be told apart."""

from __future__ import annotations

import io
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.data import Dataset, load
from harness.data.digits import WORDS
from harness.data.handwritten_digits import HandwrittenDigits, HandwrittenDigitsOptions, split_positions
from harness.data.rendered_digits import PILLOWS, RenderedDigits, RenderedDigitsOptions, fonts
from harness.data.rows import Row, Rows
from harness.errors import DataError
from harness.spec.schema import Data
from harness.types import Image

SPLITS = ("train", "validation", "test")
COLUMNS = {"image": "image", "target": "target", "group": "group", "id": "id"}


def handwritten(split: str, **options: Any) -> Rows:
    return HandwrittenDigits.rows(HandwrittenDigitsOptions(**options), split)


def rendered(split: str = "train", **options: Any) -> Rows:
    return RenderedDigits.rows(RenderedDigitsOptions(**{"n": 20, **options}), split)


def dataset(path: str, columns: dict[str, str] = COLUMNS, **data: Any) -> Dataset:
    return load(Data(path=path, columns=columns, **data), base=Path(), inputs=("image",))


def pixels(row: Row) -> NDArray[np.float64]:
    """Shape (height, width, 3)."""
    return np.asarray(Pillow.open(io.BytesIO(row["image"]["bytes"])).convert("RGB"), np.float64)


def ink(row: Row) -> NDArray[np.float64]:
    """How far each pixel of an 8 x 8 version is from the corner's colour, from 0 to 1."""
    small = (
        Pillow.open(io.BytesIO(row["image"]["bytes"])).convert("RGB").resize((8, 8), Pillow.Resampling.BOX)
    )
    away = np.abs(np.asarray(small, np.float64) - pixels(row)[0, 0]).sum(axis=2)
    return np.asarray(away / away.max(), np.float64).ravel()


def all_of(rows: Rows) -> list[Row]:
    return [rows[position] for position in range(len(rows))]


def test_splits_of_handwritten_digits_are_disjoint_and_balanced() -> None:
    positions = [split_positions(split) for split in SPLITS]
    assert [len(found) for found in positions] == [1078, 269, 450]
    assert sorted(position for found in positions for position in found) == list(range(1797))
    for split, share in zip(SPLITS, (0.6, 0.15, 0.25), strict=True):
        labels = Counter(row["label"] for row in all_of(handwritten(split, size=8)))
        assert set(labels) == set(range(10))
        assert all(count == pytest.approx(share * 1797 / 10, rel=0.06) for count in labels.values())


def test_a_handwritten_digit_is_the_one_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    source = load_digits()
    for row in all_of(handwritten("test", size=8))[:20]:
        position = int(row["id"].removeprefix("digit-"))
        assert row["target"] == WORDS[source.target[position]]
        np.testing.assert_allclose(pixels(row)[..., 0], source.images[position] * 255 / 16, atol=0.51)


@pytest.mark.parametrize("path", ["synthetic:handwritten_digits", "synthetic:rendered_digits"])
def test_samples_of_digits(path: str) -> None:
    found = dataset(path, options={"size": 24})
    [window] = found.windows()
    sample = window[3]
    image = sample.inputs["image"]
    assert isinstance(image, Image)
    assert (image.size(), image.load().size) == ((24, 24), (24, 24))
    assert sample.target in WORDS
    assert sample.group == sample.id
    assert found.class_names == WORDS
    by_label = dataset(path, {**COLUMNS, "target": "label"})
    assert by_label.class_names == WORDS
    assert next(by_label.windows())[3].target == sample.target


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("synthetic:handwritten_digits", "has no split 'tets'"),
        ("synthetic:rendered_digits", "no number for split 'tets'"),
    ],
)
def test_a_split_that_is_not_there(path: str, message: str) -> None:
    options = {"n": {"train": 3}} if "rendered" in path else {}
    with pytest.raises(DataError, match=message):
        dataset(path, splits={"test": "tets"}, options=options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"fonts": ["DejaVuSan"]},
            r"data\.options\.fonts: there is no font 'DejaVuSan'\. Did you mean 'DejaVuSans'\?",
        ),
        ({"height": [0.9, 0.5]}, r"data\.options\.height: \[0\.9, 0\.5\] is not a range"),
        ({"height": [0.9, 1.5]}, r"data\.options\.height: .*less than or equal to 1"),
        ({"detail": [0, 5]}, r"data\.options\.detail"),
        ({"sizes": 5}, r"data\.options\.sizes: there is no such option\. Did you mean 'size'\?"),
    ],
)
def test_options_that_can_not_be_met(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset("synthetic:rendered_digits", options=options)


@pytest.mark.parametrize("make", [rendered, lambda **options: handwritten("train", **options)])
def test_the_same_options_give_the_same_bytes(make: Any) -> None:
    rows = make(size=16)
    alone = [rows[position] for position in range(20)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(make(size=16).__getitem__, range(20))) == alone
    assert rows.column("id")[:20] == [row["id"] for row in alone]
    assert make(size=24)[0]["image"] != alone[0]["image"]


def test_rendered_digits_differ_by_seed_split_and_place() -> None:
    images = [
        row["image"]["bytes"]
        for seed in (0, 1)
        for split in SPLITS
        for row in all_of(rendered(split, seed=seed))
    ]
    assert len(set(images)) == len(images) == 120
    assert all_of(rendered(n=30))[:20] == all_of(rendered(n=20))
    assert [row["label"] for row in all_of(rendered())] == [*range(10)] * 2


def test_every_font_draws_every_digit() -> None:
    assert PILLOWS in fonts()
    assert len(fonts()) > 5
    for font in fonts():
        rows = all_of(rendered(n=10, fonts=[font], degrees=0, stroke=0, height=(0.9, 0.9), detail=(32, 32)))
        assert {row["font"] for row in rows} == {font}
        assert len({tuple(ink(row) > 0.5) for row in rows}) == 10


def test_a_digit_can_be_seen_and_stands_within_its_image() -> None:
    for row in all_of(rendered(n=200, size=32, degrees=180, height=(1, 1), stroke=0.2)):
        luma = pixels(row) @ [0.299, 0.587, 0.114]
        assert np.ptp(luma) > 50
    lighter = [
        np.median(pixels(row)) < pixels(row).mean() for row in all_of(rendered(n=100, light_ink=1, colour=0))
    ]
    assert np.mean(lighter) > 0.9
    for row in all_of(rendered(n=5, colour=0)):
        assert np.ptp(pixels(row), axis=2).max() == 0


def test_rendered_digits_teach_something_about_handwritten_ones() -> None:
    """Nearest neighbours on 8 x 8 pixels: far above chance, and far from what is left to be learned."""
    drawn, written = all_of(rendered(n=1000, degrees=10)), all_of(handwritten("test"))[:200]
    templates = np.array([ink(row) for row in drawn])
    right = [
        drawn[int(np.abs(templates - ink(row)).sum(axis=1).argmin())]["label"] == row["label"]
        for row in written
    ]
    assert 0.3 < np.mean(right) < 0.95
