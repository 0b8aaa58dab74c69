"""What a task can ask: each kind needs a mode of the adapter and certain inputs."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

MEDIA = ("image", "audio")
MESSAGES = "messages"
"""The column of a conversation. Where it is mapped, it stands for question, options and target."""
QUESTION = "question"
"""The column of a question: a task that asks the same of every sample has it in its own words instead."""
STOOD_FOR = (QUESTION, "options", "target")


@dataclass(frozen=True)
class Kind:
    """What one kind of task needs.

    `mode` is how the model must answer; `inputs` are the columns a sample must have; `media`, where it isn't
    empty, are columns of which a task maps exactly one besides (the same question is asked of images and of
    clips), or at most one where it is `optional`. `head` names what turns what the model says into answers
    (`harness.registry.HEADS`). `classes` says that targets are names out of a closed list, `options` that
    they are letters of options that each sample brings. `prompt` is what a chat model is asked unless the
    task has words of its own; None for kinds that ask in no words.
    """

    mode: str
    inputs: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    head: str | None = None
    classes: bool = False
    options: bool = False
    prompt: str | None = None
    optional: bool = False

    def columns(self, mapped: Container[str]) -> tuple[str, ...]:
        """The columns that the model is given, of a task that maps these."""
        inputs = (MESSAGES,) if self.takes_messages(mapped) else self.inputs
        inputs = tuple(name for name in inputs if name != QUESTION or name in mapped)
        return (*inputs, *(column for column in self.media if column in mapped))

    def takes_messages(self, mapped: Container[str]) -> bool:
        """Whether samples are conversations: of any kind that asks in words, when that column is mapped."""
        return self.prompt is not None and MESSAGES in mapped

    def form(self, *, multilabel: bool) -> str:
        """What its answers are: "text", one "class", several "labels", or the "ranks" of retrieval."""
        if self.classes or self.options:
            return "labels" if multilabel else "class"
        return "ranks" if self.head == "retrieval" else "text"


KINDS: dict[str, Kind] = {
    "asr": Kind(mode="generate", inputs=("audio",)),
    "speech_translation": Kind(mode="generate", inputs=("audio",)),
    "zero_shot_classification": Kind(mode="embed", media=MEDIA, head="zero_shot", classes=True),
    "retrieval": Kind(mode="embed", media=MEDIA, head="retrieval"),
    "linear_probe": Kind(mode="embed", media=MEDIA, head="probe", classes=True),
    "classification": Kind(mode="classify", media=MEDIA, classes=True),
    "vqa": Kind(mode="generate", inputs=("question",), media=MEDIA, prompt="{question}"),
    "yes_no": Kind(mode="generate", inputs=("question",), media=MEDIA, prompt="{question}"),
    "captioning": Kind(mode="generate", media=MEDIA, prompt=""),
    "explanation": Kind(mode="generate", media=MEDIA, prompt=""),
    "multiple_choice": Kind(
        mode="choose",
        inputs=("question", "options"),
        media=MEDIA,
        head="options",
        options=True,
        prompt="{question}\n{options}",
    ),
    "conversation": Kind(mode="generate", inputs=(MESSAGES,), media=MEDIA, optional=True, prompt=""),
}
