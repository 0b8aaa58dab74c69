"""Where the files that come with the harness are: in a checkout, and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

KINDS = ("tasks", "leaderboards", "spaces")
_PACKAGE = Path(__file__).parent


def shipped(kind: str) -> Path:
    """The folder of the shipped "tasks", "leaderboards" or "spaces".

    A wheel carries them inside the package; in a checkout they stand beside it. Raises ValueError for
    another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"nothing is shipped under '{kind}': {', '.join(KINDS)}")
    inside = _PACKAGE / "_shipped" / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind
