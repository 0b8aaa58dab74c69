"""Finished predictions on disk: the run's journal and the cache of later runs are the same files.

A folder per context (weights, settings, precision); in it, one append-only segment per process. A line is
`key crc json`. A process that is killed leaves at most one torn line, which its checksum gives away.
Nobody ever appends to another process's segment, so any number of processes and runs can share a context.
"""

from __future__ import annotations

import json
import os
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import RunError

SECONDS_BETWEEN_SYNCS = 1.0
KEY_HEX_DIGITS = 64


class Journal:
    """Predictions by key. Keys are SHA-256 hex digests; rows are JSON objects."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self._run = run
        self._segments: list[Path] = []
        self._scanned: list[int] = []
        self._index: dict[bytes, tuple[int, int]] = {}
        self._failed: dict[bytes, tuple[int, int]] = {}
        self._readers: dict[int, BinaryIO] = {}
        self._writer: BinaryIO | None = None
        self._synced = 0.0

    def scan(self) -> None:
        """Read what every process has written since the last scan. Failures count only when they are of this
        run."""
        self._close_readers()
        found = sorted(path for path in self._folder.glob("*.jsonl") if path.is_file())
        if not set(self._segments) <= set(found):  # somebody deletes the cache
            self._forget()
        self._segments += [path for path in found if path not in self._segments]
        self._scanned += [0] * (len(self._segments) - len(self._scanned))
        for number, segment in enumerate(self._segments):
            with segment.open("rb") as lines:
                lines.seek(self._scanned[number])
                self._scan_segment(number, lines)

    def _forget(self) -> None:
        for known in (self._segments, self._scanned, self._index, self._failed):
            known.clear()

    def _scan_segment(self, number: int, lines: Iterable[bytes]) -> None:
        offset = self._scanned[number]
        mine = f'"run":"{self._run}"'.encode()
        for line in lines:
            body = _body(line)
            if body is not None:
                key = bytes.fromhex(line[:KEY_HEX_DIGITS].decode())
                if b'"error":null' in body:
                    self._index[key] = (number, offset)
                elif mine in body:
                    self._failed[key] = (number, offset)
            offset += len(line)
            if line.endswith(b"\n"):  # else it is being written, or torn
                self._scanned[number] = offset

    def __contains__(self, key: str) -> bool:
        """Whether there is a finished prediction."""
        return bytes.fromhex(key) in self._index

    def read(self, key: str) -> dict[str, Any]:
        """The row of a key, a failure of this run included. Raises KeyError."""
        raw = bytes.fromhex(key)
        number, offset = self._index.get(raw) or self._failed[raw]
        if number not in self._readers:
            self._readers[number] = self._segments[number].open("rb")
        reader = self._readers[number]
        reader.seek(offset)
        body = _body(reader.readline())
        if body is None:
            raise RunError(f"the prediction cache is damaged: {self._segments[number]}", "Delete that file.")
        row: dict[str, Any] = json.loads(body)
        row["fresh"] = row.pop("run") == self._run
        return row

    def append(self, rows: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Write a finished batch. It survives this process's death at once, the machine's within a second."""
        lines = b"".join(self._line(key, row) for key, row in rows)
        with self._writing():
            if self._writer is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                name = f"{time.time_ns()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
                self._writer = (self._folder / name).open("xb")
            self._writer.write(lines)
            self._writer.flush()
            if time.monotonic() - self._synced > SECONDS_BETWEEN_SYNCS:
                os.fsync(self._writer.fileno())
                self._synced = time.monotonic()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"predictions can't be kept in {self._folder}: {error.strerror or error}"
            hint = "Make room there, or name another folder with HARNESS_CACHE; what was kept stays."
            raise RunError(message, hint) from error

    def _line(self, key: str, row: dict[str, Any]) -> bytes:
        row = {"run": self._run, "error": None, **row}
        body = json.dumps(row, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        return b"%s %08x %s\n" % (key.encode(), zlib.crc32(key.encode() + body), body)

    def close(self) -> None:
        """Sync and close every file."""
        self._close_readers()
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with self._writing():
                os.fsync(writer.fileno())
                writer.close()

    def _close_readers(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()


def _body(line: bytes) -> bytes | None:
    """The JSON of a line that is whole, else None."""
    start = KEY_HEX_DIGITS + 10
    if not line.endswith(b"\n") or len(line) <= start:
        return None
    body = line[start:-1]
    checksum = line[KEY_HEX_DIGITS + 1 : start - 1]
    return body if checksum == b"%08x" % zlib.crc32(line[:KEY_HEX_DIGITS] + body) else None


def cache_folder() -> Path:
    """$HARNESS_CACHE, or mm-harness in the user's cache folder."""
    if own := os.environ.get("HARNESS_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mm-harness"
