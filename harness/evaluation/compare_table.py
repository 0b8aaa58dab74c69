"""A comparison for the terminal: the difference, how sure it is, and the words behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.evaluation.changes import Change, WordDifference
from harness.evaluation.compare import Comparison


def comparison_table(comparison: Comparison) -> Group:
    """Everything of a comparison, to be printed by a rich Console; fits 80 columns.

    Texts of samples are never read as markup.
    """
    parts: list[RenderableType] = [_numbers(comparison), Text(comparison.sentence, style="bold")]
    for title, changes in (
        ("Largest wins of B", comparison.wins),
        ("Largest losses of B", comparison.losses),
    ):
        if changes:
            parts += [Text(), _changes(title, changes, comparison.unit)]
    return Group(*parts)


def _numbers(comparison: Comparison) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in _facts(comparison):
        table.add_row(name, Text(value))
    return table


def _facts(comparison: Comparison) -> Iterable[tuple[str, str]]:
    unit = comparison.unit
    direction = "higher" if comparison.higher_is_better else "lower"
    yield "metric", f"{comparison.metric}, {direction} is better"
    yield "A", f"{comparison.value_a:.2f}{unit}  {comparison.label_a}"
    yield "B", f"{comparison.value_b:.2f}{unit}  {comparison.label_b}"
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


def _changes(title: str, changes: Sequence[Change], unit: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("sample", overflow="fold", max_width=16)
    table.add_column(f"gain{f' {unit}' if unit else ''}", justify="right")
    table.add_column("A against the reference", ratio=1)
    table.add_column("B against the reference", ratio=1)
    for change in changes:
        words = (_words(side) for side in (change.words_a, change.words_b))
        table.add_row(Text(change.id), f"{change.gain:+.3g}", *words)
    return table


def _words(differences: Sequence[WordDifference]) -> Text:
    """What differs: "reference → hypothesis", "- missing", "+ added"; "right" where nothing does."""
    signs = {"substituted": "{0} → {1}", "deleted": "- {0}", "inserted": "+ {1}"}
    shown = [signs[each.kind].format(each.reference, each.hypothesis) for each in differences]
    return Text("; ".join(shown) if shown else "right")
