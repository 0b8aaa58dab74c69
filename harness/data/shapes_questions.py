"""Questions about scenes of shapes, and their answers, of which none is likelier than another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, get_args

from harness.data.shapes_scenes import CELLS, COLOURS, SHAPES, Thing

if TYPE_CHECKING:
    import numpy as np

Question: TypeAlias = Literal["colour", "shape", "count", "position", "yes_no", "caption"]
QUESTIONS: tuple[Question, ...] = get_args(Question)
COUNTS = ("one", "two", "three")
T = TypeVar("T")
NOTHING = "nothing"
"""What a caption says of an empty cell."""


def things_in(image: int) -> int:
    """How many shapes the `image`-th scene of a split has: one, two, three in turn."""
    return 1 + image % len(COUNTS)


def is_there(image: int) -> bool:
    """Whether the `image`-th scene's yes/no question is answered yes: half are, of every count of shapes."""
    return image // len(COUNTS) % 2 == 0


def asked(
    kind: Question, things: Sequence[Thing], random: np.random.Generator, *, yes: bool
) -> tuple[str, str]:
    """A question of this kind about a scene, and its answer, which is "yes" or "no" as `yes` says."""
    thing = _one(things, random)
    match kind:
        case "colour":
            return f"What colour is the {thing.shape}?", thing.colour
        case "shape":
            return f"Which shape is {thing.colour}?", thing.shape
        case "count":
            return "How many shapes are there?", COUNTS[len(things) - 1]
        case "position":
            return f"Where is the {thing.shape}?", thing.cell
        case "yes_no":
            colour, shape = (thing.colour, thing.shape) if yes else _absent(thing, things, random)
            return f"Is there {_article(colour)} {colour} {shape}?", "yes" if yes else "no"
        case "caption":
            return "What is in the picture?", caption(things)


def caption(things: Sequence[Thing]) -> str:
    """What stands in each cell, in reading order."""
    there = {thing.cell: f"{thing.colour} {thing.shape}" for thing in things}
    return ", ".join(there.get(cell, NOTHING) for cell in CELLS)


def _absent(thing: Thing, things: Sequence[Thing], random: np.random.Generator) -> tuple[str, str]:
    """A colour and a shape that nothing has both of: those of two things, or one is not in the scene."""
    others = [other for other in things if other is not thing]
    if others and random.random() < 0.5:
        return thing.colour, _one(others, random).shape
    if random.random() < 0.5:
        return _one(
            [name for name in COLOURS if name not in {one.colour for one in things}], random
        ), thing.shape
    return thing.colour, _one([name for name in SHAPES if name not in {one.shape for one in things}], random)


def _one(choices: Sequence[T], random: np.random.Generator) -> T:
    return choices[int(random.integers(len(choices)))]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"
