"""A row's audio or image as media; nothing is decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from harness.errors import RowError
from harness.spec.find import existing
from harness.types import Audio, Image

MAX_RATE_HZ = 10_000_000
Maker: TypeAlias = "Callable[[Any, Path | None, str], Audio | Image]"


def audio_of(value: Any, media_root: Path | None, sample_id: str) -> Audio:
    """A row's audio value as a clip.

    Takes what datasets hold: a path, a file's bytes, {"bytes", "path"} as `datasets` stores it,
    {"array", "sampling_rate"} as it decodes it, or a clip. Raises RowError on anything else.
    """
    from harness.data.audio import EncodedAudio, SampledAudio

    if isinstance(value, Audio):
        return value
    if isinstance(value, Mapping) and value.get("array") is not None and value.get("bytes") is None:
        rate_hz = _rate(value.get("sampling_rate"))
        return SampledAudio(value["array"], rate_hz, name=f"audio of {sample_id}")
    source, name = _stored(value, "audio", media_root, sample_id)
    return EncodedAudio(source, name=name)


def image_of(value: Any, media_root: Path | None, sample_id: str) -> Image:
    """A row's image value as an image.

    Takes what datasets hold: a path, a file's bytes, {"bytes", "path"} as `datasets` stores it, an array or
    an image of Pillow's as it decodes it, or an image. Raises RowError on anything else, MediaError for an
    array that is no image.
    """
    import numpy as np
    from PIL.Image import Image as PillowImage

    from harness.data.image import DecodedImage, EncodedImage

    if isinstance(value, Image):
        return value
    if isinstance(value, np.ndarray | list | PillowImage):
        return DecodedImage(value, name=f"image of {sample_id}")
    source, name = _stored(value, "image", media_root, sample_id)
    return EncodedImage(source, name=name)


MEDIA: Mapping[str, Maker] = {"audio": audio_of, "image": image_of}
"""Names of inputs that are media, and what makes them of a row's value."""


def is_several(value: Any) -> bool:
    """Whether a value is a list of media, and not the pixels or the waveform of one as nested lists."""
    return isinstance(value, list | tuple) and not (
        value and isinstance(value[0], list | tuple | int | float)
    )


def encodable(text: str, what: str) -> str:
    """The text, when a file can hold it. Raises RowError for half a surrogate pair, as JSON's \\ud800."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowError(f"{what} holds half a character: {text[error.start]!a}") from error
    return text


def _stored(value: Any, what: str, media_root: Path | None, sample_id: str) -> tuple[bytes | Path, str]:
    """A file, or the bytes of one, and what messages call it ("" for the file's own name)."""
    path, content = (value.get("path"), value.get("bytes")) if isinstance(value, Mapping) else (value, None)
    if isinstance(value, bytes):
        path, content = None, value
    if isinstance(content, bytes):
        return content, _file_name(path) or f"{what} of {sample_id}"
    if content is not None:
        raise RowError(f"the {what}'s bytes are {type(content).__name__}, not bytes")
    if isinstance(path, str | Path) and str(path):
        return _media_path(str(path), what, media_root), ""
    if isinstance(value, Mapping) and path:
        raise RowError(f"the {what}'s path is {type(path).__name__}, not text")
    raise RowError(f"the {what} is {type(value).__name__}, not a path, a file's bytes or an array")


def _rate(value: Any) -> int:
    """A sampling rate in Hz: a whole number within reason. Raises RowError."""
    if isinstance(value, int | float) and 1 <= value <= MAX_RATE_HZ and value == int(value):
        return int(value)
    raise RowError(f"the audio's sampling_rate is {value!a}, not a number of Hz")


def _file_name(path: Any) -> str:
    return ascii(PurePath(path).name)[1:-1] if isinstance(path, str) else ""


def _media_path(path: str, what: str, media_root: Path | None) -> Path:
    """Where a media file is: Common Voice's releases keep theirs in clips/ beside the table."""
    if "\0" in path:
        raise RowError(f"the {what}'s path {path!a} can't be the name of a file")
    encodable(path, f"the {what}'s path")
    if media_root is None:
        if not Path(path).is_absolute():
            raise RowError(f"the dataset names the media file '{path}' but doesn't hold it")
        return Path(path)
    beside, in_clips = media_root / path, media_root / "clips" / path
    return in_clips if existing(in_clips) and not existing(beside) else beside
