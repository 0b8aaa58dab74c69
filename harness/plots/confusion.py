"""The confusion matrix: of each class's samples, the share that was taken for each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.forms import NO_ANSWER
from harness.plots.picture import ends, picture, write_table

MOST_CLASSES = 40
"""More of them can't be read: of a longer list the most confused are shown."""
NUMBERED = 12
"""Up to so many classes, cells hold their numbers."""
INCHES_PER_CLASS, MARGIN_INCHES, SMALLEST_INCHES = 0.22, 2.2, 6.0
DARK = 35
"""From this share on, in percent, a cell's number is white."""
GAMMA = 0.5
"""Exponent of the colours: a confusion of a few percent is to be seen beside a diagonal of ninety."""


def draw_confusion(
    stem: Path, title: str, pairs: Counter[tuple[str, str]], order: Sequence[str] = ()
) -> Path:
    """Write `stem`.png and .csv; the former's path.

    `pairs` counts (target, first class of the answer); `order` is that of the classes, where there is one.
    """
    totals = _totals(pairs)
    write_table(
        stem.with_suffix(".csv"),
        ("target", "answer", "samples", "share_of_target"),
        [
            (target, answer, n, n / totals[target])
            for (target, answer), n in sorted(pairs.items(), key=lambda item: (item[0][0], -item[1], item[0]))
        ],
    )
    classes = shown_classes(pairs, order)
    shares = _shares(pairs, totals, classes)
    size = max(SMALLEST_INCHES, MARGIN_INCHES + INCHES_PER_CLASS * len(classes))
    file = stem.with_suffix(".png")
    with picture(file, size + 1, size) as figure:
        _draw(figure, title, shares, classes, len({name for pair in pairs for name in pair}))
    return file


def shown_classes(pairs: Counter[tuple[str, str]], order: Sequence[str] = ()) -> list[str]:
    """The classes of the picture, in `order`, then by name: all, or those of the most frequent confusions."""
    wrong = Counter({pair: n for pair, n in pairs.items() if pair[0] != pair[1]})
    found = {name for pair in pairs for name in pair}
    if len(found) > MOST_CLASSES:
        chosen: dict[str, None] = {}
        for pair, _ in sorted(wrong.items(), key=lambda item: (-item[1], item[0])):
            if len(chosen.keys() | set(pair)) <= MOST_CLASSES:
                chosen.update(dict.fromkeys(pair))
        found = set(chosen) or set(sorted(found)[:MOST_CLASSES])
    place = {name: number for number, name in enumerate(order)}
    return sorted(found, key=lambda name: (place.get(name, len(place)), name))


def _totals(pairs: Counter[tuple[str, str]]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for (target, _), n in pairs.items():
        totals[target] += n
    return totals


def _shares(
    pairs: Counter[tuple[str, str]], totals: Counter[str], classes: Sequence[str]
) -> NDArray[np.float64]:
    """Percent of each class's samples, (targets, answers); NaN where a class has no sample."""
    counts = np.array([[pairs[target, answer] for answer in classes] for target in classes], dtype=np.float64)
    samples = np.array([[totals[target]] for target in classes], dtype=np.float64)
    shares: NDArray[np.float64] = 100 * counts / np.where(samples > 0, samples, np.nan)
    return shares


def _draw(figure: Any, title: str, shares: NDArray[np.float64], classes: Sequence[str], total: int) -> None:
    import matplotlib as mpl
    from matplotlib.colors import PowerNorm

    panel = figure.subplots()
    colours = mpl.colormaps["Blues"].with_extremes(bad="0.9")
    image = panel.imshow(shares, cmap=colours, norm=PowerNorm(GAMMA, 0, 100))
    which = f"the {len(classes)} most confused of {total:,} classes" if len(classes) < total else ""
    panel.set_title("\n".join(filter(None, (title, which))), fontsize="medium")
    panel.set_ylabel("is")
    panel.set_xlabel("taken for")
    names = [ends(name or NO_ANSWER) for name in classes]
    size = "small" if len(classes) <= NUMBERED else "x-small"
    level = sum(map(len, names)) <= 4 * NUMBERED and len(names) <= NUMBERED
    panel.set_xticks(range(len(names)), names, fontsize=size, rotation=0 if level else 90)
    panel.set_yticks(range(len(names)), names, fontsize=size)
    if len(classes) <= NUMBERED:
        _number(panel, shares)
    bar = figure.colorbar(image, ax=panel, fraction=0.046, pad=0.02)
    bar.set_label("% of the class")


def _number(panel: Any, shares: NDArray[np.float64]) -> None:
    """The share in each cell where it isn't 0; what is below one half of a percent says so."""
    for (row, column), share in np.ndenumerate(shares):
        if share > 0:
            text = f"{share:.0f}" if share >= 0.5 else "<1"
            colour = "white" if share >= DARK else "black"
            panel.text(column, row, text, ha="center", va="center", color=colour, fontsize="small")
