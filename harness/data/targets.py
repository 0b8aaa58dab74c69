"""What a target is to each kind of task: a text, a class, or the captions of an image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.media import encodable
from harness.errors import RowError
from harness.spec.prompting import LETTERS
from harness.types import Input

_UNLABELLED = -1  # as `datasets` has it


class Targets(ABC):
    """Reads the column that is the target. `class_names` are those it may name, None for an open list."""

    class_names: tuple[str, ...] | None = None

    @abstractmethod
    def read(self, value: Any, what: str) -> Any:
        """The target that a value stands for; `what` is what messages call it. Raises RowError."""

    def of(self, value: Any, what: str, inputs: Mapping[str, Input]) -> Any:
        """The same beside the sample's inputs, for targets that name one of them. Raises RowError."""
        return self.read(value, what)


@dataclass(frozen=True)
class Texts(Targets):
    """A text, or a list of texts (several references). Whole numbers name classes, where there are some."""

    class_names: tuple[str, ...] | None = None

    def read(self, value: Any, what: str) -> str | list[str]:
        return target_of(value, what, self.class_names)


class Captions(Targets):
    """The captions of one image or clip, as a list: from a list, or from text with a caption on each line."""

    def read(self, value: Any, what: str) -> list[str]:
        captions = value.strip().split("\n") if isinstance(value, str) else value
        if not isinstance(captions, list | tuple):
            raise RowError(f"{what} holds {type(value).__name__}, not captions")
        if not captions:
            raise RowError(f"{what} is empty: there is no caption")
        return [_caption(caption, what) for caption in captions]


@dataclass(frozen=True)
class Answers(Texts):
    """One answer, or those of several people: texts, or VQA's {"answer": ..., "answer_id": ...}.

    `datasets` may hold the latter as one mapping of lists.
    """

    def read(self, value: Any, what: str) -> str | list[str]:
        if isinstance(value, Mapping) and isinstance(value.get("answer"), list | tuple):
            value = value["answer"]
        if isinstance(value, list | tuple):
            if not value:
                raise RowError(f"{what} is empty: there is no answer")
            value = [one.get("answer") if isinstance(one, Mapping) else one for one in value]
        return super().read(value, what)


class Choices(Targets):
    """Which of the sample's options is right, as its letter: from a letter, a number counted from 0, or the
    option's own words."""

    def read(self, value: Any, what: str) -> str:
        raise RowError(f"{what} names an option, and the sample has none")

    def of(self, value: Any, what: str, inputs: Mapping[str, Input]) -> str:
        options = inputs.get("options")
        if not isinstance(options, tuple):
            return self.read(value, what)
        return letter_of(value, [str(option) for option in options], what)


def open_targets(kind: str | None, class_names: tuple[str, ...] | None = None) -> Targets:
    """How targets are read that come from no closed list: captions, answers of several people, texts."""
    if kind in ("retrieval", "captioning"):
        return Captions()
    return Answers(class_names) if kind == "vqa" else Texts(class_names)


def letter_of(value: Any, options: Sequence[str], what: str) -> str:
    """The letter of the option that a value names. Raises RowError for none, and where it is ambiguous."""
    if isinstance(value, str):
        text = value.strip()
        by_letter = LETTERS.find(text) if len(text) == 1 else -1
        places = {place for place, option in enumerate(options) if option == text}
        if 0 <= by_letter < len(options):
            places.add(by_letter)
        if not places and text.isdecimal() and len(text) < 4:
            places = {int(text)}
    elif isinstance(value, int) and not isinstance(value, bool):
        places = {value}
    else:
        raise RowError(f"{what} holds {type(value).__name__}, not the letter, number or words of an option")
    if len(places) > 1:
        raise RowError(f"{what} holds {value!r}, which {len(places)} of the options could be")
    place = next(iter(places), -1)
    if not 0 <= place < len(options):
        raise RowError(
            f"{what} holds {value!r}, but there are {len(options)} options: A to {LETTERS[len(options) - 1]}"
        )
    return LETTERS[place]


def _caption(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise RowError(f"{what} holds {type(value).__name__}, not a caption")
    if not value.strip():
        raise RowError(f"{what} has an empty caption")
    return encodable(value.strip(), what)


def target_of(value: Any, what: str, class_names: Sequence[str] | None = None) -> str | list[str]:
    """A target as text, or as a list of texts (several references, several classes).

    Finite numbers become text, and whole ones the names of classes where there are `class_names`. `what` is
    what messages call the target ("column 'text' (target)"). Raises RowError on anything else, and for a
    number that no class has.
    """
    if isinstance(value, list | tuple) and value:
        return [text_of(_named(item, what, class_names), what) for item in value]
    return text_of(_named(value, what, class_names), what)


def _named(value: Any, what: str, class_names: Sequence[str] | None) -> Any:
    if class_names is None or isinstance(value, bool) or not isinstance(value, int):
        return value
    return class_names[class_number(value, what, len(class_names))]


def class_number(value: int, what: str, classes: int) -> int:
    """A number that one of so many classes has. Raises RowError for any other, and for -1: no label."""
    if value == _UNLABELLED:
        raise RowError(f"{what} holds {value}: the row has no label, as in test sets that keep them secret")
    if not 0 <= value < classes:
        raise RowError(f"{what} holds {value}, but its classes are numbered 0 to {classes - 1}")
    return value


def text_of(value: Any, what: str) -> str:
    if value is None:
        raise RowError(f"{what} is empty")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowError(f"{what} holds {type(value).__name__}, not text")
    if isinstance(value, float) and not math.isfinite(value):
        raise RowError(f"{what} holds {value}, not text")
    return encodable(str(value), what)
