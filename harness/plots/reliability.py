"""The reliability diagram (Guo et al. 2017): accuracy by confidence, and how often each confidence occurs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.evaluation.calibration import Calibration
from harness.plots.picture import GAP_COLOUR, REFERENCE_COLOUR, RIGHT_COLOUR, picture, write_table

WIDTH_INCHES, HEIGHT_INCHES = 6, 7


def draw_reliability(stem: Path, title: str, found: Calibration) -> Path:
    """Write `stem`.png and .csv; the former's path."""
    write_table(
        stem.with_suffix(".csv"),
        ("confidence_above", "confidence_up_to", "samples", "mean_confidence", "accuracy"),
        [(one.low, one.high, one.n, _share(one.confidence), _share(one.accuracy)) for one in found.bins],
    )
    file = stem.with_suffix(".png")
    with picture(file, WIDTH_INCHES, HEIGHT_INCHES) as figure:
        bounds = f" (95% interval {found.ci95[0]:.1f} to {found.ci95[1]:.1f})" if found.ci95 else ""
        upper, lower = figure.subplots(2, sharex=True, height_ratios=[3, 1])
        upper.set_title(f"{title}\nexpected calibration error {found.value:.1f}%{bounds}", fontsize="medium")
        _draw_gaps(upper, found)
        _draw_histogram(lower, found)
        figure.align_ylabels()
        figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    return file


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _draw_gaps(panel: Any, found: Calibration) -> None:
    """Bars as high as the accuracy; what lies between it and the mean confidence is the gap."""
    held = [one for one in found.bins if one.accuracy is not None and one.confidence is not None]
    left = [100 * one.low for one in held]
    widths = [100 * (one.high - one.low) for one in held]
    right = [one.accuracy or 0.0 for one in held]
    gaps = [(one.confidence or 0.0) - (one.accuracy or 0.0) for one in held]
    panel.bar(left, right, widths, align="edge", color=RIGHT_COLOUR, edgecolor="white", label="accuracy")
    panel.bar(
        left,
        gaps,
        widths,
        bottom=right,
        align="edge",
        facecolor="none",
        edgecolor=GAP_COLOUR,
        hatch="///",
        label="gap to the mean confidence",
    )
    panel.plot(
        [0, 100], [0, 100], color=REFERENCE_COLOUR, linestyle="--", linewidth=1, label="as sure as right"
    )
    panel.set_xlim(0, 100)
    panel.set_ylim(0, 100)
    panel.set_ylabel("right (%)")
    panel.grid(alpha=0.3)


def _draw_histogram(panel: Any, found: Calibration) -> None:
    left = [100 * one.low for one in found.bins]
    widths = [100 * (one.high - one.low) for one in found.bins]
    shares = [100 * one.n / found.n for one in found.bins]
    panel.bar(left, shares, widths, align="edge", color="0.6", edgecolor="white")
    panel.set_ylabel(f"of {found.n:,} samples (%)")
    panel.set_xlabel("confidence: probability of the first class (%)")
    panel.grid(alpha=0.3)
