"""The command line: parse, call, print. Imports are lazy, so that `harness --help` answers at once."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from harness import __version__
from harness.errors import EXIT_RUN, EXIT_USER, HarnessError, SpecError
from harness.registry import near
from harness.remote import OFFLINE_VARIABLE, go_offline

EPILOG = """\
examples:
  harness run quickstart/spoken_digits
  harness run tasks/fleurs_asr.yaml --model openai/whisper-small --set lang=fr_fr
  harness compare RUN_A RUN_B
exit codes: 0 done, 2 the input is wrong, 3 the run failed, 4 too many samples failed
"""


class Parser(argparse.ArgumentParser):
    """argparse that suggests the near name."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and how to get help; exit with 2."""
        if message.startswith("argument COMMAND: invalid choice: '"):
            word = message.split("invalid choice: '")[1].split("'")[0]
            message = f"there is no command '{word}'. {near(word, COMMANDS)}".strip()
        self.exit(EXIT_USER, f"error: {message}\nhint: {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parsed = parser().parse_args(arguments)
    parsed.arguments = arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a terminal that lacks a letter still gets the rest
    if getattr(parsed, "offline", False):
        go_offline()
    try:
        return int(parsed.command(parsed) or 0)
    except HarnessError as error:
        if parsed.debug:
            raise
        _print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted; what was predicted is kept: run the same command again", file=sys.stderr)  # noqa: T201
        return EXIT_RUN
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_RUN
    except Exception as error:
        if parsed.debug:
            raise
        message = (
            f"error: {type(error).__name__}: {error}\nhint: this is a bug of the harness; --debug shows more"
        )
        print(message, file=sys.stderr)  # noqa: T201
        return EXIT_RUN


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(
        prog="harness",
        description="Fine-tune, evaluate and compare multimodal models from one task file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"harness {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (summary, add_arguments, command) in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=command)
        add_arguments(sub)
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
    return top


def _print_error(error: HarnessError) -> None:
    rank = os.environ.get("RANK", "0")
    prefix = "" if rank == "0" else f"process {rank}: "
    lead = "" if isinstance(error, SpecError) else "error: "
    hint = f"\nhint: {error.hint}" if error.hint else ""
    print(f"{prefix}{lead}{error.message}{hint}", file=sys.stderr)  # noqa: T201


# Arguments


def _task(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("task", metavar="TASK", help="a task file, or the name of a shipped task")
    sub.add_argument("--set", metavar="K=V", action="append", default=[], help="a parameter, or any key")


def _results(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")


def _json(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _run_arguments(sub: argparse.ArgumentParser) -> None:
    _task(sub)
    _results(sub)
    _json(sub)
    sub.add_argument("--model", metavar="ID|DIR", help="checkpoint, instead of the task's")
    sub.add_argument("--limit", type=_positive, metavar="N", help="a seeded subset of N samples")
    sub.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, mps")
    sub.add_argument("--offline", action="store_true", help="use only what is on this machine")
    sub.add_argument("--no-cache", action="store_true", help="predict anew what the cache has")
    sub.add_argument("--dry-run", action="store_true", help="show one sample as the model sees it, and stop")


def _score_arguments(sub: argparse.ArgumentParser) -> None:
    _task(sub)
    _results(sub)
    _json(sub)
    sub.add_argument("--predictions", type=Path, required=True, metavar="FILE.jsonl", help="stored outputs")
    sub.add_argument("--limit", type=_positive, metavar="N", help="the seeded subset that was predicted")
    sub.add_argument("--offline", action="store_true", help="use only what is on this machine")


def _compare_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("a", metavar="RUN_A", help="the start of a run's id, latest, or latest~1")
    sub.add_argument("b", metavar="RUN_B", help="another's; differences are B - A")
    sub.add_argument("--metric", help="a metric other than the first")
    _results(sub)
    _json(sub)


def _list_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("what", choices=["tasks", "models", "metrics", "runs"])
    _results(sub)
    _json(sub)


def _show_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("what", nargs="?", metavar="TASK|RUN", help="a task, or the start of a run's id")
    sub.add_argument("--set", metavar="K=V", action="append", default=[], help="a parameter, or any key")
    sub.add_argument("--schema", action="store_true", help="every key of a task file and its meaning")
    _results(sub)
    _json(sub)


def _validate_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="task files, or folders of them")
    _json(sub)


def _fetch_arguments(sub: argparse.ArgumentParser) -> None:
    _task(sub)
    _json(sub)
    sub.add_argument("--model", metavar="ID|DIR", help="checkpoint, instead of the task's")


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of samples")
    return int(text)


# Commands


def _cells(parsed: argparse.Namespace) -> list[Any]:
    from harness.spec.find import find
    from harness.spec.load import load
    from harness.spec.resolve import parse_setting

    settings = [parse_setting(text) for text in parsed.set]
    if getattr(parsed, "model", None):
        settings.append(("model.checkpoint", parsed.model))
    return load(find(parsed.task), settings)


def _options(parsed: argparse.Namespace) -> Any:
    from harness.pipeline import Options

    return Options(
        results=getattr(parsed, "results", Path("results")),
        limit=getattr(parsed, "limit", None),
        device=getattr(parsed, "device", "auto"),
        offline=os.environ.get(OFFLINE_VARIABLE, "").lower() in ("1", "on", "true", "yes"),
        reuse=not getattr(parsed, "no_cache", False),
    )


def _run(parsed: argparse.Namespace) -> int:
    from harness import pipeline
    from harness.processes import join_the_others, processes

    cells = _cells(parsed)
    if parsed.dry_run:
        return _dry_run(parsed, cells)
    join_the_others(parsed.arguments)
    found = processes()
    records = list(pipeline.run(cells, _options(parsed), found))
    return _report(parsed, records, cells) if found.main else 0


def _dry_run(parsed: argparse.Namespace, cells: Sequence[Any]) -> int:
    from harness import pipeline, report

    sample, rendered = pipeline.dry_run(cells[0], _options(parsed))
    if parsed.json:
        tokens = [{"token": token, "label": label} for token, label in rendered.tokens]
        _print_json(
            {
                "sample": sample.id,
                "target": sample.target,
                "tokens": tokens,
                "shapes": dict(rendered.shapes),
                "notes": dict(rendered.notes),
            }
        )
    else:
        cell = report.cell_text(cells[0].cell)
        report.console().print(report.rendered_report(sample, rendered, cell))
    return 0


def _score(parsed: argparse.Namespace) -> int:
    from harness import pipeline

    cells = _cells(parsed)
    if len(cells) > 1:
        names = list(cells[0].cell)
        choice = " ".join(f"--set {name}=..." for name in names)
        raise _usage(f"{parsed.task} is a matrix over {', '.join(names)}", f"Choose one cell: {choice}")
    record = pipeline.score(cells[0], parsed.predictions, _options(parsed))
    return _report(parsed, [record], cells)


def _report(parsed: argparse.Namespace, records: Sequence[Any], cells: Sequence[Any]) -> int:
    """Print the records; 4 when too many samples failed in one of them."""
    from harness import report
    from harness.errors import EXIT_FAILURES
    from harness.results.store import Store

    if parsed.json:
        _print_json({"runs": [record.model_dump(mode="json") for record in records], "comparison": None})
    else:
        shown = report.run_report(records, Store(parsed.results), [cell.cell for cell in cells])
        report.console().print(shown)
    worst = [record for record in records if record.failures.n > record.failures.threshold * record.data.n]
    for record in worst:
        message = f"error: {record.failures.n} of {record.data.n} samples failed, more than run.max_failures"
        print(f"{message} ({record.failures.threshold:.1%}) allows", file=sys.stderr)  # noqa: T201
    return EXIT_FAILURES if worst else 0


def _compare(parsed: argparse.Namespace) -> int:
    from harness import report
    from harness.evaluation.comparable import RunData
    from harness.evaluation.compare import compare
    from harness.evaluation.compare_table import comparison_table
    from harness.results.store import Store

    store = Store(parsed.results)
    a, b = (store.get(prefix) for prefix in (parsed.a, parsed.b))
    found = compare(
        RunData(a, store.samples(a.run_id)), RunData(b, store.samples(b.run_id)), metric_name=parsed.metric
    )
    if parsed.json:
        _print_json(found.to_json())
    else:
        report.console().print(comparison_table(found))
    return 0


def _list(parsed: argparse.Namespace) -> int:
    from harness import listing, report

    table = listing.listing(parsed.what, parsed.results)
    title, headings, rows = table if parsed.json or parsed.what != "runs" else listing.condensed(table)
    if parsed.json:
        _print_json({parsed.what: [dict(zip(headings, row, strict=True)) for row in rows]})
    else:
        report.console().print(report.rows_table(title, headings, rows))
    return 0


def _show(parsed: argparse.Namespace) -> int:
    from harness import listing, report
    from harness.results.store import Store

    found = listing.details(parsed.what, parsed.schema, parsed.set, parsed.results)
    if isinstance(found, tuple):
        title, headings, rows, payload = found
        shown: Any = report.rows_table(title, headings, rows)
    else:
        payload = found.model_dump(mode="json")
        shown = report.record_report(found, Store(parsed.results))
    if parsed.json:
        _print_json(payload)
    else:
        report.console().print(shown)
    return 0


def _validate(parsed: argparse.Namespace) -> int:
    from harness.spec.validate import validate

    faults, count = validate(parsed.paths)
    if parsed.json:
        _print_json({"files": count, "faults": [str(fault) for fault in faults]})
    elif not faults:
        print(f"{count} task file{'s' if count > 1 else ''} checked: valid")  # noqa: T201
    if faults:
        raise SpecError(faults)
    return 0


def _fetch(parsed: argparse.Namespace) -> int:
    from harness import pipeline

    fetched = []
    for what, size in pipeline.fetch(_cells(parsed), _options(parsed)):
        fetched.append({"what": what, "bytes": size})
        print(f"{what}: {size / 1e6:.1f} MB", file=sys.stderr)  # noqa: T201
    if parsed.json:
        _print_json({"fetched": fetched})
    else:
        print(f"Everything is here. Run it: harness run {parsed.task} --offline")  # noqa: T201
    return 0


def _doctor(parsed: argparse.Namespace) -> int:
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


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], Callable[..., int]]] = {
    "run": ("evaluate a checkpoint on a task and record the result", _run_arguments, _run),
    "eval": ("run, without fine-tuning", _run_arguments, _run),
    "score": ("score stored outputs; no model is loaded", _score_arguments, _score),
    "compare": ("difference of two runs, with a paired test", _compare_arguments, _compare),
    "list": ("what there is: tasks, models, metrics, runs", _list_arguments, _list),
    "show": ("a task with the origin of every value, or a run", _show_arguments, _show),
    "validate": ("check task files", _validate_arguments, _validate),
    "fetch": ("download what an offline run needs", _fetch_arguments, _fetch),
    "doctor": ("versions, devices, optional parts", _json, _doctor),
}
