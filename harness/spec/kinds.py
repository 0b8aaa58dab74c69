"""What a task can ask: each kind needs a mode of the adapter and certain inputs."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What one kind of task needs.

    `mode` is how the model must answer; `inputs` are the columns a sample must have; `media`, where it isn't
    empty, are columns of which a task maps exactly one besides (the same question is asked of images and of
    clips). `head` names what turns embeddings into answers (`harness.registry.HEADS`). `classes` says that
    targets are names out of a closed list.
    """

    mode: str
    inputs: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    head: str | None = None
    classes: bool = False

    def columns(self, mapped: Container[str]) -> tuple[str, ...]:
        """The columns that the model is given, of a task that maps these."""
        return (*self.inputs, *(column for column in self.media if column in mapped))

    def form(self, *, multilabel: bool) -> str:
        """What its answers are: "text", one "class", several "labels", or the "ranks" of retrieval."""
        if self.classes:
            return "labels" if multilabel else "class"
        return "ranks" if self.head == "retrieval" else "text"


KINDS: dict[str, Kind] = {
    "asr": Kind(mode="generate", inputs=("audio",)),
    "speech_translation": Kind(mode="generate", inputs=("audio",)),
    "zero_shot_classification": Kind(mode="embed", media=("image", "audio"), head="zero_shot", classes=True),
    "retrieval": Kind(mode="embed", media=("image", "audio"), head="retrieval"),
    "linear_probe": Kind(mode="embed", media=("image", "audio"), head="probe", classes=True),
    "classification": Kind(mode="classify", media=("image", "audio"), classes=True),
}
