"""A comparison for the terminal: the difference, how sure it is, and the words behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.evaluation.changes import Change, WordDifference
from harness.evaluation.compare import Comparison
from harness.metrics.names import in_words

ID_WIDTH = 16
"""Columns for a sample's id."""
ID_LINES = 3
"""Lines that an id takes at most; --json has all of it."""
SHOWN_KEYS = 4
"""Keys in which two runs differ that are listed; --json has all of them."""


def comparison_table(comparison: Comparison) -> Group:
    """Everything of a comparison, to be printed by a rich Console; fits 80 columns.

    Texts of samples are never read as markup.
    """
    parts: list[RenderableType] = [_numbers(comparison), Text(comparison.sentence, style="bold")]
    rises, falls = (f"{comparison.metric} {moves}" for moves in ("rises", "falls"))
    win, loss = (rises, falls) if comparison.higher_is_better else (falls, rises)
    for title, changes in (
        (f"Largest wins of B ({win})", comparison.wins),
        (f"Largest losses of B ({loss})", comparison.losses),
    ):
        if changes:
            parts += [Text(), _changes(title, changes, comparison)]
    return Group(*parts)


def _numbers(comparison: Comparison) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in _facts(comparison):
        table.add_row(name, Text(value))
    return table


def _facts(comparison: Comparison) -> Iterable[tuple[str, str]]:
    unit = comparison.unit
    direction = "higher" if comparison.higher_is_better else "lower"
    yield "metric", f"{comparison.metric}, {direction} is better"
    yield "A", f"{comparison.value_a:.2f}{unit}  {comparison.label_a}"
    yield "B", f"{comparison.value_b:.2f}{unit}  {comparison.label_b}"
    if comparison.differs:
        both = [f"{key} {a} and {b}" for key, (a, b) in comparison.differs.items()]
        more = [f"and {len(both) - SHOWN_KEYS} more"] if len(both) > SHOWN_KEYS else []
        yield "differs", "; ".join([*both[:SHOWN_KEYS], *more])
    yield "difference", f"{comparison.difference:+.2f}{unit}"
    if comparison.ci95 is not None and comparison.p is not None:
        low, high = comparison.ci95
        yield "95% interval", f"{low:+.2f} to {high:+.2f}{unit}, p = {comparison.p:.3g}"
    left_out = f", {comparison.left_out} left out (not scored in both)" if comparison.left_out else ""
    yield "samples", f"{comparison.n} in {comparison.clusters} clusters{left_out}"
    if comparison.mcnemar is not None:
        exact = comparison.mcnemar
        only = f"only in A {exact.only_a}, only in B {exact.only_b}"
        yield "all right", f"{only}; McNemar's p = {exact.p:.3g} (ignores clusters)"


def _changes(title: str, changes: Sequence[Change], comparison: Comparison) -> Table:
    unit = ", points" if comparison.unit == "%" else ""
    table = Table(title=Text(title, style="bold"), title_justify="left", pad_edge=False)
    table.add_column("sample", overflow="fold", max_width=ID_WIDTH)
    table.add_column(
        Text(f"change of {in_words(comparison.metric)}{unit}"), justify="right", overflow="fold", max_width=10
    )
    table.add_column("A against the reference", overflow="fold", ratio=1)
    table.add_column("B against the reference", overflow="fold", ratio=1)
    for change in changes:
        words = (_words(side) for side in (change.words_a, change.words_b))
        table.add_row(_id(change.id), f"{change.difference:+.3g}", *words)
    return table


def _id(sample: str) -> Text:
    """The id in at most ID_LINES lines; of a longer one the end, which tells paths apart."""
    room = ID_WIDTH * ID_LINES
    return Text(sample if len(sample) <= room else f"…{sample[1 - room :]}")


def _words(differences: Sequence[WordDifference]) -> Text:
    """What differs: "reference → hypothesis", "- missing", "+ added"; "right" where nothing does."""
    signs = {"substituted": "{0} → {1}", "deleted": "- {0}", "inserted": "+ {1}"}
    shown = [signs[each.kind].format(each.reference, each.hypothesis) for each in differences]
    return Text("; ".join(shown) if shown else "right")
