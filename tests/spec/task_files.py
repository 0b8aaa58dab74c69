"""Task files that a test writes: what becomes of one, what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.spec.load import ResolvedTask, load
from harness.spec.resolve import parse_setting


def only(file: Path, *settings: str) -> ResolvedTask:
    [resolved] = load(file, [parse_setting(text) for text in settings])
    return resolved


def complaints(file: Path, *settings: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(file, [parse_setting(text) for text in settings])
    return [str(fault).replace(f"{file.parent}/", "") for fault in caught.value.faults]
