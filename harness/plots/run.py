"""The pictures of one run of a kind with classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.evaluation.calibration import calibration
from harness.evaluation.forms import form_of
from harness.evaluation.per_class import counted
from harness.plots.confusion import draw_confusion
from harness.plots.picture import short
from harness.plots.reliability import draw_reliability
from harness.results.record import Record

if TYPE_CHECKING:
    import pyarrow as pa

CONFUSION, RELIABILITY = "confusion", "reliability"
TITLE_LENGTH = 70
MODEL_LENGTH = (TITLE_LENGTH - len(" + ")) // 2
"""Two names with what joins them fit the title."""


def plots_folder(results: Path, record: Record) -> Path:
    """Where the pictures of a run are kept."""
    return results / "plots" / record.run_id[:2] / record.run_id


def draw_run(record: Record, samples: pa.Table, folder: Path, *, again: bool = False) -> list[Path]:
    """Draw what there is to see of a run into `folder`; the pictures, without what has no numbers.

    A picture that is there already is left as it is, since a run never changes; `again` draws it anew.
    Raises RunError or ResultError when the folder can't be written to.
    """
    scored = samples.filter(samples["prediction_normalised"].is_valid())
    if form_of(record) != "class" or not scored.num_rows:
        return []
    kind = record.kind.replace("_", " ")
    title = "\n".join(short(line, TITLE_LENGTH) for line in (f"{record.task}, {kind}", _model(record)))
    names = (record.spec.get("classes") or {}).get("names") or ()
    stems = {name: folder / name for name in (CONFUSION, RELIABILITY)}
    drawn = []
    if again or not _is_there(stems[CONFUSION]):
        draw_confusion(stems[CONFUSION], title, counted(scored), names)
    drawn.append(stems[CONFUSION].with_suffix(".png"))
    if again or not _is_there(stems[RELIABILITY]):
        if (found := calibration(record, scored)) is None:
            return drawn
        draw_reliability(stems[RELIABILITY], title, found)
    return [*drawn, stems[RELIABILITY].with_suffix(".png")]


def _is_there(stem: Path) -> bool:
    return all(stem.with_suffix(suffix).is_file() for suffix in (".png", ".csv"))


def _model(record: Record) -> str:
    """The last part of a folder's name tells it from others."""
    parts = [record.model.checkpoint, record.model.adapter]
    return " + ".join(
        part if len(part) <= MODEL_LENGTH else f"…{part[1 - MODEL_LENGTH :]}" for part in parts if part
    )
