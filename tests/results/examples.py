"""Records and sample rows that the tests of results share."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow

from harness.results.record import DataPart, Draft, MetricIdentity, MetricPart, ModelPart, Record
from harness.results.store import Store

STARTED = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
ROWS = pyarrow.schema({"id": pyarrow.string(), "edits": pyarrow.float64()})


def draft(number: int = 0, **changes: Any) -> Draft:
    """A run that ended `number` minutes after nine."""
    fields: dict[str, Any] = {
        "spec_id": "5" * 64,
        "task": "spoken_digits",
        "kind": "asr",
        "family": "whisper",
        "model": ModelPart(checkpoint="./checkpoints/whisper"),
        "data": DataPart(path="synthetic:spoken_digits", split="test", n=200),
        "primary": "wer",
        "metrics": {"wer": score(12.5 + number), "cer": score(4.0)},
        "params": {"voice": "en-gb"},
        "started": STARTED,
        "ended": STARTED + timedelta(minutes=number),
    }
    return Draft(**{**fields, **changes})


def score(value: float, ci95: tuple[float, float] | None = (10.0, 20.0)) -> MetricPart:
    identity = MetricIdentity(name="wer", options={"normalizer": "whisper-english"})
    return MetricPart(
        value=value,
        ci95=ci95,
        n=200,
        clusters=4,
        unit="%",
        higher_is_better=False,
        signature="wer|norm:whisper-english",
        columns=("edits", "words"),
        metric=identity,
    )


def batch(*ids: str) -> Any:
    return pyarrow.RecordBatch.from_pylist([{"id": name, "edits": 1.0} for name in ids], schema=ROWS)


def written(store: Store, *ids: str) -> Path:
    """A closed file of sample rows with these ids."""
    with store.samples_writer(ROWS) as writer:
        writer.write(batch(*ids))
    return writer.path


def added(store: Store, number: int = 0, **changes: Any) -> Record:
    return store.add(draft(number, **changes), written(store, f"sample-{number}"))
