"""Scenes of shapes: answers are true of the pixels, can't be guessed, and are the same on every machine."""

from __future__ import annotations

import colorsys
import hashlib
import io
import re
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.data import Dataset, load
from harness.data.rows import Row, Rows
from harness.data.shapes import Shapes, ShapesOptions
from harness.errors import DataError
from harness.spec.schema import Data
from harness.types import Image

KINDS = ("colour", "shape", "count", "position", "yes_no")
COLUMNS = {"image": "image", "question": "question", "target": "target", "group": "group", "id": "id"}
HUES = {"red": 0, "orange": 30, "yellow": 53, "green": 124, "blue": 232, "purple": 281}
"""Degrees on the colour wheel."""
QUARTERS = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}


def shapes(split: str = "test", **options: Any) -> Rows:
    return Shapes.rows(ShapesOptions(**{"n": 20, **options}), split)


def dataset(**data: Any) -> Dataset:
    columns = data.pop("columns", COLUMNS)
    return load(
        Data(path="synthetic:shapes", columns=columns, **data), base=Path(), inputs=("image", "question")
    )


def all_of(rows: Rows) -> list[Row]:
    return [rows[position] for position in range(len(rows))]


def pixels(row: Row) -> NDArray[np.float64]:
    """Shape (height, width, 3)."""
    return np.asarray(Pillow.open(io.BytesIO(row["image"]["bytes"])), np.float64)


def seen(row: Row) -> dict[str, tuple[str, str]]:
    """Colour and shape in each quarter, read off the pixels of a dark, quiet picture."""
    image = pixels(row)
    half = len(image) // 2
    found = {}
    for name, (down, across) in QUARTERS.items():
        part = image[down * half : (down + 1) * half, across * half : (across + 1) * half]
        ink = part.max(axis=2) > 0.6 * part.max(initial=120)
        if ink.any():
            found[name] = (colour_of(part[ink].mean(axis=0)), shape_of(ink))
    return found


def colour_of(rgb: NDArray[np.float64]) -> str:
    hue = 360 * colorsys.rgb_to_hsv(*(rgb / 255))[0]
    return min(HUES, key=lambda name: min(abs(hue - HUES[name]), 360 - abs(hue - HUES[name])))


def shape_of(ink: NDArray[np.bool_]) -> str:
    """Squares fill their box, circles most of it; of the others, a triangle's widest row is its lowest."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if box.mean() > 0.93:
        return "square"
    if box.mean() > 0.65:
        return "circle"
    return "triangle" if box[-2].mean() > 0.8 else "cross"


def truth(question: str, scene: dict[str, tuple[str, str]]) -> str:
    """The answer of somebody who reads the question and looks."""
    things = list(scene.values())
    if found := re.fullmatch(r"What colour is the (\w+)\?", question):
        [answer] = [colour for colour, shape in things if shape == found[1]]
    elif found := re.fullmatch(r"Which shape is (\w+)\?", question):
        [answer] = [shape for colour, shape in things if colour == found[1]]
    elif found := re.fullmatch(r"Where is the (\w+)\?", question):
        [answer] = [cell for cell, (_, shape) in scene.items() if shape == found[1]]
    elif question == "How many shapes are there?":
        answer = ("none", "one", "two", "three", "four")[len(things)]
    elif found := re.fullmatch(r"Is there (an?) (\w+) (\w+)\?", question):
        assert (found[1] == "an") == (found[2] == "orange")
        answer = "yes" if (found[2], found[3]) in things else "no"
    else:
        assert question == "What is in the picture?"
        answer = ", ".join(" ".join(scene[cell]) if cell in scene else "nothing" for cell in QUARTERS)
    return answer


@pytest.fixture(scope="module")
def large() -> list[Row]:
    """Pictures that are large enough to be read by rule."""
    return all_of(shapes(n=120, size=96, questions=(*KINDS, "caption")))


def test_every_answer_is_true_of_the_pixels(large: list[Row]) -> None:
    for row in large:
        assert row["target"] == truth(row["question"], seen(row)), (row["id"], row["question"])
    assert Counter(row["kind"] for row in large) == dict.fromkeys((*KINDS, "caption"), 120)


def test_every_shape_colour_and_place_is_drawn(large: list[Row]) -> None:
    scenes = [seen(row) for row in large[::6]]
    assert {len(scene) for scene in scenes} == {1, 2, 3}
    colours = Counter(colour for scene in scenes for colour, _ in scene.values())
    assert set(colours) == set(HUES)
    assert set(Counter(cell for scene in scenes for cell in scene)) == set(QUARTERS)
    assert {shape for scene in scenes for _, shape in scene.values()} == {
        "circle",
        "square",
        "triangle",
        "cross",
    }


def test_a_no_is_not_seen_by_looking_for_one_of_the_two_words(large: list[Row]) -> None:
    """Of the scenes with several shapes, some "no"s name the colour of one and the shape of another."""
    mixed = 0
    for row in large:
        if row["kind"] == "yes_no" and row["target"] == "no" and len(seen(row)) > 1:
            colour, shape = row["question"].rstrip("?").split()[-2:]
            things = seen(row).values()
            mixed += colour in {one for one, _ in things} and shape in {one for _, one in things}
    assert mixed > 10


def test_who_does_not_look_can_only_guess() -> None:
    """The most frequent answer to each question, learned from the test rows themselves."""
    answers: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in all_of(shapes(n=1200, size=16)):
        answers[row["kind"]][row["question"]][row["target"]] += 1
    best = {
        kind: sum(max(found.values()) for found in of_kind.values()) / 1200
        for kind, of_kind in answers.items()
    }
    assert best["count"] == pytest.approx(1 / 3)
    assert best["colour"] == pytest.approx(1 / 6, abs=0.04)
    assert best["shape"] == pytest.approx(1 / 4, abs=0.05)
    assert best["position"] == pytest.approx(1 / 4, abs=0.05)
    assert best["yes_no"] == pytest.approx(1 / 2, abs=0.08)


def test_samples_of_one_image_share_it_and_their_group() -> None:
    sample_of: dict[str, list[Any]] = defaultdict(list)
    for window in dataset(options={"n": 3, "size": 40}).windows():
        for sample in window:
            sample_of[sample.group].append(sample)
    assert list(sample_of) == ["test-000000", "test-000001", "test-000002"]
    for samples in sample_of.values():
        assert [sample.id.removeprefix(f"{sample.group}-") for sample in samples] == list(KINDS)
        images = [sample.inputs["image"] for sample in samples]
        assert all(isinstance(image, Image) and image.size() == (40, 40) for image in images)
        assert len({image.digest() for image in images}) == 1


def test_the_same_options_give_the_same_rows_in_any_order_and_thread() -> None:
    rows = all_of(shapes())
    assert len(rows) == 100
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(shapes().__getitem__, range(99, -1, -1))) == rows[::-1]
    assert all_of(shapes(n=30))[:100] == rows
    assert shapes().column("id") == [row["id"] for row in rows]
    assert shapes().column("group") == [row["group"] for row in rows]
    assert shapes().column("kind") == list(KINDS) * 20
    assert shapes().column("target") == [row["target"] for row in rows]


def test_what_is_asked_besides_changes_neither_picture_nor_question() -> None:
    alone = all_of(shapes(questions=("position",)))
    assert alone == all_of(shapes())[3::5]


def test_pixels_do_not_depend_on_the_machine() -> None:
    """Seen with numpy 2 on x86-64; drawn with sums, products and comparisons alone."""
    digest = hashlib.sha256()
    for row in all_of(shapes(n=50, questions=("count",), noise=0.3, background=(0.1, 0.9), scale=(0.3, 1))):
        digest.update(pixels(row).astype(np.uint8).tobytes())
    assert digest.hexdigest()[:16] == "e233549c0e2ffd8b"


def test_scenes_differ_by_seed_split_and_place() -> None:
    pictures = [
        row["image"]["bytes"]
        for seed in (0, 1)
        for split in ("train", "validation", "test")
        for row in all_of(shapes(split, seed=seed, questions=("count",)))
    ]
    assert len(set(pictures)) == len(pictures) == 120


def test_options_change_the_look_and_not_the_scene() -> None:
    def answers(**options: Any) -> list[str]:
        return [row["target"] for row in all_of(shapes(**options))]

    plain = all_of(shapes(questions=("count",)))
    looks: list[dict[str, Any]] = [
        {"colours": "faded"},
        {"scale": (0.4, 0.5)},
        {"background": (0.5, 0.6)},
        {"noise": 0.1},
    ]
    for look in looks:
        assert answers(**look) == answers()
        assert all_of(shapes(questions=("count",), **look))[0]["image"] != plain[0]["image"]
    bright, faded = (
        np.mean([np.ptp(pixels(row), axis=2).max() for row in all_of(shapes(colours=colours))])
        for colours in ("bright", "faded")
    )
    assert faded < 0.6 * bright


def test_noise_and_background_are_as_strong_as_told() -> None:
    for row in all_of(shapes(background=(0.4, 0.6), noise=0.1, scale=(0.3, 0.4))):
        image = pixels(row)
        assert 0.4 * 255 - 3 < np.median(image) < 0.6 * 255 + 3
        assert 255 * 0.1 / 3**0.5 * 0.8 < image[:, :, 0].std() < 255 * 0.1 / 3**0.5 * 2


def test_shapes_keep_to_their_quarters() -> None:
    """Nothing is drawn across the middle, however large shapes are."""
    for row in all_of(shapes(n=60, size=32, scale=(1, 1), background=(0, 0), questions=("caption",))):
        lit = pixels(row).max(axis=2) > 0
        words = row["target"].split(", ")
        for quarter, (down, across) in zip(words, QUARTERS.values(), strict=True):
            part = lit[down * 16 : down * 16 + 16, across * 16 : across * 16 + 16]
            assert part.any() == (quarter != "nothing")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"questions": []}, r"data\.options\.questions: .*at least 1"),
        ({"questions": ["colour", "colour"]}, r"data\.options\.questions: .*names one twice"),
        ({"questions": ["color"]}, r"data\.options\.questions: .*'colour'"),
        ({"colours": "dark"}, r"data\.options\.colours: .*'bright' or 'faded'"),
        ({"scale": [0.9, 0.5]}, r"data\.options\.scale: \[0\.9, 0\.5\] is not a range"),
        ({"scale": [0.1, 0.5]}, r"data\.options\.scale: a shape of 0\.1 of a quarter"),
        ({"background": [0.5, 1.5]}, r"data\.options\.background: .*less than or equal to 1"),
        ({"noise": -1}, r"data\.options\.noise: .*greater than or equal to 0"),
        ({"colour": "faded"}, r"data\.options\.colour: there is no such option\. Did you mean 'colours'\?"),
        ({"n": {"train": 3}}, "no number for split 'test'"),
    ],
)
def test_options_that_can_not_be_met(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataset(options=options)
