"""From a row to a sample: the task's column mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from harness.data.rows import Row
from harness.errors import RowError
from harness.types import Audio, Input, Sample

SPECIAL = ("id", "target", "group")


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
        target = self._value(row, "target")
        if target is None:
            raise RowError(f"column '{self.columns['target']}' (target) is empty")
        group = self._value(row, "group") if "group" in self.columns else None
        return Sample(
            id=sample_id,
            inputs={name: self._input(row, name, sample_id) for name in self.inputs},
            target=target,
            group=sample_id if group is None else str(group),
            meta={name: self._value(row, name) for name in self._meta()},
        )

    def _meta(self) -> list[str]:
        return [name for name in self.columns if name not in SPECIAL and name not in self.inputs]

    def _value(self, row: Row, name: str) -> Any:
        column = self.columns[name]
        if column not in row:
            raise RowError(f"the row has no '{column}' ({name})")
        return row[column]

    def _input(self, row: Row, name: str, sample_id: str) -> Input:
        value = self._value(row, name)
        if value is None:
            raise RowError(f"column '{self.columns[name]}' ({name}) is empty")
        if name == "audio":
            return audio_of(value, self.media_root, sample_id)
        if isinstance(value, str | int | float):
            return str(value)
        raise RowError(f"column '{self.columns[name]}' ({name}) holds {type(value).__name__}, not text")


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
        if value.get("array") is not None and value.get("sampling_rate"):
            return SampledAudio(value["array"], int(value["sampling_rate"]), name=f"audio of {sample_id}")
        path = value.get("path")
        if value.get("bytes") is not None:
            return EncodedAudio(value["bytes"], name=PurePath(path).name if path else f"audio of {sample_id}")
        if path:
            return EncodedAudio(_media_path(path, media_root))
    raise RowError(f"the audio is {type(value).__name__}, not a path, a file's bytes or an array")


def _media_path(path: str, media_root: Path | None) -> Path:
    """Where a media file is: Common Voice's releases keep theirs in clips/ beside the table."""
    if media_root is None:
        if not Path(path).is_absolute():
            raise RowError(f"the dataset names the media file '{path}' but doesn't hold it")
        return Path(path)
    beside, in_clips = media_root / path, media_root / "clips" / path
    return in_clips if not beside.exists() and in_clips.exists() else beside
