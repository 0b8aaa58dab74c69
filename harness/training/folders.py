"""Folders that appear whole or not at all: written beside, synced, renamed."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import RunError
from harness.results.files import TEMPORARY, make_folder, sync_folder

ABANDONED_SECONDS = 24 * 60 * 60
"""Age at which a folder that was never finished is nobody's any more."""


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `final` when the block ends and is gone when it raises.

    What is at `final` already stays until then and is replaced. Raises RunError when there is no room.
    """
    with _room(final):
        make_folder(final.parent)
        _sweep(final)
        writing = _beside(final)
        writing.mkdir()
        try:
            yield writing
            _open_to_all(writing)
            _sync(writing)
            _swap(writing, final)
        except BaseException:
            shutil.rmtree(writing, ignore_errors=True)
            raise


@contextmanager
def _room(final: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{final} can't be written: {error}",
            "Make room there, see that the folder is yours to write to, and run the same command again.",
        ) from error


def _beside(final: Path) -> Path:
    return final.parent / f".{final.name}.{uuid.uuid4().hex}{TEMPORARY}"


def _open_to_all(folder: Path) -> None:
    """Give files the mode of any new file: safetensors makes its own for the owner alone."""
    example = folder / ".mode"
    example.touch()
    mode = example.stat().st_mode & 0o777  # asking for the umask itself would change it for other threads
    example.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def _swap(writing: Path, final: Path) -> None:
    """Two renames: a folder can't be renamed onto one that holds something."""
    old = _beside(final)
    if final.exists():
        final.rename(old)
    writing.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sweep(final: Path) -> None:
    """Remove what killed processes left, not what living ones are writing."""
    limit = time.time() - ABANDONED_SECONDS
    for path in final.parent.glob(f".{final.name}.*{TEMPORARY}"):
        if path.stat().st_mtime < limit:
            shutil.rmtree(path, ignore_errors=True)
