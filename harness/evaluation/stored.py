"""Predictions that somebody else made: JSON lines of id, prediction, and targets where they have them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data import Dataset
from harness.data.fingerprint import content_digest, extended
from harness.data.targets import Targets
from harness.errors import RowError, SampleError, UsageError
from harness.evaluation.letters import lettered, options_of
from harness.evaluation.stored_answers import answer_from, refusal, targets_of
from harness.spec.kinds import KINDS
from harness.spec.prompting import LETTERS
from harness.spec.schema import Task
from harness.types import Failure, Prediction, Sample

SHOWN = 10
ALLOWED = ("id", "prediction", "target", "group", "language", "error")


@dataclass
class Stored:
    """A file of predictions for a task. `dataset` is where targets come from, None when the file has them.

    `class_names` are those that answers may name, None for an open list.
    """

    rows: dict[str, dict[str, Any]]
    dataset: Dataset | None
    digest: str
    task: Task
    class_names: tuple[str, ...] | None = None
    fingerprint: str = ""

    def outcomes(self) -> Iterator[tuple[Sample | None, str, Prediction]]:
        """Sample, id and prediction: in the dataset's order when there is one, else in the file's."""
        samples = self._own_samples() if self.dataset is None else self._dataset_samples(self.dataset)
        for sample, id_ in samples:
            content = content_digest(sample) if sample is not None else id_
            self.fingerprint = extended(self.fingerprint, content)
            yield sample, id_, self._prediction(id_, sample)

    def _own_samples(self) -> Iterator[tuple[Sample | None, str]]:
        for id_, row in self.rows.items():
            meta = {"language": row["language"]} if "language" in row else {}
            yield Sample(id_, {}, row["target"], str(row.get("group", id_)), meta), id_

    def _dataset_samples(self, dataset: Dataset) -> Iterator[tuple[Sample | None, str]]:
        seen = 0
        for window in dataset.windows():
            for number, id_ in enumerate(window.ids):
                seen += id_ in self.rows
                try:
                    yield window[number], id_
                except SampleError:
                    yield None, id_
        if unknown := len(self.rows) - seen:
            message = f"{unknown} of the file's {len(self.rows)} ids are not in the task's data"
            raise UsageError(message, "Ids come from the column mapped to `id`, else they are row numbers.")

    def _prediction(self, id_: str, sample: Sample | None) -> Prediction:
        row = self.rows.get(id_)
        if row is None:
            return Prediction(id_, None, error=Failure("MissingPrediction", "the file has no such id"))
        if row.get("error") or row["prediction"] is None:
            return Prediction(id_, None, error=Failure("StoredError", str(row.get("error") or "null")))
        found = Prediction(id_, row["prediction"], fresh=False)
        if sample is None:
            return found
        if self.task.head == "letters" and isinstance(found.output, str):
            return lettered(sample, found)
        refused = refusal(row["prediction"], self.task.form, sample.target, self._names(sample))
        return Prediction(id_, None, error=refused) if refused else found

    def _names(self, sample: Sample) -> Sequence[str] | None:
        """What an answer may name: the letters of the sample's own options, where it has any."""
        options = options_of(sample)
        return LETTERS[: len(options)] if options else self.class_names


def read_stored(file: Path, task: Task, dataset: Callable[[], Dataset]) -> Stored:
    """The predictions for a task in a JSON lines file; `dataset` is opened only when rows lack a target.

    Raises UsageError naming every line that is wrong.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: can't be read: {error.strerror}") from error
    rows: dict[str, dict[str, Any]] = {}
    faults: list[str] = []
    targets = targets_of(task)
    for number, line in enumerate(content.decode("utf-8-sig", errors="replace").split("\n"), start=1):
        if line.strip():
            fault = _add(rows, line, targets, task)
            faults += [f"{file}:{number}  {fault}"] if fault else []
    without = [id_ for id_, row in rows.items() if "target" not in row]
    if rows and 0 < len(without) < len(rows):
        faults.append(f"{file}: {len(without)} rows have no target while others do, such as '{without[0]}'")
    if not rows and not faults:
        faults.append(f"{file}: has no rows")
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        hint = 'A row is {"id": "...", "prediction": "..."}, with "target" unless the task\'s data has it.'
        raise UsageError("\n".join(faults[:SHOWN] + more), hint)
    found = dataset() if without else None
    names = found.class_names if found else targets.class_names
    return Stored(rows, found, hashlib.sha256(content).hexdigest(), task, names)


def _add(rows: dict[str, dict[str, Any]], line: str, targets: Targets, task: Task) -> str | None:
    """Add a line's row; what is wrong with it, if anything is."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return f"not valid JSON: {error.msg}"
    except RecursionError:
        return "nested too deep"
    if not isinstance(row, dict):
        return "not a JSON object"
    missing = [key for key in ("id", "prediction") if key not in row]
    if "id" in missing or (missing and "error" not in row):
        return f"lacks {' and '.join(missing)}"
    if (id_ := str(row["id"])) in rows:
        return f"id '{id_}' occurs twice"
    try:
        answer = answer_from(row.get("prediction"), task.form, empty=KINDS[task.kind].options)
        target = {"target": targets.read(row["target"], "target")} if "target" in row else {}
    except RowError as error:
        return str(error)
    rows[id_] = {**row, "prediction": answer, **target}
    return None
