"""Files with the names of classes, one on each line, that datasets have beside their rows."""

from __future__ import annotations

from pathlib import Path

from harness.errors import DataError

_LARGEST_BYTES = 10_000_000


def local_names_file(folder: Path, configuration: str | None, name: str) -> Path:
    """Where a dataset on this machine has the file: beside the configuration, else beside the dataset.

    Raises DataError when it isn't there.
    """
    places = [folder / configuration] if configuration else []
    for place in (*places, folder):
        if (place / name).is_file():
            return place / name
    raise DataError(f"{folder} has no file '{name}' (classes.names_file)", _beside(folder))


def read_names(file: Path) -> tuple[str, ...]:
    """The names in the order of their lines. Raises DataError for a file that isn't such a list."""
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise DataError(f"{file}: is too large to be a list of classes")
        lines = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as error:
        raise DataError(f"{file}: can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: isn't UTF-8 text: {error.reason} at byte {error.start}") from error
    names = tuple(line.strip() for line in lines)
    if "" in names:
        raise DataError(f"{file}:{names.index('') + 1}  is empty, where class {names.index('')} has its name")
    if len(names) < 2:
        raise DataError(f"{file}: names {len(names)} classes, and there must be at least two")
    return names


def _beside(folder: Path) -> str:
    if not folder.is_dir():
        return ""
    files = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    return f"Its files: {', '.join(files[:20])}." if files else "It has no files."
