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
        self._rows_waiting = 0

    def write(self, batch: Any) -> None:
        """Append a RecordBatch of the writer's schema. Raises RunError when the disk is full."""
        self._waiting.append(batch)
        self._rows_waiting += batch.num_rows
        while self._rows_waiting >= ROWS_PER_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        import pyarrow

        # Combined, because pages end where chunks do, and the bytes would depend on the caller's batches.
        table = pyarrow.Table.from_batches(self._waiting, self.schema).combine_chunks()
        rest = table.slice(ROWS_PER_GROUP)
        self._waiting, self._rows_waiting = rest.to_batches(), rest.num_rows
        with writing(self.path):
            self._parquet.write_table(table.slice(0, ROWS_PER_GROUP), row_group_size=ROWS_PER_GROUP)

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._rows_waiting:
            self._write_group()
        with writing(self.path):
            self._parquet.close()
