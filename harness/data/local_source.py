"""Datasets on this machine: which files hold the split that a task asks for.

A file given by its own path serves every split: the task says which file that is. In a folder a split is

    test/                       a folder of that name, which may hold any of the following
    test.jsonl .csv .tsv        a file of that name (Common Voice's releases: test.tsv beside clips/)
    test-00000-of-00002.parquet shards of that name
    test-000.tar                WebDataset shards: files of one stem are a row, their suffixes its columns
    metadata.jsonl .csv         of clips or images: `file_name` is the file, also called `audio` or `image`
    cat/ dog/                   a folder of clips or images per class: columns `audio` or `image`, `label`
    the only data file          unless it bears another split's name

here or under data/, and under a folder of the configuration's name when the task gives one. Folders that
`Dataset.save_to_disk` wrote are read too. Relative paths of media are relative to the file that names them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from harness.data.arrow_rows import ParquetRows, saved_rows, webdataset_rows
from harness.data.media_folder import ALIASES, class_files, column_of, media_folder
from harness.data.rows import Opened, Request, Rows
from harness.data.text_rows import FORMATS, TextRows
from harness.errors import DataError
from harness.registry import near

SUFFIXES = (*FORMATS, ".parquet", ".tar")
_SPLITS = frozenset({"train", "training", "validation", "valid", "val", "dev", "test", "eval", "evaluation"})
_SHARD = r"(-\d+(-of-\d+)?)?"
_GLANCED_AT = 10_000
_SAVED_DATASET, _SAVED_SPLITS = "state.json", "dataset_dict.json"


def open_local(request: Request, path: Path) -> Opened:
    """The rows of a split of a file or folder. Raises DataError saying what was looked for."""
    try:
        return Opened(_file_rows(path, request) if path.is_file() else _folder_rows(path, request))
    except OSError as error:  # a folder that may not be listed, a name that the disk doesn't take
        raise DataError(f"{path}: can't be read: {error.strerror or error}") from error


def _file_rows(path: Path, request: Request) -> Rows:
    if request.name is not None:
        raise DataError(f"{path}: a file has no configurations, but data.name is '{request.name}'")
    return _read([path], request)


def _folder_rows(path: Path, request: Request) -> Rows:
    if not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder (data.path)")
    folder = _configuration(path, request)
    if (folder / _SAVED_DATASET).exists():
        return saved_rows(folder)
    if (folder / _SAVED_SPLITS).exists():
        return saved_rows(_saved_split(folder, request))
    return _read(_files(folder, request), request)


def _configuration(path: Path, request: Request) -> Path:
    if request.name is None:
        return path
    if (path / request.name).is_dir():
        return path / request.name
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    hint = near(request.name, folders) or (
        f"It has: {', '.join(folders)}." if folders else "It has no folders."
    )
    raise DataError(f"{path} has no folder '{request.name}' (data.name)", hint)


def _saved_split(folder: Path, request: Request) -> Path:
    if (folder / request.split).is_dir():
        return folder / request.split
    splits = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    hint = near(request.split, splits) or f"It has: {', '.join(splits)}."
    raise DataError(f"{folder} has no split '{request.split}'", hint)


def _read(files: Sequence[Path], request: Request) -> Rows:
    first = files[0]
    if first.suffix == ".parquet":
        return ParquetRows(files, first.parent)
    if first.suffix == ".tar":
        return webdataset_rows(files)
    if column_of(first):
        return media_folder(files, str(request))
    if first.suffix.lower() not in FORMATS:
        raise DataError(
            f"{first}: files of type '{first.suffix}' can't be read",
            f"Known: {', '.join(SUFFIXES)}, or a folder.",
        )
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{first.parent} holds several files for split '{request.split}': {names}")
    return TextRows(first, ALIASES)


def _files(folder: Path, request: Request) -> list[Path]:
    """The file or the shards of a split."""
    places = [place for place in (folder, folder / "data") if place.is_dir()]
    for place in places:
        if (place / request.split).is_dir():
            return _whole(place / request.split, request)
    for place in places:
        named = [
            file for file in _tables(place) if re.fullmatch(re.escape(request.split) + _SHARD, file.stem)
        ]
        if named:
            return named
    for place in places:
        if files := _metadata(place) or _unclaimed(place) or _unclaimed_classes(place):
            return files
    raise _nothing(folder, request)


def _whole(folder: Path, request: Request) -> list[Path]:
    """Every row of a folder that is the split."""
    files = _metadata(folder) or _tables(folder) or class_files(folder)
    if not files:
        raise _nothing(folder, request)
    return files


def _tables(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())


def _metadata(folder: Path) -> list[Path]:
    return [file for file in _tables(folder) if file.stem == "metadata"][:1]


def _unclaimed(folder: Path) -> list[Path]:
    """The only data file of a folder, when its name isn't another split's."""
    tables = _tables(folder)
    claimed = [file for file in tables if re.split(r"[-_.]", file.stem)[0].lower() in _SPLITS]
    return tables if len(tables) == 1 and not claimed else []


def _unclaimed_classes(folder: Path) -> list[Path]:
    """The files of a folder per class, when no class bears a split's name."""
    files = class_files(folder)
    return [] if any(file.parent.name.lower() in _SPLITS for file in files) else files


def _nothing(folder: Path, request: Request) -> DataError:
    if kind := _glanced(folder):
        says = {"audio": "what is spoken", "image": "what they show"}[kind]
        files = {"audio": "audio", "image": "images"}[kind]
        return DataError(
            f"{folder} holds {files} but nothing that says {says}",
            'Add metadata.jsonl with a line {"file_name": "1.suffix", "text": "..."} per file '
            "(or metadata.csv), and map data.columns.target to its column; or have a folder per class.",
        )
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    found = f"It holds: {', '.join(entries[:20])}." if entries else "It is empty."
    split = request.split
    wanted = f"{split}.jsonl, {split}.csv, {split}.tsv, {split}*.parquet or a folder {split}/"
    return DataError(f"{folder} has no split '{split}': none of {wanted}", found)


def _glanced(folder: Path) -> str:
    """Whether there is audio or an image here or below, as far as a glance shows: it may be a whole disk."""
    glance = islice(folder.rglob("*"), _GLANCED_AT)
    return next((kind for file in glance if (kind := column_of(file))), "")
