"""What `harness list` and `harness show` tell, as tables of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from harness.errors import UsageError
from harness.results.record import Record
from harness.results.store import SHORT_LENGTH, Store
from harness.spec.find import find, shipped_tasks
from harness.spec.load import load
from harness.spec.resolve import worded

SHOWN = ("method", "steps", "epochs")
"""Keys of the train section that the list of runs shows in its own words."""

TASKS = ("name", "kind", "parameters", "description")
RUNS = ("run", "task", "kind", "model", "settings", "fine-tune", "score", "samples", "ended (UTC)")
"""The columns of two lists."""

Table: TypeAlias = tuple[str, Sequence[str], Sequence[Sequence[str]]]
Details: TypeAlias = tuple[str, Sequence[str], Sequence[Sequence[str]], Any]


def listing(what: str, results: Path) -> Table:
    """Title, headings and rows of `harness list WHAT`."""
    return (
        {"tasks": _tasks, "models": _models, "metrics": _metrics}[what]()
        if what != "runs"
        else _runs(results)
    )


def condensed(table: Table) -> Table:
    """The tables of runs and of tasks for 80 columns, what is long below each other; others as they are."""
    title, headings, rows = table
    if headings == TASKS:
        told = [(name, f"{what}\n{kind} {params}".rstrip()) for name, kind, params, what in rows]
        return title, (TASKS[0], "description, kind, parameters"), told
    if headings != RUNS:
        return table
    merged = [
        (run, "\n".join(filter(None, (f"{task}, {kind}", *names, f"{n} samples, {ended} UTC"))), score)
        for run, task, kind, *names, score, n, ended in rows
    ]
    return title, (RUNS[0], "task, model, settings", "score"), merged


def _tasks() -> Table:
    rows = []
    for name, file in shipped_tasks():
        task = load(file)[0].task
        params = " ".join(f"{key}={value}" for key, value in task.params.items())
        rows.append((name, task.kind, params, task.description))
    return "Shipped tasks", TASKS, rows


def _models() -> Table:
    from harness.models import FAMILY_OF_TYPE, info
    from harness.registry import FAMILIES

    rows = []
    for family in sorted(set(FAMILIES) - {"dummy"}):
        types = ", ".join(sorted(kind for kind, owner in FAMILY_OF_TYPE.items() if owner == family))
        types = types or "none: model.family names it"
        found = info(family)
        rows.append((family, types, ", ".join(sorted(found.modes)), ", ".join(sorted(found.modalities))))
    return "Model families", ("family", "config.model_type", "modes", "modalities"), rows


def _metrics() -> Table:
    from harness.registry import METRICS

    rows = []
    for name in sorted(METRICS):
        kind = METRICS.get(name)
        directions: dict[Any, str] = {True: "higher is better", False: "lower is better"}
        direction = directions.get(getattr(kind, "higher_is_better", None), "as the metric says")
        options = ", ".join(getattr(kind, "__pydantic_fields__", {}))
        rows.append((name, getattr(kind, "unit", "") or "", direction, options))
    return "Metrics", ("name", "unit", "direction", "options"), rows


def _runs(results: Path) -> Table:
    records = Store(results).runs()
    told = _told_apart(records)
    rows = [
        (
            record.run_id[:SHORT_LENGTH],
            record.task,
            record.kind,
            record.model.checkpoint,
            _settings(record),
            _fine_tune(record, told.get(record.task, ())),
            _scores(record),
            f"{record.metrics[record.primary].n}{' (limit)' if record.data.limit else ''}",
            record.ended.strftime("%Y-%m-%d %H:%M"),
        )
        for record in records
    ]
    return f"Runs in {results}", RUNS, rows


def _settings(record: Record) -> str:
    """What tells this run from others of its task: parameters, a probe's shots, adapter, precision."""
    shots = (record.spec.get("probe") or {}).get("shots")
    given = dict(record.params) | ({} if shots is None else {"shots": shots})
    params = [f"{name}={worded(value)}" for name, value in given.items()]
    return " ".join([*params, *filter(None, (record.model.adapter, record.model.dtype))])


def _told_apart(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    """Of each task, the keys of the train section in which its fine-tunes were made differently."""
    from harness.evaluation.trained import differing, settings

    tasks: dict[str, list[Record]] = {}
    for record in records:
        if settings(record):
            tasks.setdefault(record.task, []).append(record)
    return {task: tuple(key for key in differing(own) if key not in SHOWN) for task, own in tasks.items()}


def _fine_tune(record: Record, told: Sequence[str]) -> str:
    """How the model was fine-tuned, and the run of its base; empty for a base."""
    from harness.evaluation.trained import settings

    if record.train is None and record.model.adapter is None:
        return ""
    of = f" of {record.parent[:SHORT_LENGTH]}" if record.parent else ""
    how = f", {record.train.method}, {_steps(record.train.steps)}" if record.train else ""
    own = settings(record)
    values = "".join(f", {key} {own[key]}" for key in told if key in own)
    return f"fine-tune{of}{how}{values}"


def _steps(steps: int | None) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"


def _scores(record: Record) -> str:
    part = record.metrics[record.primary]
    if part.value is None:
        return f"{record.primary} undefined"
    bounds = f" [{part.ci95[0]:.2f}, {part.ci95[1]:.2f}]" if part.ci95 else ""
    return f"{record.primary} {part.value:.2f}{part.unit}{bounds}"


def details(what: str | None, schema: bool, settings: Sequence[str], results: Path) -> Details | Record:
    """What `harness show` tells: a table and its JSON for the schema or a task, or a run's record."""
    if schema:
        return _schema()
    if what is None:
        raise UsageError("show what?", "harness show TASK, harness show RUN, or harness show --schema")
    try:
        return _task(what, settings)
    except UsageError:
        store = Store(results)
        if not any(run_id.startswith(what) for run_id in store.run_ids()) and not what.startswith("latest"):
            raise
        return store.get(what)


def _schema() -> Details:
    from harness.spec.schema import Task
    from harness.spec.show import schema

    rows = []
    for key, kind, default, meaning in schema():
        shown = "" if not default else f", {default}" if default == "required" else f", default {default}"
        rows.append((key, f"{' '.join(meaning.split())} ({kind}{shown})"))
    return "Keys of a task file", ("key", "meaning (type, default)"), rows, Task.model_json_schema()


def _task(what: str, settings: Sequence[str]) -> Details:
    from harness.spec.resolve import parse_setting
    from harness.spec.show import values

    cells = load(find(what), [parse_setting(text) for text in settings])
    rows = [(key, f"{value} ({origin})") for cell in cells[:1] for key, value, origin in values(cell)]
    rows.append(("spec_id", f"{cells[0].spec_id} (what is scored, hashed)"))
    title = f"Task {cells[0].task.name}" + (f", the first of {len(cells)} cells" if len(cells) > 1 else "")
    payload = [
        {"spec_id": cell.spec_id, "cell": dict(cell.cell), **cell.task.model_dump(mode="json")}
        for cell in cells
    ]
    return title, ("key", "value (where it comes from)"), rows, {"cells": payload}
