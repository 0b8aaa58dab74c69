"""Sample rows on their way to a parquet file: streamed, and the same bytes for the same rows."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from harness.results.files import writing

ROWS_PER_GROUP = 8192
"""Rows held in memory at once; part of the file's bytes, so changing it changes every digest."""


class SampleWriter:
    """Writes pyarrow RecordBatches of any size as row groups of a fixed size."""

    def __init__(self, path: Path, stream: BinaryIO, schema: Any) -> None:
        import pyarrow.parquet as parquet

        self.path = path
        self.schema = schema
        self._parquet = parquet.ParquetWriter(stream, schema, compression="zstd")
        self._waiting: list[Any] = []

    def write(self, batch: Any) -> None:
        """Append a RecordBatch of the writer's schema. Raises RunError when the disk is full."""
        self._waiting.append(batch)
        while sum(waiting.num_rows for waiting in self._waiting) >= ROWS_PER_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        import pyarrow

        table = pyarrow.Table.from_batches(self._waiting, self.schema).combine_chunks()
        self._waiting = table.slice(ROWS_PER_GROUP).to_batches()
        with writing(self.path):
            self._parquet.write_table(table.slice(0, ROWS_PER_GROUP), row_group_size=ROWS_PER_GROUP)

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._waiting:
                self._write_group()
            with writing(self.path):
                self._parquet.close()
        finally:
            # Or its finaliser would try again, on a stream that is closed by then.
            self._parquet.is_open = False
