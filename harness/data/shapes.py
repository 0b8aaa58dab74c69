"""Pictures of one to three coloured shapes, and questions about them: `synthetic:shapes`."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, ClassVar, TypeAlias

import numpy as np
from PIL import Image
from pydantic import Field, FiniteFloat, field_validator

from harness.data.digits import count_of
from harness.data.rows import Row, Rows
from harness.data.shapes_questions import QUESTIONS, Question, asked, is_there, things_in
from harness.data.shapes_scenes import Look, Palette, Thing, rendered, scene
from harness.data.synthetic import Builder, Options

Count: TypeAlias = Annotated[int, Field(ge=1)]
Share: TypeAlias = Annotated[FiniteFloat, Field(ge=0, le=1)]
_HELD = 256  # pictures that are kept, because rows of one follow each other
_SCENE, _NOISE = 100, 101  # what else is drawn by chance, beside questions, which have numbers below


class ShapesOptions(Options):
    """Settings of `synthetic:shapes`."""

    n: Count | dict[str, Count] = 1000
    """Images per split, or a number for each split's name. Each has as many rows as there are `questions`."""
    questions: tuple[Question, ...] = Field(default=QUESTIONS[:5], min_length=1)
    """What each image is asked, once each: colour, shape, count, position, yes_no; caption, which isn't among
    them unless it is named, says what stands in each quarter of the image."""
    size: int = Field(default=32, ge=16, le=1024)
    """Width and height of the images in pixels."""
    seed: int = Field(default=0, ge=0)
    """Changes everything that is drawn by chance."""
    colours: Palette = "bright"
    """How red, green, ... look: bright or faded."""
    scale: tuple[Share, Share] = (0.65, 0.95)
    """Least and greatest side of a shape, as a share of its quarter of the image."""
    background: tuple[Share, Share] = (0.0, 0.2)
    """Darkest and lightest grey of the background."""
    noise: Share = 0.0
    """How far a pixel's levels are changed by chance, at most, as a share of their range."""

    @field_validator("questions")
    @classmethod
    def _once(cls, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        if len(set(questions)) < len(questions):
            raise ValueError(f"{list(questions)} names one twice; an image is asked each once")
        return questions

    @field_validator("scale", "background")
    @classmethod
    def _in_order(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError(f"{list(bounds)} is not a range: the smaller number comes first")
        return bounds

    @field_validator("scale")
    @classmethod
    def _seen(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] < 0.2:
            raise ValueError(f"a shape of {bounds[0]} of a quarter can't be told from another: from 0.2 on")
        return bounds

    @property
    def look(self) -> Look:
        """What of it the drawing needs."""
        return Look(self.colours, self.scale, self.background, self.noise)


class Shapes(Builder[ShapesOptions]):
    """Columns: id, image (PNG), question, target, group (the image's), kind (of the question).

    Rows of one image follow each other. No two shapes of an image share their colour, their shape or their
    quarter of the image, counts come in turn, and so do yes and no: who doesn't see the image can't know more
    than one of 6 colours, 4 shapes, 3 counts, 4 positions, 2 answers. The same options give the same pixels
    on every machine, and a larger `n` adds images behind the same first ones.
    """

    options_type: ClassVar[type[Options]] = ShapesOptions

    @classmethod
    def rows(cls, options: ShapesOptions, split: str) -> Rows:
        """The rows of `split`, drawn when they are asked for, in less than a millisecond each."""
        return _Drawn(options, split)


class _Drawn(Rows):
    columns = ("id", "image", "question", "target", "group", "kind")

    def __init__(self, options: ShapesOptions, split: str) -> None:
        self._options = options
        self._split = split
        self._count = count_of(options.n, split)
        self._picture = lru_cache(_HELD)(self._draw)

    def __len__(self) -> int:
        return self._count * len(self._options.questions)

    def __getitem__(self, position: int) -> Row:
        number, kind = self._place(position)
        things, png = self._picture(number)
        random = self._random(number, QUESTIONS.index(kind))
        question, answer = asked(kind, things, random, yes=is_there(number))
        return {
            "id": self._id(position),
            "image": {"bytes": png, "path": f"{self._group(position)}.png"},
            "question": question,
            "target": answer,
            "group": self._group(position),
            "kind": kind,
        }

    def column(self, name: str) -> list[object]:
        """Ids, groups and kinds without drawing anything."""
        known: dict[str, Callable[[int], object]] = {
            "id": self._id,
            "group": self._group,
            "kind": lambda position: self._place(position)[1],
        }
        if name in known:
            return [known[name](position) for position in range(len(self))]
        return super().column(name)

    def _draw(self, number: int) -> tuple[tuple[Thing, ...], bytes]:
        """A scene and its picture, as PNG."""
        options, buffer = self._options, io.BytesIO()
        things = scene(things_in(number), options.look, self._random(number, _SCENE))
        pixels = rendered(things, options.size, options.look, self._random(number, _NOISE))
        Image.fromarray(pixels).save(buffer, "PNG")
        return things, buffer.getvalue()

    def _place(self, position: int) -> tuple[int, Question]:
        """Number of the image, and what it is asked."""
        number, which = divmod(position, len(self._options.questions))
        return number, self._options.questions[which]

    def _random(self, number: int, what: int) -> np.random.Generator:
        return np.random.default_rng((self._options.seed, number, what, *self._split.encode()))

    def _group(self, position: int) -> str:
        return f"{self._split}-{self._place(position)[0]:06d}"

    def _id(self, position: int) -> str:
        return f"{self._group(position)}-{self._place(position)[1]}"
