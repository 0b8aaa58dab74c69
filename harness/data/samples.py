"""From a row to a sample: the task's column mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.corrupt import corrupted
from harness.data.media import MEDIA, encodable
from harness.data.rows import Row
from harness.data.targets import Targets, Texts, text_of
from harness.errors import RowError
from harness.spec.corruption import Corrupt
from harness.types import Input, Sample

SPECIAL = ("id", "target", "group")


@dataclass(frozen=True)
class SampleMaker:
    """Makes samples of rows. `columns` maps the task's names to the dataset's.

    `inputs` are the names that the model is given: "audio" becomes an Audio, "image" an Image, any other a
    string. Every other name that isn't special goes to `Sample.meta`. `targets` reads the target.
    """

    columns: Mapping[str, str]
    inputs: tuple[str, ...]
    media_root: Path | None = None
    targets: Targets = field(default_factory=Texts)
    corrupt: Corrupt | None = None

    def sample(self, row: Row, sample_id: str) -> Sample:
        """The sample of one row. Raises RowError when a value is missing or of the wrong type."""
        if isinstance(own_id := row.get(self.columns.get("id", "")), str):
            encodable(own_id, self._called("id"))
        group = self._value(row, "group") if "group" in self.columns else None
        return Sample(
            id=sample_id,
            inputs={name: self._input(row, name, sample_id) for name in self.inputs},
            target=self.targets.read(self._value(row, "target"), self._called("target")),
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
        return text_of(value, self._called(name))
