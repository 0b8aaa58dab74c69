"""Digits drawn in several fonts, to learn from what nobody wrote by hand."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field, FiniteFloat, field_validator

from harness.data.digits import WORDS, count_of
from harness.data.rows import ClassNames, Row, Rows
from harness.data.synthetic import Builder, Options
from harness.registry import near

if TYPE_CHECKING:
    from numpy.typing import NDArray

PILLOWS = "Pillow"
"""Name of the font that Pillow itself has."""
_FINER = 4  # drawn with so many times the pixels, so that turned edges are smooth
_LEAST_CONTRAST = 0.35
_LUMA = np.array([0.299, 0.587, 0.114])
Count: TypeAlias = Annotated[int, Field(ge=1)]
Share: TypeAlias = Annotated[FiniteFloat, Field(gt=0, le=1)]


class RenderedDigitsOptions(Options):
    """Settings of `synthetic:rendered_digits`."""

    n: Count | dict[str, Count] = 1000
    """Images per split, or a number for each split's name."""
    size: int = Field(default=32, ge=8, le=1024)
    """Width and height of the images in pixels."""
    seed: int = Field(default=0, ge=0)
    """Changes everything that is drawn by chance."""
    fonts: tuple[str, ...] = ()
    """Names of fonts (DejaVuSans, DejaVuSerif-Bold, Pillow); all that there are when not given."""
    height: tuple[Share, Share] = (0.55, 0.95)
    """Least and greatest height of a digit, as a share of the image's."""
    degrees: FiniteFloat = Field(default=20, ge=0, le=180)
    """How far a digit is turned, at most, to either side."""
    stroke: FiniteFloat = Field(default=0.04, ge=0, le=0.2)
    """How much lines are thickened, at most, as a share of the image's height."""
    detail: tuple[Count, Count] = (8, 32)
    """Fewest and most pixels (on a side) that an image is reduced to before it gets its size: sharpness."""
    colour: FiniteFloat = Field(default=0.5, ge=0, le=1)
    """How strong colours are, at most; 0 is grey."""
    light_ink: FiniteFloat = Field(default=0.5, ge=0, le=1)
    """Share of the images whose digit is lighter than the background."""

    @field_validator("fonts")
    @classmethod
    def _there(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in fonts():
                raise ValueError(f"there is no font '{name}'. {near(name, fonts())}".strip())
        return names

    @field_validator("height", "detail")
    @classmethod
    def _in_order(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError(f"{list(bounds)} is not a range: the smaller number comes first")
        return bounds


class RenderedDigits(Builder[RenderedDigitsOptions]):
    """Columns: id, image (PNG), target ("three"), group (the id), label (3), font.

    Digits come in turn, so classes are as frequent as each other. The same options give the same bytes with
    the same releases of Pillow and matplotlib, and a larger `n` adds rows behind the same first ones.
    """

    options_type: ClassVar[type[Options]] = RenderedDigitsOptions

    @classmethod
    def rows(cls, options: RenderedDigitsOptions, split: str) -> Rows:
        """The rows of `split`, drawn when they are asked for, in about a millisecond each."""
        return _Drawn(options, split)


@cache
def fonts() -> dict[str, Path | None]:
    """Names and files of the fonts: matplotlib's DejaVu faces, and Pillow's own, which has no file."""
    from matplotlib import get_data_path

    files = sorted((Path(get_data_path()) / "fonts" / "ttf").glob("DejaVu*.ttf"))
    return {file.stem: file for file in files if "Display" not in file.stem} | {PILLOWS: None}


class _Drawn(Rows):
    columns = ("id", "image", "target", "group", "label", "font")

    def __init__(self, options: RenderedDigitsOptions, split: str) -> None:
        self._options = options
        self._split = split
        self._count = count_of(options.n, split)

    @property
    def class_names(self) -> ClassNames:
        return {"target": WORDS, "label": WORDS}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int) -> Row:
        random = np.random.default_rng((self._options.seed, position, *self._split.encode()))
        label, row_id = position % len(WORDS), self._id(position)
        names = self._options.fonts or tuple(fonts())
        font = names[int(random.integers(len(names)))]
        image = _coloured(_drawn(str(label), font, self._options, random), self._options, random)
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return {
            "id": row_id,
            "image": {"bytes": buffer.getvalue(), "path": f"{row_id}.png"},
            "target": WORDS[label],
            "group": row_id,
            "label": label,
            "font": font,
        }

    def column(self, name: str) -> list[object]:
        if name in {"id", "group"}:
            return [self._id(position) for position in range(len(self))]
        return super().column(name)

    def _id(self, position: int) -> str:
        return f"{self._split}-{position:06d}"


def _drawn(
    digit: str, font: str, options: RenderedDigitsOptions, random: np.random.Generator
) -> NDArray[np.float64]:
    """Ink, shape (size, size), from 0 to 1."""
    side = _FINER * options.size
    glyph = _glyph(digit, font, round(random.uniform(0, options.stroke) * side))
    glyph = glyph.rotate(
        random.uniform(-options.degrees, options.degrees), Image.Resampling.BICUBIC, expand=True
    )
    glyph = glyph.crop(glyph.getbbox())
    scale = min(random.uniform(*options.height) * side / glyph.height, 0.98 * side / glyph.width)
    width, height = (max(1, round(length * scale)) for length in glyph.size)
    page = Image.new("L", (side, side))
    place = (int(random.integers(side - width + 1)), int(random.integers(side - height + 1)))
    page.paste(glyph.resize((width, height), Image.Resampling.BICUBIC), place)
    detail = int(random.integers(options.detail[0], options.detail[1], endpoint=True))
    page = page.resize((detail, detail), Image.Resampling.BOX)
    page = page.resize((options.size, options.size), Image.Resampling.BICUBIC)
    return np.asarray(page, np.float64) / 255


def _glyph(digit: str, font: str, stroke: int) -> Image.Image:
    """The digit in white on black, with nothing around it."""
    file, pixels = fonts()[font], 128
    # A font of its own for each: FreeType's faces are not for several threads.
    face = (
        ImageFont.load_default(pixels)
        if file is None
        else ImageFont.truetype(str(file), pixels, layout_engine=ImageFont.Layout.BASIC)
    )
    page = Image.new("L", (3 * pixels, 3 * pixels))
    ImageDraw.Draw(page).text((pixels, pixels), digit, fill=255, font=face, stroke_width=stroke)
    return page.crop(page.getbbox())


def _coloured(
    ink: NDArray[np.float64], options: RenderedDigitsOptions, random: np.random.Generator
) -> Image.Image:
    """The digit in one colour on another, which differ in brightness."""
    lighter = bool(random.random() < options.light_ink)
    dark = random.uniform(0, 1 - _LEAST_CONTRAST)
    light = random.uniform(dark + _LEAST_CONTRAST, 1)
    colours = [
        _colour(grey, options.colour, random) for grey in ((dark, light) if lighter else (light, dark))
    ]
    pixels = colours[0] + ink[..., np.newaxis] * (colours[1] - colours[0])
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _colour(luma: float, strongest: float, random: np.random.Generator) -> NDArray[np.float64]:
    """A colour of this brightness, more or less strong, shape (3,)."""
    hue = random.uniform(-1, 1, 3) * random.uniform(0, strongest)
    return np.asarray(luma + hue - hue @ _LUMA)
