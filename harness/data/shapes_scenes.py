"""Scenes of coloured shapes: what stands where, and how that looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
CELLS = ("top left", "top right", "bottom left", "bottom right")
"""Quarters of the image, in reading order."""
Palette: TypeAlias = Literal["bright", "faded"]
PALETTES: dict[Palette, tuple[tuple[int, int, int], ...]] = {
    "bright": ((225, 35, 35), (40, 185, 50), (45, 70, 230), (240, 220, 40), (150, 45, 200), (245, 135, 25)),
    "faded": ((165, 75, 70), (110, 140, 80), (85, 115, 155), (185, 170, 95), (135, 95, 140), (185, 125, 75)),
}
"""Red, green and blue (0 to 255) of each of COLOURS."""
_TINT = 12  # how far a shape's own colour is from its palette's, at most, in each of the three
_FINER = 4  # pixels are averages of so many by so many points, so that edges are smooth


@dataclass(frozen=True)
class Thing:
    """One shape. `centre` (x, y) and `side` are shares of the image's width, `rgb` is from 0 to 255."""

    shape: str
    colour: str
    cell: str
    centre: tuple[float, float]
    side: float
    rgb: tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """How scenes look: a shape's side as a share of its cell's, the background's grey and the noise from 0
    to 1. Ranges are drawn from, image by image or shape by shape."""

    palette: Palette
    scale: tuple[float, float]
    background: tuple[float, float]
    noise: float


def scene(count: int, look: Look, random: np.random.Generator) -> tuple[Thing, ...]:
    """`count` shapes in reading order; no two have their shape, their colour or their cell in common."""
    cells = sorted(random.permutation(len(CELLS))[:count])
    shapes, colours = random.permutation(len(SHAPES)), random.permutation(len(COLOURS))
    return tuple(
        _thing(int(cell), int(shape), int(colour), look, random)
        for cell, shape, colour in zip(cells, shapes, colours, strict=False)
    )


def _thing(cell: int, shape: int, colour: int, look: Look, random: np.random.Generator) -> Thing:
    side = random.uniform(*look.scale) / 2
    row, column = divmod(cell, 2)
    x, y = (quarter / 2 + random.uniform(side / 2, 0.5 - side / 2) for quarter in (column, row))
    red, green, blue = (level + random.uniform(-_TINT, _TINT) for level in PALETTES[look.palette][colour])
    return Thing(SHAPES[shape], COLOURS[colour], CELLS[cell], (x, y), side, (red, green, blue))


def rendered(
    things: Sequence[Thing], size: int, look: Look, random: np.random.Generator
) -> NDArray[np.uint8]:
    """The scene's pixels, shape (size, size, 3)."""
    pixels = np.full((size, size, 3), 255 * random.uniform(*look.background))
    for thing in things:
        cover = _cover(thing, size)[..., np.newaxis]
        pixels += cover * (np.asarray(thing.rgb) - pixels)
    pixels += random.uniform(-255 * look.noise, 255 * look.noise, pixels.shape)
    return np.asarray(np.rint(np.clip(pixels, 0, 255)), np.uint8)


def _cover(thing: Thing, size: int) -> NDArray[np.float64]:
    """How much of each pixel the shape covers, from 0 to 1, shape (size, size)."""
    points = (np.arange(_FINER * size) + 0.5) / (_FINER * size)
    x, y = (np.abs(2 * (points - middle) / thing.side) for middle in thing.centre)  # 1 is the shape's edge
    across, down = x[np.newaxis, :], y[:, np.newaxis]
    match thing.shape:
        case "circle":
            inside = across**2 + down**2 <= 1
        case "square":
            inside = (across <= 0.9) & (down <= 0.9)
        case "triangle":
            height = 2 * (points - thing.centre[1]) / thing.side
            inside = (across <= (height[:, np.newaxis] + 1) / 2) & (down <= 1)
        case _:
            inside = (np.minimum(across, down) <= 0.3) & (np.maximum(across, down) <= 1)
    return np.asarray(inside.reshape(size, _FINER, size, _FINER).mean(axis=(1, 3)), np.float64)
