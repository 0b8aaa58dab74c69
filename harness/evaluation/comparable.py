"""Whether two runs may be compared: everything that speaks against it, at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ResultError
from harness.results.record import Record

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class RunData:
    """A stored run: its record and its sample rows."""

    record: Record
    samples: pa.Table

    @property
    def label(self) -> str:
        """What ran, in short: checkpoint, adapter, and the first letters of the run's id."""
        model = self.record.model
        adapter = f" + {model.adapter}" if model.adapter else ""
        return f"{model.checkpoint}{adapter} ({self.record.run_id[:8]})"


def require_comparable(a: RunData, b: RunData, metric: str) -> None:
    """Raises ResultError with every reason why the runs' `metric` can't be compared."""
    reasons = [*_task_reasons(a.record, b.record), *_metric_reasons(a.record, b.record, metric)]
    reasons += [*_failure_reasons(a.record), *_failure_reasons(b.record), *_sample_reasons(a, b)]
    if reasons:
        listed = "".join(f"\n  - {reason}" for reason in reasons)
        raise ResultError(
            f"{a.label} and {b.label} can't be compared:{listed}",
            "Compare runs of the same task, settings and data; `harness list runs` shows them.",
        )


def _task_reasons(a: Record, b: Record) -> Iterator[str]:
    if a.spec_id != b.spec_id:
        tasks = " and ".join(f"{run.task} {_settings(run)}" for run in (a, b))
        yield f"what they ask differs: {tasks}"
    if (a.data.split, a.data.limit) != (b.data.split, b.data.limit):
        yield f"they ran on different samples: {_part(a)} and {_part(b)}"
    elif a.data.fingerprint != b.data.fingerprint:
        yield "their data differ in ids, targets or media"


def _metric_reasons(a: Record, b: Record, metric: str) -> Iterator[str]:
    parts = [run.metrics.get(metric) for run in (a, b)]
    for run, part in zip((a, b), parts, strict=True):
        if part is None:
            yield f"{run.run_id[:8]} has no metric '{metric}', only {', '.join(run.metrics)}"
    signatures = [part.signature for part in parts if part is not None]
    if len(set(signatures)) == 2:
        yield f"'{metric}' isn't the same metric: {signatures[0]} and {signatures[1]}"


def _failure_reasons(run: Record) -> Iterator[str]:
    share = run.failures.n / max(run.data.n, 1)
    if run.failures.threshold is not None and share > run.failures.threshold:
        yield (
            f"{run.run_id[:8]} failed on {run.failures.n} of {run.data.n} samples, "
            f"more than the {run.failures.threshold:.1%} that the task tolerates"
        )


def _sample_reasons(a: RunData, b: RunData) -> Iterator[str]:
    import pyarrow.compute as pc

    own, other = (run.samples.column("id") for run in (a, b))
    for ids, others, run in ((own, other, a), (other, own, b)):
        alone = pc.invert(pc.is_in(ids, value_set=others))
        if count := pc.sum(alone).as_py():
            example = pc.filter(ids, alone)[0].as_py()
            yield f"{count} samples are only in {run.record.run_id[:8]}, such as '{example}'"


def _settings(run: Record) -> str:
    params = ", ".join(f"{key}={value}" for key, value in run.params.items())
    return f"({f'{params}; ' if params else ''}spec {run.spec_id[:8]})"


def _part(run: Record) -> str:
    return (
        f"{run.data.split} (all)" if run.data.limit is None else f"{run.data.split} (limit {run.data.limit})"
    )
