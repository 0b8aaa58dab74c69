"""The pictures that a command leaves behind: of each run, and of its matrix."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonpath
from pathlib import Path

from harness.evaluation.forms import form_of
from harness.plots.matrix import Point, draw_matrix
from harness.plots.run import draw_run, plots_folder
from harness.results.store import Store


def draw_results(points: Sequence[Point], store: Store) -> list[Path]:
    """Draw what isn't drawn yet into the results folder; all pictures of these runs, the matrix's first.

    Raises RunError or ResultError when the folder can't be written to.
    """
    records = {point.record.run_id: point.record for point in points if form_of(point.record) == "class"}
    found = draw_matrix(points, store.root / "plots")
    for run_id, record in records.items():
        found += draw_run(record, store.samples(run_id), plots_folder(store.root, record))
    return found


def drawn_text(drawn: Sequence[Path]) -> str:
    """What was drawn and where, in one line, another for what each of several runs has; empty without any."""
    if not drawn:
        return ""
    folders = {picture.parent for picture in drawn}
    top = Path(commonpath(folders))
    beside = [picture.name for picture in drawn if picture.parent == top]
    below = [picture for picture in drawn if picture.parent != top]
    lines = [f"Plots: {', '.join(beside)} in {top}/"] if beside else []
    if below:
        names = ", ".join(dict.fromkeys(picture.name for picture in below))
        lines.append(f"Plots of each run: {names} below {top}/, the first's {below[0]}")
    return "\n".join(lines)
