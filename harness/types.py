"""What flows between the layers: samples in, predictions out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PillowImage

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class Media(ABC):
    """Something to hear or see that hasn't been decoded yet.

    Every method may read the file, so call them in worker threads.
    """

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 (hex) of the encoded bytes. Raises MediaError when they can't be read."""

    def encoded(self) -> bytes | None:
        """The file's bytes as they are stored; None for what was decoded already. Raises MediaError."""
        return None


class Audio(Media):
    """An audio clip."""

    @abstractmethod
    def seconds(self) -> float:
        """Length in seconds, from the header where there is one. Raises MediaError."""

    @abstractmethod
    def load(self, rate_hz: int) -> NDArray[np.float32]:
        """Mono waveform, float32 in [-1, 1], shape (samples,), at `rate_hz`. Raises MediaError."""


class Image(Media):
    """A still image."""

    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height of the upright image in pixels, from the header. Raises MediaError."""

    @abstractmethod
    def load(self) -> PillowImage:
        """The image in mode RGB, 8 bits per channel, upright; the caller's own. Raises MediaError."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side of a conversation says: texts and media in the order in which they are shown."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | Audio | Image, ...]

    @property
    def text(self) -> str:
        """Its words alone."""
        return "".join(part for part in self.parts if isinstance(part, str))


Input: TypeAlias = str | Audio | Image | tuple[Image, ...] | tuple[str, ...] | tuple[Turn, ...]
"""A text, a clip or an image; several images ("image"); several texts ("options"); a conversation
("messages"), whose last turn is the assistant's and is the target."""


def media_in(value: Input) -> Iterator[Media]:
    """Every clip and image of an input, in order; those of a conversation too."""
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, Media):
            yield part
        elif isinstance(part, Turn):
            yield from (inner for inner in part.parts if isinstance(inner, Media))


Answer: TypeAlias = "str | Mapping[str, Json] | NDArray[np.float32]"
"""What a model or a head says of a sample: a text; values by name (classes and their probabilities, the most
probable first; ranks); or an embedding, float32 of shape (dimensions,), as the network gives it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a dataset, as a task sees it.

    `inputs` are named by the task's columns ("audio", "question", "options"); `target` is a text, a list of
    texts (ten people's answers, five captions), a class, or the letter of the right option; `group` is the
    cluster that the sample belongs to in the bootstrap; `meta` holds mapped columns that are neither
    (language, task) and what reports may show.
    """

    id: str
    inputs: Mapping[str, Input]
    target: Any
    group: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a sample has no prediction: an error's class name and its message."""

    type: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        return cls(type(error).__name__, str(error) or repr(error))


@dataclass(frozen=True, slots=True)
class Output:
    """What an adapter returns for one sample.

    `tokens` is the number of generated tokens, special ones excluded; `truncated` says that
    the length limit ended the generation; `extras` are JSON values (timestamps, the detected language).
    """

    output: Answer
    tokens: int = 0
    truncated: bool = False
    extras: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One sample's outcome: an output, or an error; never an empty string in disguise.

    `media_seconds` is the length of the sample's media; `elapsed_seconds` is this sample's share
    of its batch's feature extraction, transfer, generation and detokenisation;
    `fresh` is false when the prediction came from the cache.
    """

    sample_id: str
    output: Answer | None
    tokens: int = 0
    truncated: bool = False
    extras: Mapping[str, Json] = field(default_factory=dict)
    media_seconds: float = 0.0
    elapsed_seconds: float = 0.0
    fresh: bool = True
    error: Failure | None = None
