"""What all pictures share: fonts, colours, files that appear whole. Only drawing imports matplotlib."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.results.files import write_whole

DOTS_PER_INCH = 100
RIGHT_COLOUR, GAP_COLOUR, REFERENCE_COLOUR = "tab:blue", "tab:red", "0.4"
NAME_LENGTH = 24
"""Letters of a name that a picture shows; the table beside it has all of them."""
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Arial Unicode MS",
)
"""Where a letter is looked for, in this order, among the fonts that this machine has."""


@contextmanager
def picture(file: Path, width: float, height: float) -> Iterator[Any]:
    """An empty matplotlib Figure of so many inches, without pyplot; written to `file` when the block ends.

    Raises RunError or ResultError when the file can't be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager

    known = set(fontManager.get_font_names())
    fonts = [font for font in FONTS if font in known]
    with mpl.rc_context({"font.family": fonts, "text.parse_math": False}):
        figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        content = io.BytesIO()
        with warnings.catch_warnings():  # letters that no font has are drawn as boxes
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            figure.savefig(content)
    write_whole(file, content.getvalue(), replace=True)


def write_table(file: Path, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file, UTF-8, numbers to the last digit, empty where there is none. Raises as `picture`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(headings)
    writer.writerows(rows)
    write_whole(file, text.getvalue().encode(), replace=True)


def short(name: str, length: int = NAME_LENGTH) -> str:
    """A name on one line; what can't be printed is replaced, and a long one ends early."""
    shown = _printable(name)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def ends(name: str, length: int = NAME_LENGTH) -> str:
    """As `short`, but a long name loses its middle: names that begin alike are told apart by their ends."""
    shown = _printable(name)
    half = length // 2
    return shown if len(shown) <= length else f"{shown[: half - 1]}…{shown[-half:]}"


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
