"""From a row to a sample: the task's column mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.corrupt import corrupted
from harness.data.media import MEDIA, encodable, is_several
from harness.data.messages import last_answer, messages_of
from harness.data.option_lists import options_of
from harness.data.rows import Row
from harness.data.targets import Targets, Texts, text_of
from harness.errors import RowError
from harness.spec.corruption import Corrupt
from harness.spec.kinds import MESSAGES
from harness.types import Audio, Image, Input, Sample, media_in

SPECIAL = ("id", "target", "group")


@dataclass(frozen=True)
class SampleMaker:
    """Makes samples of rows. `columns` maps the task's names to the dataset's.

    `inputs` are the names that the model is given: "audio" becomes an Audio, "image" an Image or several,
    "options" several texts, "messages" a conversation, any other a string. Every other name that isn't
    special goes to `Sample.meta`. `targets` reads the target.
    """

    columns: Mapping[str, str | tuple[str, ...]]
    inputs: tuple[str, ...]
    media_root: Path | None = None
    targets: Targets = field(default_factory=Texts)
    corrupt: Corrupt | None = None

    def sample(self, row: Row, sample_id: str) -> Sample:
        """The sample of one row. Raises RowError when a value is missing or of the wrong type."""
        if isinstance(own_id := row.get(str(self.columns.get("id", ""))), str):
            encodable(own_id, self._called("id"))
        group = self._value(row, "group") if "group" in self.columns else None
        if MESSAGES in self.inputs:
            inputs = self._conversation(row, sample_id)
            target: Any = last_answer(inputs[MESSAGES])
        else:
            inputs = {name: self._input(row, name, sample_id) for name in self.inputs}
            target = self.targets.of(self._value(row, "target"), self._called("target"), inputs)
        return Sample(
            id=sample_id,
            inputs=inputs,
            target=target,
            group=sample_id if group in (None, "") else encodable(str(group), self._called("group")),
            meta={name: self._meta_value(row, name) for name in self._meta()},
        )

    def _called(self, name: str) -> str:
        column = self.columns[name]
        columns = f"column '{column}'" if isinstance(column, str) else f"columns {', '.join(column)}"
        return f"{columns} ({name})"

    def _meta_value(self, row: Row, name: str) -> Any:
        value = self._value(row, name)
        return encodable(value, self._called(name)) if isinstance(value, str) else value

    def _meta(self) -> list[str]:
        return [name for name in self.columns if name not in SPECIAL and name not in self.inputs]

    def _value(self, row: Row, name: str) -> Any:
        column = self.columns[name]
        if not isinstance(column, str):
            found = [self._cell(row, one, name) for one in column]
            return [value for value in found if value is not None]
        return self._cell(row, column, name)

    def _cell(self, row: Row, column: str, name: str) -> Any:
        if column not in row:
            raise RowError(f"the row has no '{column}' ({name})")
        return row[column]

    def _input(self, row: Row, name: str, sample_id: str) -> Input:
        value = self._value(row, name)
        if name == "options":
            return options_of(value, self._called(name))
        if name not in MEDIA or value is None:
            return text_of(value, self._called(name))
        if not is_several(value):
            return self._medium(value, name, sample_id)
        if not value:
            raise RowError(f"{self._called(name)} is empty: there is no {name}")
        media = tuple(self._medium(one, name, sample_id) for one in value)
        if len(media) == 1:
            return media[0]
        images = tuple(medium for medium in media if isinstance(medium, Image))
        if len(images) < len(media):
            raise RowError(f"{self._called(name)} holds {len(media)} clips: a sample has one")
        return images

    def _medium(self, value: Any, name: str, sample_id: str) -> Audio | Image:
        media = MEDIA[name](value, self.media_root, sample_id)
        return media if self.corrupt is None else corrupted(media, self.corrupt)

    def _conversation(self, row: Row, sample_id: str) -> dict[str, Input]:
        """The conversation alone, with the row's media where it has places for them. A row without any is a
        conversation in words, as mixtures have them."""

        def made(name: str, value: Any) -> Audio | Image:
            return self._medium(value, name, sample_id)

        names = [name for name in self.inputs if name != MESSAGES and not _none(self._value(row, name))]
        waiting = [medium for name in names for medium in media_in(self._input(row, name, sample_id))]
        return {MESSAGES: messages_of(self._value(row, MESSAGES), waiting, made, self._called(MESSAGES))}


def _none(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple) and not value)
