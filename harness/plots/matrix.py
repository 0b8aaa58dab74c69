"""A score over a numeric parameter of a matrix: how fragile, or how data-hungry, a checkpoint is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.plots.picture import picture, short, write_table
from harness.results.record import MetricPart, Record

WIDTH_INCHES, HEIGHT_INCHES = 8, 5
LOGARITHMIC = 16
"""From this ratio of the largest to the smallest value on, the axis is logarithmic."""
MOST_TICKS = 12
STYLES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Point:
    """One run of a matrix: the parameters of its cell, and which model it is of ("base", "fine-tune")."""

    cell: Mapping[str, Any]
    model: str
    record: Record


def draw_matrix(points: Sequence[Point], folder: Path) -> list[Path]:
    """Draw a picture with its table for each parameter that has several numbers; their paths.

    None, among numbers, stands before them and apart: no corruption, or all of the samples. Raises RunError
    or ResultError when the folder can't be written to.
    """
    return [_draw(points, name, folder) for name in numeric(points)]


def numeric(points: Sequence[Point]) -> list[str]:
    """The parameters that have two numbers at least, and besides them nothing but None."""
    names = dict.fromkeys(name for point in points for name in point.cell)
    return [name for name in names if _is_numeric([point.cell.get(name) for point in points])]


def _is_numeric(values: Sequence[Any]) -> bool:
    given = [value for value in values if value is not None]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
    return numbers and len(set(given)) > 1


def _draw(points: Sequence[Point], parameter: str, folder: Path) -> Path:
    task = points[0].record.task
    digest = hashlib.sha256("".join(sorted(point.record.run_id for point in points)).encode()).hexdigest()
    stem = re.sub(r"[^\w.-]+", "-", f"{task}-{parameter}-{digest[:8]}").strip("-.")
    others = [name for name in points[0].cell if name != parameter]
    write_table(folder / f"{stem}.csv", *_table(points, parameter, others))
    file = folder / f"{stem}.png"
    with picture(file, WIDTH_INCHES, HEIGHT_INCHES) as figure:
        _draw_lines(figure.subplots(), points, parameter, others)
        figure.suptitle(short(f"{task}: {points[0].record.model.checkpoint}", 70), fontsize="medium")
    return file


def _table(
    points: Sequence[Point], parameter: str, others: Sequence[str]
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    headings = (parameter, *others, "model", "metric", "value", "low", "high", "samples", "run_id")
    rows = [
        (
            *(point.cell.get(name) for name in (parameter, *others)),
            point.model,
            point.record.primary,
            _score(point).value,
            *(_score(point).ci95 or (None, None)),
            _score(point).n,
            point.record.run_id,
        )
        for point in points
    ]
    return headings, rows


def _score(point: Point) -> MetricPart:
    return point.record.metrics[point.record.primary]


def _draw_lines(panel: Any, points: Sequence[Point], parameter: str, others: Sequence[str]) -> None:
    """A line for each combination of the other parameters (its colour) and each model (its style)."""
    combinations = list(dict.fromkeys(_combination(point, others) for point in points))
    models = list(dict.fromkeys(point.model for point in points))
    values = sorted({value for point in points if (value := point.cell.get(parameter)) is not None})
    logarithmic = values[0] > 0 and values[-1] / values[0] >= LOGARITHMIC
    nothing = values[0] ** 2 / values[1] if logarithmic else 2 * values[0] - values[1]
    for number, combination in enumerate(combinations):
        for style, model in enumerate(models):
            line = [
                (point.cell.get(parameter), _score(point))
                for point in points
                if point.model == model and _combination(point, others) == combination
            ]
            look = {"color": f"C{number % 10}", "linestyle": STYLES[style % len(STYLES)]}
            label = ", ".join(filter(None, (combination, model if len(models) > 1 else "")))
            _draw_line(panel, line, look, label)
            _draw_apart(panel, nothing, [score for value, score in line if value is None], look["color"])
    if logarithmic:
        panel.set_xscale("log")
    lacking = any(point.cell.get(parameter) is None for point in points)
    _tick(panel, [nothing, *values] if lacking else values, ["none"] if lacking else [])
    first = _score(points[0])
    unit = f" ({first.unit})" if first.unit else ""
    better = "higher" if first.higher_is_better else "lower"
    panel.set_ylabel(f"{points[0].record.primary}{unit}\n{better} is better")
    panel.set_xlabel(parameter)
    panel.grid(alpha=0.3)
    if len(combinations) * len(models) > 1:
        panel.legend(loc="best", fontsize="small")


def _combination(point: Point, others: Sequence[str]) -> str:
    cell = ((name, point.cell.get(name)) for name in others)
    return ", ".join(
        f"{short(name)} {'none' if value is None else short(str(value))}" for name, value in cell
    )


def _draw_line(
    panel: Any, line: Sequence[tuple[float | None, MetricPart]], look: Mapping[str, str], label: str
) -> None:
    """The scores that are defined, in the order of the parameter, with a band for their intervals."""
    defined = [(at, score) for at, score in line if at is not None and score.value is not None]
    defined.sort(key=lambda pair: pair[0])
    places, values = [at for at, _ in defined], [score.value for _, score in defined]
    panel.plot(places, values, **look, marker="o", markersize=4, linewidth=1.4, label=label)
    held = [(at, score.ci95) for at, score in defined if score.ci95]
    if held:
        low, high = zip(*(bounds for _, bounds in held), strict=True)
        panel.fill_between([at for at, _ in held], low, high, color=look["color"], alpha=0.15, linewidth=0)


def _draw_apart(panel: Any, at: float, scores: Sequence[MetricPart], colour: str) -> None:
    """Scores without a number to stand at, each with its interval."""
    for score in scores:
        if score.value is not None:
            panel.plot([at], [score.value], color=colour, marker="D", markersize=5)
        if score.ci95 is not None:
            panel.vlines(at, *score.ci95, color=colour, linewidth=1)


def _tick(panel: Any, places: Sequence[float], names: Sequence[str]) -> None:
    """A tick at each value where they are few; `names` are those of the first ones."""
    if len(places) <= MOST_TICKS:
        panel.set_xticks(places, [*names, *(f"{value:g}" for value in places[len(names) :])])
        panel.minorticks_off()
