"""Where shipped tasks, boards and spaces are: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).parent


def shipped(kind: Literal["tasks", "leaderboards", "spaces"]) -> Path:
    """The folder of shipped files of one kind."""
    inside = _PACKAGE / "_shipped" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind
