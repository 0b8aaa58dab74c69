"""From what a user types to a task file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.errors import UsageError
from harness.registry import near
from harness.shipped import shipped


def find(task: str) -> Path:
    """The file of a task given as a path or as the name of a shipped task.

    `fleurs_asr`, `quickstart/spoken_digits` and `tasks/fleurs_asr.yaml` all find the shipped
    file when no file of that name is here. Raises UsageError with the near name.
    """
    for written in (task, f"{task}.yaml"):
        file = existing(written) if Path(task).name else None
        if file is not None and file.is_file():
            return file
    wanted = task.removeprefix("./").removeprefix("tasks/").removesuffix(".yaml")
    names = dict(shipped_tasks())
    if wanted in names:
        return names[wanted]
    hint = near(wanted, names) or "`harness list tasks` shows the shipped ones."
    raise UsageError(f"there is no task file '{task}', and no shipped task of that name", hint)


def shipped_tasks() -> Iterator[tuple[str, Path]]:
    """Name and file of every shipped task; what tasks only extend (kinds/) is left out."""
    root = shipped("tasks")
    for file in sorted(root.rglob("*.yaml")):
        name = file.relative_to(root).with_suffix("").as_posix()
        if not name.startswith("kinds/"):
            yield name, file


def extended_file(name: str, by: Path) -> Path | None:
    """The file that `extends: name` in the file `by` means: beside it, in a folder above, or shipped."""
    wanted = name.removesuffix(".yaml") + ".yaml"
    folders = [by.parent, *list(by.resolve().parents)[1:4], shipped("tasks")]
    places = [existing(folder / wanted) for folder in folders] if Path(name).name else []
    return next((found for found in places if found is not None and found.is_file()), None)


def existing(path: str | Path) -> Path | None:
    """The path with ~ expanded; None where nothing is there.

    Nor can there be where the name is too long, holds a NUL, or is a home of nobody: what users type
    may be any text, and looking must not fail.
    """
    try:
        expanded = Path(path).expanduser()
        return expanded if expanded.exists() else None
    except (OSError, ValueError, RuntimeError):
        return None
