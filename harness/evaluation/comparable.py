"""Whether two runs may be compared: everything that speaks against it, at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from harness.errors import ResultError
from harness.results.record import Record
from harness.spec.resolve import dotted
from harness.spec.schema import Task
from harness.spec.section import UNSCORED, Section

if TYPE_CHECKING:
    import pyarrow as pa


NULL, NOT_GIVEN = "null", "not given"


@dataclass(frozen=True)
class RunData:
    """A stored run: its record and its sample rows."""

    record: Record
    samples: pa.Table


def labels(a: Record, b: Record) -> tuple[str, str]:
    """What ran, in short: checkpoint, adapter, what tells them apart, and the first letters of the run's id.

    Precision and quantisation are named where they differ; revision and digest of the weights only where
    the checkpoint and adapter are the same, because otherwise they differ anyway.
    """
    fields = ["dtype", "quantize"]
    if (a.model.checkpoint, a.model.adapter) == (b.model.checkpoint, b.model.adapter):
        fields = ["revision", "digest", *fields]
    telling = [field for field in fields if getattr(a.model, field) != getattr(b.model, field)]
    return _label(a, telling), _label(b, telling)


def require_comparable(a: RunData, b: RunData, metric: str, across: Sequence[str] = ()) -> None:
    """Raises ResultError with every reason why the runs' `metric` can't be compared.

    `across` are keys of the task that may differ, with all that stands below them.
    """
    if a.record.run_id == b.record.run_id:
        raise ResultError(
            f"these are the same run ({a.record.run_id[:8]}): there is nothing to compare",
            "Name two runs; `harness list runs` shows them.",
        )
    reasons = [*_task_reasons(a.record, b.record, across), *_metric_reasons(a.record, b.record, metric)]
    reasons += [*_failure_reasons(a.record), *_failure_reasons(b.record), *_sample_reasons(a, b)]
    if reasons:
        listed = "".join(f"\n  - {reason}" for reason in dict.fromkeys(reasons))
        raise ResultError(
            f"{' and '.join(labels(a.record, b.record))} can't be compared:{listed}",
            "Compare runs of the same task, settings and data; `harness list runs` shows them. Where the "
            "difference is what you are after, name its key: --across classes.templates",
        )


def _task_reasons(a: Record, b: Record, across: Sequence[str]) -> Iterator[str]:
    if a.spec_id != b.spec_id and not _only(asked_differently(a, b), across):
        yield f"what they ask differs:{_asked(a, b)}"
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


def _label(run: Record, telling: Sequence[str]) -> str:
    model = run.model
    parts = [f"{model.checkpoint} + {model.adapter}" if model.adapter else model.checkpoint]
    for field in telling:
        value = getattr(model, field) or "none"
        parts.append(f"{field} {value[:8] if field in ('revision', 'digest') else value}")
    return f"{', '.join(parts)} ({run.run_id[:8]})"


def asked_differently(a: Record, b: Record) -> dict[str, tuple[str, str]]:
    """The scored keys that differ, with both values."""
    if a.spec_id == b.spec_id:
        return {}
    own, other = (dict(_scored(run.spec, Task)) for run in (a, b))
    pairs = {key: (own.get(key, NOT_GIVEN), other.get(key, NOT_GIVEN)) for key in own | other}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1] and {*pair} != {NULL, NOT_GIVEN}}


def _only(keys: Collection[str], across: Sequence[str]) -> bool:
    """Whether there are keys, and each is one of these or below one."""
    below = tuple(f"{name}{sign}" for name in across for sign in ".[")
    return bool(keys) and all(key in across or key.startswith(below) for key in keys)


def _asked(a: Record, b: Record) -> str:
    """The scored keys that differ, a line each with both values; the tasks' digests where none is known."""
    own, other = a.spec, b.spec
    lines = [f"\n      {key}: {' and '.join(pair)}" for key, pair in asked_differently(a, b).items()]
    if own and other and lines:
        return "".join(lines)
    tasks = " and ".join(f"{run.task} {_settings(run)}" for run in (a, b))
    unseen = ": a hook's source, a split's name or a default of the harness" if own and other else ""
    return f" {tasks}{unseen}"


def _scored(
    values: Any, section: type[Section] | None, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Dotted path and value, as text, of every leaf of a stored task that changes the score."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        field = section.model_fields.get(str(key)) if section else None
        if field is not None and field.json_schema_extra == UNSCORED:
            continue
        if isinstance(value, dict | list) and value:
            yield from _scored(value, _section(field.annotation) if field else None, (*path, key))
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield dotted((*path, key)), text


def _section(annotation: Any) -> type[Section] | None:
    """The section that a field holds, if it holds one."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def _settings(run: Record) -> str:
    params = ", ".join(f"{key}={value}" for key, value in run.params.items())
    return f"({f'{params}; ' if params else ''}spec {run.spec_id[:8]})"


def _part(run: Record) -> str:
    return (
        f"{run.data.split} (all)" if run.data.limit is None else f"{run.data.split} (limit {run.data.limit})"
    )
