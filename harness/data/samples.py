"""From a row to a sample: the task's column mapping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from harness.data.rows import Row
from harness.errors import RowError
from harness.spec.find import existing
from harness.types import Audio, Input, Sample

SPECIAL = ("id", "target", "group")
MAX_RATE_HZ = 10_000_000


@dataclass(frozen=True)
class SampleMaker:
    """Makes samples of rows. `columns` maps the task's names to the dataset's.

    `inputs` are the names that the model is given: "audio" becomes an Audio, any other a string.
    Every other name that isn't special goes to `Sample.meta`.
    """

    columns: Mapping[str, str]
    inputs: tuple[str, ...]
    media_root: Path | None = None

    def sample(self, row: Row, sample_id: str) -> Sample:
        """The sample of one row. Raises RowError when a value is missing or of the wrong type."""
        if isinstance(own_id := row.get(self.columns.get("id", "")), str):
            _encodable(own_id, self._called("id"))
        group = self._value(row, "group") if "group" in self.columns else None
        return Sample(
            id=sample_id,
            inputs={name: self._input(row, name, sample_id) for name in self.inputs},
            target=target_of(self._value(row, "target"), self._called("target")),
            group=sample_id if group in (None, "") else _encodable(str(group), self._called("group")),
            meta={name: self._meta_value(row, name) for name in self._meta()},
        )

    def _called(self, name: str) -> str:
        return f"column '{self.columns[name]}' ({name})"

    def _meta_value(self, row: Row, name: str) -> Any:
        value = self._value(row, name)
        return _encodable(value, self._called(name)) if isinstance(value, str) else value

    def _meta(self) -> list[str]:
        return [name for name in self.columns if name not in SPECIAL and name not in self.inputs]

    def _value(self, row: Row, name: str) -> Any:
        column = self.columns[name]
        if column not in row:
            raise RowError(f"the row has no '{column}' ({name})")
        return row[column]

    def _input(self, row: Row, name: str, sample_id: str) -> Input:
        value = self._value(row, name)
        if name == "audio" and value is not None:
            return audio_of(value, self.media_root, sample_id)
        return _text(value, self._called(name))


def target_of(value: Any, what: str) -> str | list[str]:
    """A target as text, or as a list of texts (several references); finite numbers become text.

    `what` is what messages call it ("column 'text' (target)"). Raises RowError on anything else.
    """
    if isinstance(value, list | tuple) and value:
        return [_text(item, what) for item in value]
    return _text(value, what)


def _text(value: Any, what: str) -> str:
    if value is None:
        raise RowError(f"{what} is empty")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowError(f"{what} holds {type(value).__name__}, not text")
    if isinstance(value, float) and not math.isfinite(value):
        raise RowError(f"{what} holds {value}, not text")
    return _encodable(str(value), what)


def _encodable(text: str, what: str) -> str:
    """The text, when a file can hold it. Raises RowError for half a surrogate pair, as JSON's \\ud800."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowError(f"{what} holds half a character: {text[error.start]!a}") from error
    return text


def audio_of(value: Any, media_root: Path | None, sample_id: str) -> Audio:
    """A row's audio value as a clip; nothing is decoded.

    Takes what datasets hold: a path, a file's bytes, {"bytes", "path"} as `datasets` stores it,
    {"array", "sampling_rate"} as it decodes it, or a clip. Raises RowError on anything else.
    """
    from harness.data.audio import EncodedAudio, SampledAudio

    if isinstance(value, Audio):
        return value
    if isinstance(value, bytes):
        return EncodedAudio(value, name=f"audio of {sample_id}")
    if isinstance(value, str | Path):
        return EncodedAudio(_media_path(str(value), media_root))
    if isinstance(value, Mapping):
        if value.get("array") is not None and value.get("bytes") is None:
            rate_hz = _rate(value.get("sampling_rate"))
            return SampledAudio(value["array"], rate_hz, name=f"audio of {sample_id}")
        path, content = value.get("path"), value.get("bytes")
        if isinstance(content, bytes):
            return EncodedAudio(content, name=_file_name(path) or f"audio of {sample_id}")
        if content is not None:
            raise RowError(f"the audio's bytes are {type(content).__name__}, not bytes")
        if isinstance(path, str) and path:
            return EncodedAudio(_media_path(path, media_root))
        if path:
            raise RowError(f"the audio's path is {type(path).__name__}, not text")
    raise RowError(f"the audio is {type(value).__name__}, not a path, a file's bytes or an array")


def _rate(value: Any) -> int:
    """A sampling rate in Hz: a whole number within reason. Raises RowError."""
    if isinstance(value, int | float) and 1 <= value <= MAX_RATE_HZ and value == int(value):
        return int(value)
    raise RowError(f"the audio's sampling_rate is {value!a}, not a number of Hz")


def _file_name(path: Any) -> str:
    return ascii(PurePath(path).name)[1:-1] if isinstance(path, str) else ""


def _media_path(path: str, media_root: Path | None) -> Path:
    """Where a media file is: Common Voice's releases keep theirs in clips/ beside the table."""
    if "\0" in path:
        raise RowError(f"the audio's path {path!a} can't be the name of a file")
    _encodable(path, "the audio's path")
    if media_root is None:
        if not Path(path).is_absolute():
            raise RowError(f"the dataset names the media file '{path}' but doesn't hold it")
        return Path(path)
    beside, in_clips = media_root / path, media_root / "clips" / path
    return in_clips if existing(in_clips) and not existing(beside) else beside
