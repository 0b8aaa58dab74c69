"""The task file's Python hook: a function from a row to a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import Any

from harness.data.rows import Row, Step
from harness.errors import DataError, RowError, SampleError
from harness.spec.digest import importable


def load_transform(reference: str, base: Path) -> Step:
    """The function that `package.module:function` names, wrapped so that its failures are RowErrors.

    `base`, the task file's folder, is searched after the usual places, and only during the import.
    Raises DataError when there is no such function, or its module can't be imported.
    """
    function = _function(reference, base)

    def step(row: Row) -> Row:
        try:
            changed = function(dict(row))
        except SampleError:
            raise
        except (Exception, SystemExit) as error:  # a user's code: whatever it raises is this row's failure
            raise RowError(f"{reference} raised {_described(error)}") from error
        if not isinstance(changed, Mapping):
            raise RowError(f"{reference} returned {type(changed).__name__}, not a row")
        return changed

    return step


def _function(reference: str, base: Path) -> Callable[[dict[str, Any]], Any]:
    module_name, _, function_name = reference.partition(":")
    try:
        with importable(base):
            module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise DataError(
            f"data.transform: there is no module '{error.name}'",
            f"Looked in {base.resolve()} and among the installed packages.",
        ) from error
    except (Exception, SystemExit) as error:  # a user's code, which runs on import
        raise DataError(
            f"data.transform: module '{module_name}' can't be imported: {_described(error)}"
        ) from error
    function = getattr(module, function_name, None)
    if function is None:
        raise DataError(f"data.transform: module '{module_name}' has no '{function_name}'")
    if not callable(function):
        raise DataError(
            f"data.transform: '{reference}' is {type(function).__name__}, not a function from a row to a row"
        )
    return function  # type: ignore[no-any-return]


def _described(error: BaseException) -> str:
    """An error's type, message and place: the file and line that raised it, or that can't be parsed."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}:{error.lineno})"
    place = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
