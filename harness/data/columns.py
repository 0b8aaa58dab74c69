"""Is every column there that the task maps? Checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from harness.errors import DataError
from harness.registry import near


def named(columns: Mapping[str, str | tuple[str, ...]]) -> Iterator[str]:
    """The dataset's columns that a mapping names, those of its lists too."""
    for given in columns.values():
        yield from (given,) if isinstance(given, str) else given


def require_columns(
    wanted: Mapping[str, str | tuple[str, ...]], present: Iterable[str], where: str, what: str
) -> None:
    """Raises DataError naming every missing column. `wanted` maps a key of `where` to a column of `what`."""
    known = list(present)
    missing = [(key, name) for key in wanted for name in named({key: wanted[key]}) if name not in known]
    if missing:
        lines = [
            f"{where}.{key}: {what} has no column '{column}'. {near(column, known)}".rstrip()
            for key, column in missing
        ]
        raise DataError("\n".join(lines), f"It has: {', '.join(known)}.")
