"""A data section laid over another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.spec.kinds import MESSAGES, STOOD_FOR


def overlaid(data: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A data section with another laid over it: mappings merge deep, everything else is replaced.

    Options are their builder's, and `where` names a dataset's own columns, so neither passes to another path.
    Where conversations are laid over questions, the columns that they stand for go, and so does any column
    that is laid over with null.
    """
    if over.get("path", data.get("path")) != data.get("path"):
        data = {key: value for key, value in data.items() if key not in ("options", "where")}
    own, columns = data.get("columns"), over.get("columns")
    if isinstance(own, Mapping) and isinstance(columns, Mapping) and MESSAGES in columns:
        kept = {name: value for name, value in own.items() if name not in STOOD_FOR}
        data = {**data, "columns": kept}
    merged = _merged(data, over)
    if isinstance(merged.get("columns"), Mapping):
        merged["columns"] = {name: value for name, value in merged["columns"].items() if value is not None}
    return merged


def _merged(data: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(data)
    for key, value in over.items():
        own = merged.get(key)
        both = isinstance(own, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(own, value) if both else value  # type: ignore[arg-type]
    return merged
