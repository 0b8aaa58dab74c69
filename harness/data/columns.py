"""Is every column there that the task maps? Checked before any model is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.errors import DataError
from harness.registry import near


def require_columns(wanted: Mapping[str, str], present: Iterable[str], where: str, what: str) -> None:
    """Raises DataError naming every missing column. `wanted` maps a key of `where` to a column of `what`."""
    known = list(present)
    missing = {key: column for key, column in wanted.items() if column not in known}
    if missing:
        lines = [
            f"{where}.{key}: {what} has no column '{column}'. {near(column, known)}".rstrip()
            for key, column in missing.items()
        ]
        raise DataError("\n".join(lines), f"It has: {', '.join(known)}.")
