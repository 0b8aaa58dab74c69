"""Pixels as an embedding: known values, in a known order, of a checkpoint without weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from harness.data.image import DecodedImage
from harness.errors import AdapterError, RowError
from harness.models import load
from harness.models.base import Adapter
from harness.types import Sample
from tests.models.pictures import image_sample, text_sample
from tests.models.tiny_clip import pixels_checkpoint
from tests.tasks import task_of


def pixels(folder: Path, *, column: str = "image", **options: Any) -> Adapter:
    folder = pixels_checkpoint(folder, **options)
    task = task_of(folder, "linear_probe", column=column, metrics=["accuracy"])
    return load(task, base=folder, device="cpu")


def embedding(made: Adapter, image: DecodedImage) -> Any:
    [output] = made.predict(made.encode([Sample("a", {"image": image}, "", "")]))
    return output.output


def test_pixels_are_means_row_by_row_between_zero_and_one(tmp_path: Path) -> None:
    grey = np.array([[0, 0, 255, 255], [0, 0, 255, 255], [51, 153, 0, 0], [51, 153, 0, 0]], np.uint8)
    image = DecodedImage(grey)
    found = embedding(pixels(tmp_path, size=2), image)
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx([0.0, 1.0, 0.4, 0.0])


def test_colours_stand_beside_each_other(tmp_path: Path) -> None:
    made = pixels(tmp_path, size=2, greyscale=False)
    found = embedding(made, DecodedImage(Pillow.new("RGB", (5, 3), (255, 0, 51))))
    assert found.tolist() == pytest.approx([1.0, 0.0, 0.2] * 4)


def test_a_batch_is_as_its_images_alone(tmp_path: Path) -> None:
    made = pixels(tmp_path)
    samples = [image_sample(0), image_sample(1, (3, 50)), image_sample(2, (8, 8))]
    for sample, output in zip(samples, made.predict(made.encode(samples)), strict=True):
        [alone] = made.predict(made.encode([sample]))
        assert isinstance(alone.output, np.ndarray)
        assert isinstance(output.output, np.ndarray)
        assert np.array_equal(output.output, alone.output)
        assert alone.output.shape == (64,)
    assert made.request(samples[0]) == made.request(samples[1]) == {"embed": "image"}


def test_a_checkpoint_without_weights_has_a_digest_of_its_options(tmp_path: Path) -> None:
    first, same = pixels(tmp_path / "a"), pixels(tmp_path / "b")
    other = pixels(tmp_path / "c", size=4)
    assert first.weights.parameters() == 0
    assert first.weights.digest() == same.weights.digest() != other.weights.digest()


def test_what_it_cannot_do_is_said(tmp_path: Path) -> None:
    made = pixels(tmp_path)
    with pytest.raises(RowError, match="has no image"):
        made.encode([text_sample("a dog")])
    with pytest.raises(AdapterError, match="no embeddings to compare"):
        made.similarity()
    with pytest.raises(AdapterError, match="embeds images, the task has audio"):
        pixels(tmp_path, column="audio")
    for kind in ("retrieval", "zero_shot_classification"):
        with pytest.raises(AdapterError, match=f"embeds no texts, which kind '{kind}' compares"):
            load(task_of(tmp_path, kind, column="image", metrics=["accuracy"]), base=tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "harness-pixels", "sise": 8}))
    with pytest.raises(AdapterError, match="sise"):
        load(task_of(tmp_path, "linear_probe", column="image", metrics=["accuracy"]), base=tmp_path)
