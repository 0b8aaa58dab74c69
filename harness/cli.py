"""The command line: its words, and what becomes of errors."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from harness import __version__, commands
from harness.errors import EXIT_RUN, EXIT_USER, HarnessError, SpecError
from harness.registry import near
from harness.remote import go_offline

DTYPES = ("float32", "bfloat16", "float16")
EPILOG = """\
examples:
  harness run quickstart/spoken_digits
  harness run tasks/fleurs_asr.yaml --model openai/whisper-small --set lang=fr_fr
  harness eval quickstart/spoken_digits --adapter results/adapters/NAME
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
        print("\ninterrupted; what was done so far is kept: run the same command again", file=sys.stderr)  # noqa: T201
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
    subs = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (summary, add_arguments, command) in COMMANDS.items():
        sub = subs.add_parser(name, help=summary, description=summary)
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
    _eval_arguments(sub)
    sub.add_argument(
        "--no-train", action="store_true", help="only score, though the task has a train section"
    )


def _eval_arguments(sub: argparse.ArgumentParser) -> None:
    _model_arguments(sub)
    sub.add_argument("--adapter", metavar="DIR|ID", help="a trained adapter to score; nothing is trained")
    sub.add_argument("--limit", type=_positive, metavar="N", help="a seeded subset of N samples")


def _model_arguments(sub: argparse.ArgumentParser) -> None:
    _task(sub)
    _results(sub)
    _json(sub)
    sub.add_argument("--model", metavar="ID|DIR", help="checkpoint, instead of the task's")
    _device(sub)
    sub.add_argument("--no-cache", action="store_true", help="predict and train anew what was done before")
    sub.add_argument(
        "--dry-run", action="store_true", help="show a sample and what would be trained, and stop"
    )


def _device(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1, mps")
    sub.add_argument("--offline", action="store_true", help="use only what is on this machine")


def _export_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("adapter", metavar="ADAPTER", help="folder or id of a fine-tune")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the checkpoint goes")
    sub.add_argument("--model", metavar="ID|DIR", help="its base checkpoint, where the adapter doesn't say")
    sub.add_argument(
        "--interpolate",
        type=_share,
        default=1.0,
        metavar="A",
        help="weights between the base's (0) and the fine-tune's (1, the default), as in WiSE-FT",
    )
    sub.add_argument("--dtype", default="float32", choices=DTYPES, help="only float32 doesn't round")
    _device(sub)
    _json(sub)


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
    sub.add_argument(
        "--across",
        metavar="KEY",
        action="append",
        default=[],
        help="key of the task that may differ between them, such as classes.templates or kind",
    )
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
    sub.add_argument(
        "--plots",
        type=Path,
        nargs="?",
        const=Path(),
        metavar="DIR",
        help="draw a run's plots anew (into DIR)",
    )
    _results(sub)
    _json(sub)


def _validate_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="task files, or folders of them")
    _json(sub)


def _fetch_arguments(sub: argparse.ArgumentParser) -> None:
    _task(sub)
    _json(sub)
    sub.add_argument("--model", metavar="ID|DIR", help="checkpoint, instead of the task's")
    sub.add_argument("--adapter", metavar="DIR|ID", help="a trained adapter that will be scored")
    sub.add_argument("--no-train", action="store_true", help="leave out what only fine-tuning needs")


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of samples")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:  # NaN is refused too
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
    return share


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], Callable[..., int]]] = {
    "run": ("score a checkpoint on a task, fine-tune it, compare", _run_arguments, commands.run),
    "eval": ("run, without fine-tuning", _eval_arguments, commands.evaluate),
    "train": ("fine-tune only; prints the adapter's folder", _model_arguments, commands.train),
    "export": ("merge an adapter into a checkpoint of its own", _export_arguments, commands.export),
    "score": ("score stored outputs; no model is loaded", _score_arguments, commands.score),
    "compare": ("difference of two runs, with a paired test", _compare_arguments, commands.compare),
    "list": ("what there is: tasks, models, metrics, runs", _list_arguments, commands.list_things),
    "show": ("a task with the origin of every value, or a run", _show_arguments, commands.show),
    "validate": ("check task files", _validate_arguments, commands.validate),
    "fetch": ("download what an offline run needs", _fetch_arguments, commands.fetch),
    "doctor": ("versions, devices, optional parts", _json, commands.doctor),
}
