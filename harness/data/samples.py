"""From a row to a sample: the task's column mapping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.corrupt import corrupted
from harness.data.media import MEDIA, encodable
from harness.data.rows import Row
from harness.errors import RowError
from harness.spec.corruption import Corrupt
from harness.types import Input, Sample

SPECIAL = ("id", "target", "group")
_UNLABELLED = -1  # as `datasets` has it


@dataclass(frozen=True)
class SampleMaker:
    """Makes samples of rows. `columns` maps the task's names to the dataset's.

    `inputs` are the names that the model is given: "audio" becomes an Audio, "image" an Image, any other a
    string. Every other name that isn't special goes to `Sample.meta`. With `class_names`, a whole number
    under target is the place of its class among them, and becomes its name.
    """

    columns: Mapping[str, str]
    inputs: tuple[str, ...]
    media_root: Path | None = None
    class_names: tuple[str, ...] | None = None
    corrupt: Corrupt | None = None

    def sample(self, row: Row, sample_id: str) -> Sample:
        """The sample of one row. Raises RowError when a value is missing or of the wrong type."""
        if isinstance(own_id := row.get(self.columns.get("id", "")), str):
            encodable(own_id, self._called("id"))
        group = self._value(row, "group") if "group" in self.columns else None
        return Sample(
            id=sample_id,
            inputs={name: self._input(row, name, sample_id) for name in self.inputs},
            target=target_of(self._value(row, "target"), self._called("target"), self.class_names),
            group=sample_id if group in (None, "") else encodable(str(group), self._called("group")),
            meta={name: self._meta_value(row, name) for name in self._meta()},
        )

    def _called(self, name: str) -> str:
        return f"column '{self.columns[name]}' ({name})"

    def _meta_value(self, row: Row, name: str) -> Any:
        value = self._value(row, name)
        return encodable(value, self._called(name)) if isinstance(value, str) else value

    def _meta(self) -> list[str]:
        return [name for name in self.columns if name not in SPECIAL and name not in self.inputs]

    def _value(self, row: Row, name: str) -> Any:
        column = self.columns[name]
        if column not in row:
            raise RowError(f"the row has no '{column}' ({name})")
        return row[column]

    def _input(self, row: Row, name: str, sample_id: str) -> Input:
        value = self._value(row, name)
        if name in MEDIA and value is not None:
            media = MEDIA[name](value, self.media_root, sample_id)
            return media if self.corrupt is None else corrupted(media, self.corrupt)
        return _text(value, self._called(name))


def target_of(value: Any, what: str, class_names: Sequence[str] | None = None) -> str | list[str]:
    """A target as text, or as a list of texts (several references, several classes).

    Finite numbers become text, and whole ones the names of classes where there are `class_names`. `what` is
    what messages call the target ("column 'text' (target)"). Raises RowError on anything else, and for a
    number that no class has.
    """
    if isinstance(value, list | tuple) and value:
        return [_text(_named(item, what, class_names), what) for item in value]
    return _text(_named(value, what, class_names), what)


def _named(value: Any, what: str, class_names: Sequence[str] | None) -> Any:
    if class_names is None or isinstance(value, bool) or not isinstance(value, int):
        return value
    if value == _UNLABELLED:
        raise RowError(f"{what} holds {value}: the row has no label, as in test sets that keep them secret")
    if not 0 <= value < len(class_names):
        raise RowError(f"{what} holds {value}, but its classes are numbered 0 to {len(class_names) - 1}")
    return class_names[value]


def _text(value: Any, what: str) -> str:
    if value is None:
        raise RowError(f"{what} is empty")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowError(f"{what} holds {type(value).__name__}, not text")
    if isinstance(value, float) and not math.isfinite(value):
        raise RowError(f"{what} holds {value}, not text")
    return encodable(str(value), what)
