"""Media as they are stored, whatever they are: a file, or the bytes of one."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, ClassVar

from harness.errors import MediaError
from harness.types import Media


class Encoded(Media):
    """A file, or the bytes of one.

    `name` is what messages call it; its suffix tells the format where the bytes don't.
    Safe to use from several threads.
    """

    _what: ClassVar[str]
    """What messages call this sort of media."""

    def __init__(self, source: bytes | Path, *, name: str = "") -> None:
        self._source = source
        self._name = name or (str(source) if isinstance(source, Path) else self._what)
        self._digest: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def encoded(self) -> bytes:
        """The file's bytes, as stored. Raises MediaError."""
        with self._open() as file:
            return file.read()

    def digest(self) -> str:
        if self._digest is None:
            with self._open() as file:
                self._digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        return self._digest

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        """The encoded bytes as a new file object, so that threads don't share a position."""
        try:
            with _reader(self._source) as file:
                if not file.seek(0, io.SEEK_END):
                    raise MediaError(f"{self._name}: the {self._what} is empty (0 bytes)")
                file.seek(0)
                yield file
        except FileNotFoundError as error:
            raise MediaError(f"{self._name}: there is no such file") from error
        except OSError as error:
            raise MediaError(f"{self._name}: can't be read: {error.strerror or error}") from error


def _reader(source: bytes | Path) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
