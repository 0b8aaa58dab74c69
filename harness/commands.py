"""What each command does: call the pipeline, print. Imports are lazy: `harness --help` answers at once."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, SpecError
from harness.remote import OFFLINE_VARIABLE


def _cells(parsed: argparse.Namespace, *, train: bool = False) -> list[Any]:
    from harness.spec.find import find
    from harness.spec.load import load
    from harness.spec.resolve import parse_setting

    settings = [parse_setting(text) for text in parsed.set]
    if getattr(parsed, "model", None):
        settings.append(("model.checkpoint", _from_here(parsed.model)))
    return load(find(parsed.task), settings, training=train)


def _from_here(name: str) -> str:
    """A path as it was typed, from where the user stands: in a task file ./ is relative to that file."""
    if not name.startswith("."):
        return name
    plain = os.path.normpath(name)
    found = not plain.startswith(".") and os.path.isdir(plain)  # noqa: PTH112 - a name may be any text
    return plain if found else os.path.abspath(name)  # noqa: PTH100


def _options(parsed: argparse.Namespace, *, train: bool = False) -> Any:
    from harness.pipeline import Options

    return Options(
        results=getattr(parsed, "results", Path("results")),
        limit=getattr(parsed, "limit", None),
        train=train,
        adapter=getattr(parsed, "adapter", None),
        device=getattr(parsed, "device", "auto"),
        offline=os.environ.get(OFFLINE_VARIABLE, "").lower() in ("1", "on", "true", "yes"),
        reuse=not getattr(parsed, "no_cache", False),
    )


def run(parsed: argparse.Namespace) -> int:
    """Score the task's model; fine-tune it, score that and compare, when the task says how."""
    found = _evaluate(parsed, train=_trains(parsed))
    if isinstance(found, int):
        return found
    pairs = [result.pair for result in found if result.pair is not None]
    comparisons = [pair.deciding.to_json() if pair.deciding else None for pair in pairs]
    payload = {
        "comparison": comparisons[0] if len(comparisons) == 1 else None,
        "comparisons": comparisons,
        "kept": [check.to_json() for result in found for check in result.kept],
    }
    return _report(parsed, found, payload)


def evaluate(parsed: argparse.Namespace) -> int:
    """Score the task's model."""
    found = _evaluate(parsed, train=False)
    return found if isinstance(found, int) else _report(parsed, found, {"comparison": None})


def _trains(parsed: argparse.Namespace) -> bool:
    return not (parsed.no_train or parsed.adapter)


def _evaluate(parsed: argparse.Namespace, *, train: bool) -> list[Any] | int:
    """The results of all cells; an exit code where nothing is left to print."""
    from harness import pipeline
    from harness.processes import join_the_others, processes

    cells, options = _cells(parsed, train=train), _options(parsed, train=train)
    if parsed.dry_run:
        return _dry_run(parsed, cells, options)
    join_the_others(parsed.arguments)
    found = processes()
    results = list(pipeline.run(cells, options, found))
    found.leave()
    return results if found.main else 0


def _dry_run(parsed: argparse.Namespace, cells: Sequence[Any], options: Any) -> int:
    from harness import pipeline, plan_report, report
    from harness.processes import processes

    plans = list(pipeline.plans(cells, options, processes()))
    sample, rendered = pipeline.dry_run(cells[0], options)
    if parsed.json:
        tokens = [{"token": token, "label": label} for token, label in rendered.tokens]
        _print_json(
            {
                "sample": sample.id,
                "target": sample.target,
                "tokens": tokens,
                "shapes": dict(rendered.shapes),
                "notes": dict(rendered.notes),
                "train": [plan.to_json() for plan in plans],
            }
        )
        return 0
    cell = report.cell_text(cells[0].cell)
    shown = [report.rendered_report(sample, rendered, cell), *map(plan_report.plan_report, plans)]
    for part in (*shown, "\nNothing was run or written."):
        report.console().print(part)
    return 0


def train(parsed: argparse.Namespace) -> int:
    """Fine-tune; print the folder of what comes out."""
    from harness import pipeline, tuning_report
    from harness.processes import join_the_others, processes

    cells, options = _cells(parsed, train=True), _options(parsed, train=True)
    if all(cell.task.train is None for cell in cells):
        raise _usage(f"{parsed.task} has no train section", "`harness show --schema` lists its keys.")
    if parsed.dry_run:
        return _dry_run(parsed, cells, options)
    join_the_others(parsed.arguments)
    found = processes()
    made = list(pipeline.train(cells, options, found))
    found.leave()
    if not found.main:
        return 0
    if parsed.json:
        trainings = [tuning_report.made_json(one) for one in made]
        single = trainings[0] if len(trainings) == 1 else {"adapter": None, "train": None}
        _print_json({**single, "trainings": trainings})
        return 0
    for one in made:
        print(tuning_report.made_text(one), file=sys.stderr)  # noqa: T201
        print(one.folder)  # noqa: T201
    return 0


def export(parsed: argparse.Namespace) -> int:
    """Write a fine-tune as a checkpoint of its own."""
    from harness import pipeline

    share = parsed.interpolate
    parity = pipeline.export(parsed.adapter, parsed.out, parsed.dtype, _options(parsed), parsed.model, share)
    if parsed.json:
        _print_json({"checkpoint": str(parsed.out), "interpolate": share, "parity": vars(parity)})
        return 0
    moved = f"at most {max(parity.merged, parity.reloaded):.1e} (limit {parity.limit:.0e})"
    if share < 1:
        line = f"{share:g} of the way from the base to the fine-tune. Saving moved its logits by {moved}"
    else:
        line = f"a checkpoint of its own. Its logits differ from the adapter's by {moved}"
    print(f"{parsed.out}: {line}")  # noqa: T201
    return 0


def score(parsed: argparse.Namespace) -> int:
    """Score outputs that were made elsewhere."""
    from harness import pipeline
    from harness.outcome import CellResult

    cells = _cells(parsed)
    if len(cells) > 1:
        names = list(cells[0].cell)
        choice = " ".join(f"--set {name}=..." for name in names)
        raise _usage(f"{parsed.task} is a matrix over {', '.join(names)}", f"Choose one cell: {choice}")
    record = pipeline.score(cells[0], parsed.predictions, _options(parsed))
    return _report(parsed, [CellResult(cells[0], record)], {"comparison": None})


def _report(parsed: argparse.Namespace, results: Sequence[Any], comparisons: dict[str, Any]) -> int:
    """Print the results; 4 when too many samples failed in one of them."""
    drawn, where = _plots(parsed, results)
    if parsed.json:
        records = [record.model_dump(mode="json") for result in results for record in result.records]
        beside = [baseline.to_json() for result in results for baseline in result.baselines]
        _print_json({"runs": records, **comparisons, "baselines": beside, **drawn})
    else:
        _print_report(parsed, results, where)
    failed = _failed(record for result in results for record in result.all_records)
    return _without_a_score(results) or failed


def _plots(parsed: argparse.Namespace, results: Sequence[Any]) -> tuple[dict[str, Any], str]:
    """The results' pictures, for --json and in words. They are derived: a full disk costs nothing else."""
    from harness import plots
    from harness.results.store import Store

    points = [
        plots.Point(result.cell.cell, name, record)
        for result in results
        for name, record in (*zip(("base", "fine-tune"), result.records, strict=False), *_others(result))
    ]
    try:
        drawn = plots.draw_results(points, Store(parsed.results))
    except HarnessError as error:
        return {}, f"Plots can't be drawn: {error.message}"
    return ({"plots": [str(file) for file in drawn]} if drawn else {}), plots.drawn_text(drawn)


def _others(result: Any) -> list[tuple[str, Any]]:
    """Names and records of a result's baselines."""
    return [(baseline.name, baseline.record) for baseline in result.baselines if baseline.record]


def _print_report(parsed: argparse.Namespace, results: Sequence[Any], plots: str) -> None:
    from harness import report, tuning_report
    from harness.results.store import Store

    store = Store(parsed.results)
    if not any(result.pair for result in results):
        report.console().print(report.run_report([run for result in results for run in result.shown], store))
        _print_plain(plots)
        return
    report.console().print(tuning_report.tuned_report(results, store))
    _print_plain(plots)
    asked = tuning_report.Asked(parsed.task, parsed.set, parsed.model)
    commands = tuning_report.next_commands(tuning_report.best(results), asked)
    for command in ("Next:", *commands, *tuning_report.compare_best(results)):
        report.console().print(command, markup=False, highlight=False, soft_wrap=True)


def _print_plain(line: str) -> None:
    """A line of names, never broken and never read as markup."""
    from harness import report

    if line:
        report.console().print(line, markup=False, highlight=False, soft_wrap=True)


def _without_a_score(results: Sequence[Any]) -> int:
    """The exit code of the first baseline that couldn't be scored, each of which is said; else 0."""
    errors = [
        (baseline.name, baseline.error)
        for result in results
        for baseline in result.baselines
        if baseline.error is not None
    ]
    for name, error in errors:
        print(f"error: baseline '{name}': {error.message}\n{error.hint}".rstrip(), file=sys.stderr)  # noqa: T201
    return int(errors[0][1].exit_code) if errors else 0


def _failed(records: Iterable[Any]) -> int:
    """4, said for each record in which too many samples failed; else 0."""
    from harness.errors import EXIT_FAILURES

    worst = [record for record in records if record.failures.n > record.failures.threshold * record.data.n]
    for record in worst:
        message = f"error: {record.failures.n} of {record.data.n} samples failed, more than run.max_failures"
        print(f"{message} ({record.failures.threshold:.1%}) allows", file=sys.stderr)  # noqa: T201
    return EXIT_FAILURES if worst else 0


def compare(parsed: argparse.Namespace) -> int:
    """The difference of two runs."""
    from harness import report
    from harness.evaluation.comparable import RunData
    from harness.evaluation.compare import compare
    from harness.evaluation.compare_table import comparison_table
    from harness.results.store import Store

    store = Store(parsed.results)
    a, b = (store.get(prefix) for prefix in (parsed.a, parsed.b))
    found = compare(
        RunData(a, store.samples(a.run_id)),
        RunData(b, store.samples(b.run_id)),
        metric_name=parsed.metric,
        across=parsed.across,
    )
    if parsed.json:
        _print_json(found.to_json())
    else:
        report.console().print(comparison_table(found))
    return 0


def list_things(parsed: argparse.Namespace) -> int:
    """What there is."""
    from harness import listing, report

    table = listing.listing(parsed.what, parsed.results)
    title, headings, rows = table if parsed.json else listing.condensed(table)
    if parsed.json:
        _print_json({parsed.what: [dict(zip(headings, row, strict=True)) for row in rows]})
    else:
        report.console().print(report.rows_table(title, headings, rows))
    return 0


def show(parsed: argparse.Namespace) -> int:
    """A task, the schema, or a run."""
    from harness import listing, report

    found = listing.details(parsed.what, parsed.schema, parsed.set, parsed.results)
    if not isinstance(found, tuple):
        return _show_run(parsed, found)
    if parsed.plots is not None:
        raise _usage("--plots draws runs, not tasks", "Name one: harness show RUN --plots")
    title, headings, rows, payload = found
    if parsed.json:
        _print_json(payload)
    else:
        report.console().print(report.rows_table(title, headings, rows))
    return 0


def _show_run(parsed: argparse.Namespace, record: Any) -> int:
    """A run's record, what it says of each class, and its plots where they are asked for."""
    from harness import plots, report
    from harness.evaluation.per_class import per_class
    from harness.results.store import Store

    store = Store(parsed.results)
    drawn = []
    if parsed.plots is not None:
        folder = plots.plots_folder(store.root, record) if parsed.plots == Path() else parsed.plots
        drawn = plots.draw_run(record, store.samples(record.run_id), folder, again=True)
    if parsed.json:
        classes = per_class(record, store.samples(record.run_id))
        told = {"per_class": classes.to_json()} if classes else {}
        pictures = {"plots": [str(file) for file in drawn]} if parsed.plots is not None else {}
        _print_json({**record.model_dump(mode="json"), **told, **pictures})
        return 0
    report.console().print(report.record_report(record, store))
    if parsed.plots is not None:
        _print_plain(
            plots.drawn_text(drawn) or f"Plots: none, a run of kind {record.kind} has nothing to draw"
        )
    return 0


def validate(parsed: argparse.Namespace) -> int:
    """Check task files."""
    from harness.spec.validate import validate

    faults, count = validate(parsed.paths)
    if parsed.json:
        _print_json({"files": count, "faults": [str(fault) for fault in faults]})
    elif not faults:
        print(f"{count} task file{'s' if count > 1 else ''} checked: valid")  # noqa: T201
    if faults:
        raise SpecError(faults)
    return 0


def fetch(parsed: argparse.Namespace) -> int:
    """Download what an offline run needs."""
    from harness import pipeline

    fetched = []
    train = _trains(parsed)
    cells = _cells(parsed, train=train)
    for what, size in pipeline.fetch(cells, _options(parsed, train=train)):
        fetched.append({"what": what, "bytes": size})
        print(f"{what}: {size / 1e6:.1f} MB", file=sys.stderr)  # noqa: T201
    if parsed.json:
        _print_json({"fetched": fetched})
    elif pipeline.needs_server(cells):
        print(f"All but the server is here. Run it: harness run {parsed.task}")  # noqa: T201
    else:
        print(f"Everything is here. Run it: harness run {parsed.task} --offline")  # noqa: T201
    return 0


def doctor(parsed: argparse.Namespace) -> int:
    """What this machine has and lacks."""
    from harness import doctor, report

    checks = doctor.checks()
    if parsed.json:
        _print_json({"checks": [vars(check) for check in checks]})
    else:
        rows = [(check.name, check.status, check.detail, check.cure) for check in checks]
        report.console().print(report.rows_table("harness doctor", ("part", "state", "detail", "cure"), rows))
    return 0


def _usage(message: str, hint: str) -> HarnessError:
    from harness.errors import UsageError

    return UsageError(message, hint)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))  # noqa: T201
