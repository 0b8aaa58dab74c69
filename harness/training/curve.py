"""How a training went: losses and scores by step, as data and as a picture."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple

CSV, PNG = "curve.csv", "curve.png"
SIZE_INCHES, DOTS_PER_INCH = (8, 5), 100
LOSS_COLOUR, SCORE_COLOUR, BEST_COLOUR = "tab:blue", "tab:orange", "tab:green"
DECADE = 10


class LossPoint(NamedTuple):
    """A step's loss (nats per item), learning rate and norm of the gradient before clipping."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float


class Mark(NamedTuple):
    """Where a stage begins: the steps of all stages before it, and its name."""

    step: int
    name: str


@dataclass
class Curve:
    """What was measured, in the order of the steps. NaN stands for what wasn't.

    Of a training in stages `marks` say where each begins; steps are counted over all of them.
    """

    losses: list[LossPoint] = field(default_factory=list)
    scores: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    best_step: int | None = None
    marks: list[Mark] = field(default_factory=list)

    def add_loss(self, step: int, loss: float, learning_rate: float, grad_norm: float) -> None:
        """What training measured at a step."""
        self.losses.append(LossPoint(step, loss, learning_rate, grad_norm))

    def add_scores(self, step: int, scores: Mapping[str, float]) -> None:
        """What the metrics said of the weights after a step, by name."""
        self.scores.append((step, dict(scores)))

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values: null for what is no finite number."""
        return {
            "losses": [[_number(value) for value in point] for point in self.losses],
            "scores": [
                [step, {name: _number(value) for name, value in scores.items()}]
                for step, scores in self.scores
            ],
            "best_step": self.best_step,
            **({"stages": [list(mark) for mark in self.marks]} if self.marks else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Curve:
        """The curve that `to_json` wrote."""
        return cls(
            [LossPoint(step, *map(_measured, rest)) for step, *rest in value["losses"]],
            [
                (step, {name: _measured(score) for name, score in scores.items()})
                for step, scores in value["scores"]
            ],
            value["best_step"],
            list(starmap(Mark, value.get("stages", ()))),
        )

    def stage_of(self, step: int) -> str:
        """Name of the stage that took this step; "" before the first, and where there are none."""
        return next((mark.name for mark in reversed(self.marks) if mark.step < step), "")

    def write(self, folder: Path, title: str, metric: str, higher_is_better: bool, unit: str = "") -> None:
        """Write curve.csv and curve.png; `metric` is the one that is drawn, `unit` its unit ("%").

        Raises OSError when the folder can't be written to.
        """
        self._write_csv(folder / CSV)
        figure = self.figure(title, metric, "higher" if higher_is_better else "lower", unit)
        with warnings.catch_warnings():  # letters that the font lacks are drawn as boxes
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            figure.savefig(folder / PNG)

    def _write_csv(self, file: Path) -> None:
        """One row per step with empty cells where nothing was measured; numbers to the last digit.

        Of a training in stages, each step's stage comes second.
        """
        names = list(dict.fromkeys(name for _, scores in self.scores for name in scores))
        rows: dict[int, dict[str, float]] = {}
        for point in self.losses:
            rows.setdefault(point.step, {}).update(point._asdict())
        for step, scores in self.scores:
            rows.setdefault(step, {"step": step}).update(scores)
        with file.open("w", encoding="utf-8", newline="") as out:
            first, *others = LossPoint._fields
            writer = csv.DictWriter(out, [first, *(["stage"] if self.marks else []), *others, *names])
            writer.writeheader()
            for step, row in sorted(rows.items()):
                stage = {"stage": self.stage_of(step)} if self.marks else {}
                writer.writerow({name: value for name, value in row.items() if math.isfinite(value)} | stage)

    def figure(self, title: str, metric: str, better: str, unit: str) -> Any:
        """The picture as a matplotlib Figure, without pyplot: `better` is "higher" or "lower"."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        points = [(step, scores[metric]) for step, scores in self.scores if metric in scores]
        figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, parse_math=False)
        panels = figure.subplots(2 if points else 1, sharex=True, squeeze=False)[:, 0]
        _draw_losses(panels[0], self.losses)
        if points:
            _draw_scores(panels[1], points, self.best_step, unit)
            name = f"{metric} ({unit})" if unit else metric
            panels[1].set_ylabel(f"{name}\n{better} is better", parse_math=False)
        _draw_marks(panels, self.marks)
        for panel in panels:
            panel.grid(alpha=0.3)
            if points and self.best_step is not None:
                panel.axvline(self.best_step, color=BEST_COLOUR, linestyle="--", linewidth=1)
        panels[-1].set_xlabel("optimiser step")
        figure.align_ylabels()
        return figure


def _draw_losses(panel: Any, losses: Sequence[LossPoint]) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator

    found = [point.loss for point in losses]
    panel.plot([point.step for point in losses], found, color=LOSS_COLOUR, linewidth=1.2)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    panel.set_ylabel("training loss (nats)")
    if found and min(found) > 0 and max(found) > DECADE * min(found):
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("")


def _draw_marks(panels: Iterable[Any], marks: Sequence[Mark]) -> None:
    """A line where a stage begins, its name at the top."""
    first, *others = panels
    for mark in marks:
        for panel in (first, *others):
            panel.axvline(mark.step, color="grey", linestyle=":", linewidth=1)
        first.annotate(
            mark.name,
            (mark.step, 1),
            xycoords=first.get_xaxis_transform(),
            xytext=(3, 3),
            textcoords="offset points",
            annotation_clip=False,
            parse_math=False,
            fontsize="small",
        )


def _draw_scores(panel: Any, points: Sequence[tuple[int, float]], best_step: int | None, unit: str) -> None:
    steps, values = zip(*points, strict=True)
    panel.plot(steps, values, color=SCORE_COLOUR, marker="o", markersize=4, linewidth=1.2)
    found = dict(points)
    if best_step in found:
        label = f"best: {found[best_step]:.4g} {unit}".rstrip() + f" after step {best_step}"
        panel.plot(best_step, found[best_step], "*", color=BEST_COLOUR, markersize=13, label=label)
        panel.legend(loc="best")


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _measured(value: float | None) -> float:
    return math.nan if value is None else value
