"""What tests of task files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a text as the test's task file."""

    def write(text: str) -> Path:
        file = tmp_path / "task.yaml"
        file.write_text(text)
        return file

    return write
