"""Rows of files that the `datasets` library reads: Arrow tables, memory-mapped from its cache.

Media columns are never decoded by the library: it would need torchcodec, and decoding is lazy here.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from io import SEEK_END
from pathlib import Path
from tarfile import TarError
from typing import Any

from harness.data.rows import ClassNames, Row, Rows, Stream
from harness.errors import DataError
from harness.remote import remote_errors

_TAR_BLOCK = 512  # bytes; an archive ends with two blocks of zeros, of which GNU tar, too, accepts one


class ArrowRows(Rows):
    """A `datasets.Dataset` as rows."""

    def __init__(self, dataset: Any, media_root: Path | None = None) -> None:
        self._dataset = _undecoded(dataset)
        self.columns = tuple(dataset.column_names)
        self.media_root = media_root

    @property
    def class_names(self) -> ClassNames:
        return class_names(self._dataset.features)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, position: int) -> Row:
        row: Row = self._dataset[position]
        return row

    def column(self, name: str) -> list[Any]:
        return list(self._dataset[name][:])

    def only(self, columns: Collection[str]) -> Rows:
        return ArrowRows(self._dataset.select_columns(sorted(columns)), self.media_root)


class ParquetRows(Rows):
    """Parquet files as rows: the columns are known from the schema, and only those asked for are read."""

    def __init__(
        self, files: Sequence[Path], media_root: Path | None = None, only: Collection[str] | None = None
    ) -> None:
        self._files = tuple(file for file in files if _has_rows(file))  # the library fails on an empty one
        if not self._files:
            raise DataError(f"{files[0]}: the file holds no rows")
        schema = _schema(self._files[0])
        self.columns = tuple(name for name in schema if only is None or name in only)
        self.media_root = media_root
        self._rows: ArrowRows | None = None
        self._lock = threading.Lock()

    @property
    def class_names(self) -> ClassNames:
        return class_names(_features(self._files[0]))

    def __len__(self) -> int:
        return len(self._read())

    def __getitem__(self, position: int) -> Row:
        return self._read()[position]

    def column(self, name: str) -> list[Any]:
        return self._read().column(name)

    def only(self, columns: Collection[str]) -> Rows:
        return ParquetRows(self._files, self.media_root, columns)

    def _read(self) -> ArrowRows:
        with self._lock:
            if self._rows is None:
                self._rows = read_files(
                    "parquet", self._files, {"columns": list(self.columns)}, self.media_root
                )
        return self._rows


def read_files(
    module: str, files: Sequence[Path], settings: Mapping[str, Any], media_root: Path | None = None
) -> ArrowRows:
    """Files on this machine as rows, read by a module of the `datasets` library (parquet, json, ...).

    Raises DataError when they can't be read.
    """
    return ArrowRows(_load(module, files, settings, streaming=False), media_root)


def webdataset_rows(files: Sequence[Path]) -> ArrowRows:
    """WebDataset shards as rows: files of one stem are a row, `__key__` is the stem, suffixes are columns.

    Raises DataError when they can't be read, or one is cut off: that ends like a shorter one.
    """
    for file in files:
        with file.open("rb") as opened:
            opened.seek(-min(_TAR_BLOCK, file.stat().st_size), SEEK_END)
            if opened.read() != bytes(_TAR_BLOCK):
                raise DataError(f"{file}: the archive is cut off, or none: it doesn't end as tar archives do")
    return read_files("webdataset", files, {})


def stream_files(module: str, files: Sequence[str | Path], settings: Mapping[str, Any], what: str) -> Stream:
    """Files (paths or hf:// addresses) as a stream of rows; `what` is what messages call them.

    Raises DataError when they can't be read, RemoteError when they can't be reached, then or in the stream.
    """
    dataset = _load(module, files, settings, streaming=True)
    with _unreadable(files), remote_errors(what):
        if dataset.column_names is None:
            dataset = dataset._resolve_features()
        names = class_names(dataset.features)
        return Stream(_Guarded(_undecoded(dataset), what), tuple(dataset.column_names), class_names=names)


@dataclass(frozen=True)
class _Guarded:
    """A `datasets.IterableDataset` whose failures are ours."""

    dataset: Any
    what: str

    def __iter__(self) -> Iterator[Row]:
        with _unreadable([self.what]), remote_errors(self.what):
            yield from self.dataset


def saved_rows(folder: Path) -> ArrowRows:
    """What `Dataset.save_to_disk` wrote. Raises DataError when it can't be read."""
    from datasets import load_from_disk

    with _unreadable([folder]):
        return ArrowRows(load_from_disk(str(folder)), folder)


def class_names(features: Mapping[str, Any] | None) -> ClassNames:
    """Names of classes, of the columns that `datasets` calls labels, or lists of such."""
    found = {}
    for name, feature in (features or {}).items():
        names = getattr(getattr(feature, "feature", feature), "names", None)
        if names:
            found[name] = tuple(names)
    return found


def _load(module: str, files: Sequence[str | Path], settings: Mapping[str, Any], *, streaming: bool) -> Any:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()  # of preparing files that are here already; downloads have their own
    with _unreadable(files), remote_errors(str(files[0])):
        return load_dataset(
            module,
            data_files={"rows": [str(file) for file in files]},
            split="rows",
            streaming=streaming,
            **settings,
        )


@contextmanager
def _unreadable(files: Sequence[str | Path]) -> Iterator[None]:
    from datasets.exceptions import DatasetsError
    from pyarrow import ArrowException

    try:
        yield
    except (DatasetsError, ArrowException, TarError, ValueError) as error:
        cause = error.__cause__ or error
        raise DataError(f"{files[0]}: can't be read: {type(cause).__name__}: {cause}") from error


def _has_rows(file: Path) -> bool:
    from pyarrow import parquet

    with _unreadable([file]):
        return bool(parquet.read_metadata(file).num_rows)


def _schema(file: Path) -> list[str]:
    from pyarrow import parquet

    with _unreadable([file]):
        return list(parquet.read_schema(file).names)


def _features(file: Path) -> Mapping[str, Any]:
    """As the file was written with, labels included."""
    from datasets import Features
    from pyarrow import parquet

    with _unreadable([file]):
        found: Mapping[str, Any] = Features.from_arrow_schema(parquet.read_schema(file))
    return found


def _undecoded(dataset: Any) -> Any:
    """The dataset with its media columns as {"bytes", "path"}."""
    for name, feature in (dataset.features or {}).items():
        if getattr(feature, "decode", False):
            undecoded = copy(feature)
            undecoded.decode = False
            dataset = dataset.cast_column(name, undecoded)
    return dataset
