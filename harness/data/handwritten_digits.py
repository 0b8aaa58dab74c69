"""Digits that people wrote: the 1,797 images that scikit-learn ships, so that nothing is downloaded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from harness.data.digits import WORDS
from harness.data.rows import ClassNames, Row, Rows
from harness.data.synthetic import Builder, Options
from harness.errors import DataError
from harness.registry import near

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS = 16  # of ink in the source, and 0 for none
_SHARES = {"train": (0.0, 0.6), "validation": (0.6, 0.75), "test": (0.75, 1.0)}


class HandwrittenDigitsOptions(Options):
    """Settings of `synthetic:handwritten_digits`."""

    size: int = Field(default=32, ge=8, le=1024)
    """Width and height of the images in pixels; the originals have 8."""


class HandwrittenDigits(Builder[HandwrittenDigitsOptions]):
    """Columns: id, image (PNG, light ink on black), target ("three"), group (the id), label (3).

    The test part of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998), as
    `sklearn.datasets.load_digits` has it. The splits train (1,078), validation (269) and test (450) have no
    image in common and the classes in the same shares; the writers aren't known, so splits share them.
    """

    options_type: ClassVar[type[Options]] = HandwrittenDigitsOptions

    @classmethod
    def rows(cls, options: HandwrittenDigitsOptions, split: str) -> Rows:
        """The rows of a split. Raises DataError when there is no such split."""
        if split not in _SHARES:
            hint = near(split, _SHARES) or f"It has: {', '.join(_SHARES)}."
            raise DataError(f"synthetic:handwritten_digits has no split '{split}'", hint)
        return _Digits(split_positions(split), options.size)


def split_positions(split: str) -> list[int]:
    """Positions among the 1,797 images of those that a split has, in their order."""
    _, labels = _source()
    random = np.random.default_rng(0)
    start, end = _SHARES[split]
    found: list[int] = []
    for label in range(len(WORDS)):
        own = random.permutation(np.flatnonzero(labels == label))
        found += [int(position) for position in own[round(start * len(own)) : round(end * len(own))]]
    return sorted(found)


class _Digits(Rows):
    columns = ("id", "image", "target", "group", "label")

    def __init__(self, positions: Sequence[int], size: int) -> None:
        self._positions = positions
        self._size = size

    @property
    def class_names(self) -> ClassNames:
        return {"target": WORDS, "label": WORDS}

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Row:
        images, labels = _source()
        position = self._positions[index]
        label, row_id = int(labels[position]), self._id(index)
        png = _png(images[position], self._size)
        return {
            "id": row_id,
            "image": {"bytes": png, "path": f"{row_id}.png"},
            "target": WORDS[label],
            "group": row_id,
            "label": label,
        }

    def column(self, name: str) -> list[object]:
        if name in {"id", "group"}:
            return [self._id(index) for index in range(len(self))]
        return super().column(name)

    def _id(self, index: int) -> str:
        return f"digit-{self._positions[index]:04d}"


@cache
def _source() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Images, shape (1797, 8, 8), ink from 0 to 16, and labels, shape (1797,)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images, found.target


def _png(ink: NDArray[np.float64], size: int) -> bytes:
    small = Image.fromarray(np.rint(ink * (255 / _LEVELS)).astype(np.uint8))
    buffer = io.BytesIO()
    small.resize((size, size), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()
