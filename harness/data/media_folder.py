"""Folders of clips or images: what is said about each stands in a metadata file, or is its folder's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.data.rows import ClassNames, Row, Rows
from harness.data.text_rows import FORMATS, TextRows
from harness.errors import DataError

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".webm", ".wma"})
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jp2", ".avif", ".ppm"}
)
ALIASES = {"audio": "file_name", "image": "file_name"}
"""What a metadata file's column is called besides: it names the clip or the image."""


def media_folder(files: Sequence[Path], what: str) -> Rows:
    """Clips or images by the one metadata file among the files, else by the folders that they stand in.

    Raises DataError when there are several metadata files, or nothing tells what is heard or seen.
    """
    metadata = [file for file in files if file.stem == "metadata" and file.suffix.lower() in FORMATS]
    if len(metadata) > 1:
        raise DataError(
            f"{what}: a folder needs one metadata.jsonl or metadata.csv, this one has {len(metadata)}"
        )
    if metadata:
        return TextRows(metadata[0], ALIASES)
    return ClassFolders([file for file in files if column_of(file)], what)


def column_of(file: Path) -> str:
    """What the file is, by its name: "audio", "image", or "" for neither. Hidden files are neither."""
    if file.name.startswith("."):  # macOS leaves ._1.png beside 1.png
        return ""
    suffix = file.suffix.lower()
    return "audio" if suffix in AUDIO_SUFFIXES else "image" if suffix in IMAGE_SUFFIXES else ""


def class_files(folder: Path) -> list[Path]:
    """The clips and images one folder below, none when fewer than two folders hold any.

    Raises DataError when there are some elsewhere, too: they would go missing without a word.
    """
    folders = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    entries = [entry for inner in folders for entry in inner.iterdir()]
    files = [entry for entry in entries if column_of(entry)]
    if len({file.parent for file in files}) < 2:
        return []
    strays = [entry for entry in folder.iterdir() if column_of(entry)]
    strays += [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    if strays:
        raise DataError(
            f"{min(strays)}: is not one folder below {folder}, where the folder's name is the class",
            "Move it, or say in metadata.jsonl what each file shows.",
        )
    return files


class ClassFolders(Rows):
    """Files whose folder's name is their class. Columns: audio or image, label (a number), file_name."""

    def __init__(self, files: Sequence[Path], what: str) -> None:
        self._files = sorted(files)
        names = sorted({file.parent.name for file in files})
        roots = {file.parent.parent for file in files}
        kinds = {column_of(file) for file in files}
        if len(names) < 2 or len(roots) > 1:
            raise DataError(
                f"{what}: nothing says what the files show: no metadata.jsonl or .csv, no folder per class",
                f"Folders found: {', '.join(names[:20]) or 'none'}.",
            )
        if len(kinds) > 1:
            raise DataError(f"{what}: the folders of classes hold both audio and images")
        self._column = kinds.pop()
        self._numbers = {name: number for number, name in enumerate(names)}
        self.media_root = roots.pop()
        self.columns = (self._column, "label", "file_name")

    @property
    def class_names(self) -> ClassNames:
        return {"label": tuple(self._numbers)}

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, position: int) -> Row:
        file = self._files[position]
        name = f"{file.parent.name}/{file.name}"
        row: dict[str, Any] = {
            self._column: name,
            "label": self._numbers[file.parent.name],
            "file_name": name,
        }
        return row
