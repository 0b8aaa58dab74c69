"""A task's words and a sample to the turns of a conversation: what any model that reads prompts is asked.

How turns become a prompt (template, placeholders, special tokens) is the family's business.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.errors import RowError
from harness.spec.kinds import KINDS, MESSAGES
from harness.spec.prompting import IMAGE_PLACE, LETTERS, PLACEHOLDER, Choice
from harness.types import Audio, Image, Media, Sample, Turn, media_in

if TYPE_CHECKING:
    import numpy as np

    from harness.spec.schema import Task


@dataclass(frozen=True)
class Asking:
    """`words` are the task's, columns in braces; `choice` says how options are written and answered."""

    kind: str
    words: str
    choice: Choice

    @classmethod
    def of(cls, task: Task) -> Asking:
        """What a task asks."""
        return cls(task.kind, task.words, task.chooses)

    def turns(self, sample: Sample) -> tuple[Turn, ...]:
        """What is asked, ending with the user's turn; images where the words have places for them, else
        before them.

        Raises RowError when there are more or fewer images than places, and for a column that isn't text.
        """
        if MESSAGES in sample.inputs:
            return _turns_of(sample)[:-1]
        return (Turn("user", tuple(_placed(self.text(sample), list(_media(sample)), sample.id))),)

    def conversation(self, sample: Sample) -> tuple[Turn, ...]:
        """What is asked with what is to be learned: every turn of the assistant. Raises RowError."""
        if MESSAGES in sample.inputs:
            return _turns_of(sample)
        return (*self.turns(sample), Turn("assistant", (self.answer(sample),)))

    def text(self, sample: Sample) -> str:
        """The words with the sample's columns in them. Raises RowError."""
        own = {"id": sample.id, "group": sample.group, "target": sample.target}
        values: dict[str, Any] = {**own, **sample.meta, **sample.inputs}
        values["options"] = self._listed(sample)
        return filled(self.words, values, sample.id)

    def answers(self, sample: Sample) -> list[str]:
        """What each option is answered with, in their order: its words or its letter."""
        options = _options(sample)
        return list(LETTERS[: len(options)]) if self.choice.answers_letter else list(options)

    def answer(self, sample: Sample) -> str:
        """What is learned of a sample: of several answers the most frequent, of several texts the first."""
        target = sample.target
        if KINDS[self.kind].options:
            return self.answers(sample)[LETTERS.index(str(target))]
        if isinstance(target, str):
            return target
        texts = [str(one) for one in target]
        return Counter(texts).most_common(1)[0][0] if self.kind == "vqa" else texts[0]

    def chosen(self, sample: Sample, random: np.random.Generator) -> Sample:
        """The sample with one of its captions as the target; answers of people aren't drawn from."""
        if self.kind in ("vqa", "conversation") or isinstance(sample.target, str):
            return sample
        return replace(sample, target=str(sample.target[int(random.integers(len(sample.target)))]))

    def _listed(self, sample: Sample) -> str:
        options = sample.inputs.get("options", ())
        lines = [
            filled(self.choice.format, {"letter": letter, "option": option}, sample.id)
            for letter, option in zip(LETTERS, options if isinstance(options, tuple) else (), strict=False)
        ]
        return self.choice.separator.join(lines)


def filled(words: str, values: Mapping[str, Any], sample_id: str) -> str:
    """The words with values in place of the names in braces; lists with commas. Raises RowError.

    A line is left out when all its names stand for nothing, an empty text or list: "Context: {hint}" is no
    line of a question without a hint.
    """

    def value(found: re.Match[str]) -> str:
        given = values.get(found[1])
        if isinstance(given, str):
            return given
        if isinstance(given, int | float) and not isinstance(given, bool):
            return str(given)
        if isinstance(given, list | tuple) and all(isinstance(one, str | int | float) for one in given):
            return ", ".join(map(str, given))
        raise RowError(f"sample '{sample_id}': the prompt's {{{found[1]}}} is {_type(given)}, not text")

    lines = [line for line in words.split("\n") if not _says_nothing(line, values)]
    return PLACEHOLDER.sub(value, "\n".join(lines))


def _says_nothing(line: str, values: Mapping[str, Any]) -> bool:
    given = [values.get(name) for name in PLACEHOLDER.findall(line)]
    return bool(given) and all(isinstance(value, str | list | tuple) and not value for value in given)


def _type(value: Any) -> str:
    return "empty" if value is None else type(value).__name__


def _media(sample: Sample) -> Iterator[Audio | Image]:
    for name, value in sample.inputs.items():
        for medium in media_in(value):
            if isinstance(medium, Audio | Image) and name != MESSAGES:
                yield medium


def _placed(text: str, media: Sequence[Audio | Image], sample_id: str) -> Iterator[str | Audio | Image]:
    """Media and words in order: <image> is the next image, <image 2> the second, where it comes first."""
    places = list(IMAGE_PLACE.finditer(text))
    if not places:
        yield from media
        if text:
            yield text
        return
    numbers = _numbers(places)
    if sorted(set(numbers)) != list(range(len(media))):
        raise RowError(
            f"sample '{sample_id}' has {_counted(len(media), 'image')}, its prompt "
            f"{_counted(len(set(numbers)), 'place')} for images "
            f"({', '.join(dict.fromkeys(place[0] for place in places))})"
        )
    end, shown = 0, set[int]()
    for place, number in zip(places, numbers, strict=True):
        if before := text[end : place.start()]:
            yield before
        yield f"image {number + 1}" if number in shown else media[number]
        shown.add(number)
        end = place.end()
    if rest := text[end:]:
        yield rest


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _numbers(places: Sequence[re.Match[str]]) -> list[int]:
    """Which image each place is for, counted from 0."""
    numbers, following = [], 0
    for place in places:
        if place[0] == "<image>":
            numbers.append(following)
            following += 1
        else:
            numbers.append(int(place[0].removeprefix("<image ").removesuffix(">")) - 1)
    return numbers


def _turns_of(sample: Sample) -> tuple[Turn, ...]:
    messages = sample.inputs[MESSAGES]
    return tuple(turn for turn in messages if isinstance(turn, Turn)) if isinstance(messages, tuple) else ()


def _options(sample: Sample) -> tuple[str, ...]:
    options = sample.inputs.get("options")
    if not isinstance(options, tuple):
        raise RowError(f"sample '{sample.id}' has no options")
    return tuple(str(option) for option in options)


def media_of(turns: Sequence[Turn]) -> list[Media]:
    """Every piece of media of these turns, in order."""
    return [part for turn in turns for part in turn.parts if isinstance(part, Media)]
