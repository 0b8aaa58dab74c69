"""What a run says of its classes, for the terminal: the worst ones, the most confused pairs, calibration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.evaluation.calibration import Calibration
from harness.evaluation.forms import NO_ANSWER
from harness.evaluation.per_class import ClassScore, Confusion, PerClass

SHOWN = 10
NAME_WIDTH = 28
"""Columns for a class's name; --json and confusion.csv have all of it."""


def per_class_text(found: PerClass | None) -> Iterable[RenderableType]:
    """Tables that fit 80 columns; names are never read as markup. Nothing for a kind without classes."""
    if found is None:
        return
    yield from (Text(), _title(f"{found.measure.capitalize()} by class", "the worst", found.classes))
    yield _worst(found)
    if found.confusions:
        yield from (Text(), _title("Most often confused", "the first", found.confusions))
        yield _confused(found.confusions)
    if found.calibration is not None:
        yield from (Text(), _calibrated(found.calibration))


def class_name(name: str, width: int = NAME_WIDTH) -> Text:
    """A name on one line: what can't be printed is replaced, and of a long one the beginning stands."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    text = Text(shown)
    text.truncate(width, overflow="ellipsis")
    return text


def _title(what: str, order: str, rows: Sequence[object]) -> Text:
    """A line of its own: a table's title would be broken at the table's width."""
    count = len(rows)
    return Text(f"{what}, {f'{order} {SHOWN} of {count:,}' if count > SHOWN else f'all {count}'}", "bold")


def _worst(found: PerClass) -> Table:
    table = _table("class")
    for heading in ("samples", found.measure):
        table.add_column(heading, justify="right")
    if found.measure == "accuracy":
        table.add_column("95% interval", justify="right")
    for one in found.classes[:SHOWN]:
        table.add_row(*_row(one))
    return table


def _row(one: ClassScore) -> list[RenderableType]:
    bounds = [f"{one.ci95[0]:.1f} to {one.ci95[1]:.1f}"] if one.ci95 else []
    return [class_name(one.name), f"{one.n:,}", f"{one.score:.1f}%", *bounds]


def _confused(confusions: tuple[Confusion, ...]) -> Table:
    table = _table("is", "taken for")
    table.add_column("samples", justify="right")
    table.add_column("of the class", justify="right")
    for one in confusions[:SHOWN]:
        table.add_row(
            class_name(one.target), class_name(one.answer or NO_ANSWER), f"{one.n:,}", f"{one.share:.1f}%"
        )
    return table


def _calibrated(found: Calibration) -> Text:
    bounds = f" (95% interval {found.ci95[0]:.2f} to {found.ci95[1]:.2f})" if found.ci95 else ""
    return Text.assemble(
        ("Calibration: ", "bold"), f"expected error {found.value:.2f}%{bounds}, of {found.n:,} samples"
    )


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True)
    return table
