"""Files that appear whole or not at all: temporary name, sync, rename, sync of the folder.

Every OSError becomes a HarnessError that names the file and the cure.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harness.errors import HarnessError, ResultError, RunError

TEMPORARY = ".tmp"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def temporary_beside(path: Path) -> Path:
    """A new hidden name in the same folder, so that renaming it to `path` is atomic."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}"


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file, on disk when the block ends and gone when it raises."""
    try:
        with writing(path):
            make_folder(path.parent)
            stream = path.open("xb")
        try:
            yield stream
            with writing(path):
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            with writing(path):  # closing writes what is still buffered, so it fails on a full disk too
                stream.close()
    except BaseException:
        with suppress(OSError):  # the error that brought us here is the one to tell
            path.unlink(missing_ok=True)
        raise


def publish(temporary: Path, final: Path, *, replace: bool = False) -> None:
    """Give a synced file its final name; a file that has the name already stays, unless told otherwise."""
    with writing(final):
        make_folder(final.parent)
        if final.exists() and not replace:
            temporary.unlink(missing_ok=True)
        else:
            temporary.replace(final)
        sync_folder(final.parent)


def write_whole(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Write a file that readers see whole or not at all; an existing one is kept, unless told otherwise."""
    temporary = temporary_beside(path)
    with new_file(temporary) as stream, writing(path):
        stream.write(content)
    publish(temporary, path, replace=replace)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the block's OSErrors into RunError (the disk is full) or ResultError (it isn't ours to write)."""
    try:
        yield
    except OSError as error:
        raise _typed(path, error) from error


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each one synced."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _typed(path: Path, error: OSError) -> HarnessError:
    shown = path.parent if path.suffix == TEMPORARY else path
    message = f"{shown}: can't be written to: {error.strerror or error}"
    if error.errno in _FULL:
        return RunError(
            message, "Free some space or pass --results with a folder on another disk, then run again."
        )
    return ResultError(message, "Pass --results with a folder that you can write to.")
