"""The results folder: immutable records and sample rows that many processes may add to at once.

    runs/ab/<run_id>.json         a finished run
    samples/ab/<run_id>.parquet   its sample rows, zstd
    index.parquet                 derived from the records, never the truth

A file is written under a temporary name, synced and renamed, samples first and the record last, so a
record exists only when everything it speaks of does. Nothing is ever changed in place, which is why two
results folders merge with `cp -r` and why no locks are needed.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, ResultError
from harness.registry import near
from harness.results import index as indexes
from harness.results.files import TEMPORARY, new_file, publish, temporary_beside, write_whole, writing
from harness.results.record import Draft, Record, from_json, seal, to_json
from harness.results.rows import SampleWriter

LATEST = re.compile(r"latest(?:~(\d+))?")
PREFIX_LENGTH = 4
SHORT_LENGTH = 12
ORPHAN_SECONDS = 24 * 60 * 60


class Store:
    """A results folder. It is made when the first run is added."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @contextmanager
    def samples_writer(self, schema: Any) -> Iterator[SampleWriter]:
        """A writer of sample rows with this pyarrow schema; `add` takes its `path` once it is closed.

        The file is removed when the block raises. Raises RunError when the disk is full, ResultError when
        the folder can't be written to.
        """
        path = temporary_beside(self.root / "samples" / "new.parquet")
        with new_file(path) as stream, SampleWriter(path, stream, schema) as writer:
            yield writer

    def add(self, draft: Draft, samples: Path | None = None) -> Record:
        """Store a finished run with the file of its sample rows. Adding the same run again changes nothing.

        `samples` comes from `samples_writer` and is moved into place. Raises RunError when the disk is
        full, ResultError when the folder can't be written to.
        """
        if samples is not None:
            draft = draft.model_copy(update={"samples_sha256": _file_digest(samples)})
        record = seal(draft)
        if samples is not None:
            publish(samples, self.samples_path(record.run_id))
        write_whole(self.record_path(record.run_id), to_json(record).encode())
        return record

    def get(self, prefix: str) -> Record:
        """The record whose id starts with `prefix` (4 characters or more), "latest", or "latest~1" before it.

        Raises ResultError when there is none, when there are several, or when the record is damaged.
        """
        if found := LATEST.fullmatch(prefix):
            return self._read(self._latest(int(found[1] or 0)))
        return self._read(self._resolve(prefix))

    def runs(self, task: str | None = None) -> list[Record]:
        """All records (of one task), oldest first. Raises ResultError naming a damaged one."""
        records = [self._read(run_id) for run_id in self.run_ids()]
        chosen = [record for record in records if task in (None, record.task)]
        return sorted(chosen, key=lambda record: (record.ended, record.run_id))

    def run_ids(self) -> list[str]:
        """Ids of all records, sorted; nothing is read."""
        return sorted(
            path.stem for path in self.root.glob("runs/[0-9a-f][0-9a-f]/*.json") if _is_id(path.stem)
        )

    def samples(self, run_id: str) -> Any:
        """The sample rows of a run as a pyarrow.Table. Raises ResultError if they are missing or damaged."""
        import pyarrow.parquet as parquet

        record = self.get(run_id)
        path = self.samples_path(record.run_id)
        if not path.is_file():
            hint = "Copy the samples/ folder along with runs/ when you move results."
            raise ResultError(
                f"{path}: the sample rows of run {record.run_id[:SHORT_LENGTH]} are missing", hint
            )
        if _file_digest(path) != record.samples_sha256:
            hint = "Restore the file from a copy, or run the task again: predictions come from the cache."
            raise ResultError(
                f"{path}: the sample rows are damaged: they differ from what was recorded", hint
            )
        return parquet.read_table(path)

    def index(self) -> Any:
        """One row per record as a pyarrow.Table, oldest first; rebuilt when it doesn't match the records."""
        table = indexes.load(self._index_path)
        if table is not None and indexes.covers(table, self.run_ids()):
            return table
        return self.rebuild_index()

    def rebuild_index(self) -> Any:
        """Make the index anew from the records. Raises ResultError naming a damaged one."""
        table = indexes.build(self.runs())
        if table.num_rows:
            # Where it can't be kept (somebody else's results, a full disk), it is made on each call.
            with suppress(HarnessError):
                write_whole(self._index_path, indexes.to_bytes(table), replace=True)
        return table

    def sweep(self, older_than_seconds: float = ORPHAN_SECONDS) -> list[Path]:
        """Delete what dead writers left: temporary files, and sample rows whose record never came.

        Safe beside living writers, whose files are younger. Raises ResultError when the folder isn't ours.
        """
        limit = time.time() - older_than_seconds
        swept = [path for path in self._abandoned() if _changed_before(limit, path)]
        for path in swept:
            with writing(path):
                path.unlink(missing_ok=True)
        return swept

    def record_path(self, run_id: str) -> Path:
        """Where the record of this run is."""
        return self.root / "runs" / run_id[:2] / f"{run_id}.json"

    def samples_path(self, run_id: str) -> Path:
        """Where the sample rows of this run are."""
        return self.root / "samples" / run_id[:2] / f"{run_id}.parquet"

    @property
    def _index_path(self) -> Path:
        return self.root / "index.parquet"

    def _abandoned(self) -> Iterator[Path]:
        """Only names that the store itself gives: the folder may hold other things of the user's."""
        for pattern in (".index.parquet.*", "samples/.new.parquet.*", "runs/??/.*.json.*"):
            yield from self.root.glob(pattern + TEMPORARY)
        known = set(self.run_ids())
        for path in self.root.glob("samples/??/*.parquet"):
            if _is_id(path.stem) and path.stem not in known:
                yield path

    def _read(self, run_id: str) -> Record:
        path = self.record_path(run_id)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ResultError(
                f"{path}: the record can't be read: {error}", "Restore it from a copy."
            ) from error
        record = from_json(text, path)
        if record.run_id != run_id:
            raise ResultError(
                f"{path}: the file is named after another run", f"Rename it to {record.run_id}.json."
            )
        return record

    def _latest(self, back: int) -> str:
        runs = self.index().column("run_id").to_pylist()
        if not runs:
            raise ResultError(
                f"{self.root}: there are no runs", "Start one: harness run quickstart/spoken_digits"
            )
        if back >= len(runs):
            raise ResultError(f"{self.root}: there are only {len(runs)} runs", "List them: harness list runs")
        return str(runs[-1 - back])

    def _resolve(self, prefix: str) -> str:
        if len(prefix) < PREFIX_LENGTH:
            raise ResultError(
                f"'{prefix}' is too short for a run", f"Give {PREFIX_LENGTH} characters or more of its id."
            )
        known = self.run_ids()
        found = [run_id for run_id in known if run_id.startswith(prefix)]
        if not found:
            hint = near(prefix, [run_id[: len(prefix)] for run_id in known]) or "List them: harness list runs"
            raise ResultError(f"{self.root}: there is no run '{prefix}'", hint)
        if len(found) > 1:
            listed = ", ".join(run_id[:SHORT_LENGTH] for run_id in found)
            raise ResultError(f"'{prefix}' fits several runs: {listed}", "Give more characters of the id.")
        return found[0]


def _changed_before(limit: float, path: Path) -> bool:
    try:
        return path.stat().st_mtime < limit
    except FileNotFoundError:  # its writer has just given it its final name
        return False


def _is_id(name: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", name) is not None


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
