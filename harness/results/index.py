"""The index: one row per record, for lists and boards. It is derived, so it can be deleted at any time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.results.record import Record


def build(records: Iterable[Record]) -> Any:
    """A pyarrow.Table with one row per record, in their order."""
    import pyarrow

    return pyarrow.Table.from_pylist([_row(record) for record in records], schema=_schema())


def load(path: Path) -> Any | None:
    """The stored index, or None when there is none that can be read: it can always be rebuilt."""
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException):
        return None
    return table if table.schema.equals(_schema()) else None


def covers(table: Any, run_ids: list[str]) -> bool:
    """Whether the index speaks of exactly these runs. Records never change, so then it is fresh."""
    return sorted(table["run_id"].to_pylist()) == run_ids


def to_bytes(table: Any) -> bytes:
    """The index as the bytes of its parquet file."""
    import pyarrow
    import pyarrow.parquet as parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _schema() -> Any:
    import pyarrow

    text, number, instant = pyarrow.string(), pyarrow.float64(), pyarrow.timestamp("us", tz="UTC")
    return pyarrow.schema(
        {
            "run_id": text,
            "task": text,
            "params": text,
            "spec_id": text,
            "kind": text,
            "family": text,
            "checkpoint": text,
            "adapter": text,
            "parent": text,
            "metric": text,
            "value": number,
            "low": number,
            "high": number,
            "unit": text,
            "n": pyarrow.int64(),
            "limit": pyarrow.int64(),
            "failures": pyarrow.int64(),
            "started": instant,
            "ended": instant,
        }
    )


def _row(record: Record) -> dict[str, Any]:
    score = record.metrics[record.primary]
    low, high = score.ci95 or (None, None)
    return {
        "run_id": record.run_id,
        "task": record.task,
        "params": json.dumps(record.params, sort_keys=True, ensure_ascii=False),
        "spec_id": record.spec_id,
        "kind": record.kind,
        "family": record.family,
        "checkpoint": record.model.checkpoint,
        "adapter": record.model.adapter,
        "parent": record.parent,
        "metric": record.primary,
        "value": score.value,
        "low": low,
        "high": high,
        "unit": score.unit,
        "n": record.data.n,
        "limit": record.data.limit,
        "failures": record.failures.n,
        "started": record.started,
        "ended": record.ended,
    }
