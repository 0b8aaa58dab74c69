"""Where tests of data keep what the `datasets` library caches, and files that they read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.data import Dataset, load
from harness.spec.schema import Data

COLUMNS = {"audio": "audio", "target": "text"}


@pytest.fixture
def load_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Dataset]:
    """`load_from("./rows.jsonl", columns=...)`: a dataset relative to the test's folder."""

    def run(path: str, *, limit: int | None = None, seed: int = 0, split: Any = None, **data: Any) -> Dataset:
        spec = Data(**{"path": path, "columns": COLUMNS, **data})
        inputs = tuple(name for name in ("audio", "image", "question") if name in spec.columns)
        return load(spec, base=tmp_path, inputs=inputs, limit=limit, seed=seed, split=split)

    return run


@pytest.fixture
def arrow_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `datasets` library's cache in the test's folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")


@pytest.fixture
def write_jsonl(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows (or lines as they are) to a file below the test's folder."""

    def write(name: str, rows: Sequence[Mapping[str, Any] | str]) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(dict(row)) for row in rows]
        file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return file

    return write
