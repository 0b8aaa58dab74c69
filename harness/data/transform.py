"""The task file's Python hook: a function from a row to a row."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from harness.data.rows import Row, Step
from harness.errors import DataError, RowError, SampleError


def load_transform(reference: str, base: Path) -> Step:
    """The function that `package.module:function` names, wrapped so that its failures are RowErrors.

    `base`, the task file's folder, is searched after the usual places, and only during the import.
    Raises DataError when there is no such function.
    """
    module_name, _, function_name = reference.partition(":")
    try:
        with _importable(base):
            function = getattr(import_module(module_name), function_name)
    except ModuleNotFoundError as error:
        raise DataError(
            f"data.transform: there is no module '{error.name}'",
            f"Looked in {base.resolve()} and among the installed packages.",
        ) from error
    except AttributeError as error:
        raise DataError(f"data.transform: module '{module_name}' has no '{function_name}'") from error

    def step(row: Row) -> Row:
        try:
            changed = function(dict(row))
        except SampleError:
            raise
        except Exception as error:  # a user's code: whatever it raises is this row's failure
            raise RowError(f"{reference} raised {type(error).__name__}: {error}") from error
        if not isinstance(changed, Mapping):
            raise RowError(f"{reference} returned {type(changed).__name__}, not a row")
        return changed

    return step


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    entry = str(folder.resolve())
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
