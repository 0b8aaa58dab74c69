"""Small images to test with."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 48, 32


def picture(seed: int = 0) -> Image.Image:
    """Smooth colours that no turn or flip leaves as they are."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return Image.fromarray(np.stack([x * 5, y * 7, x * y % 97 + 40 * seed], axis=-1).astype(np.uint8))


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:  # noqa: A002  Pillow's name
    """An image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def write_pictures(folder: Path, *names: str) -> None:
    """PNG files that differ from each other."""
    for seed, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(saved(picture(seed)))


def write_shard(file: Path, first: int, count: int, **extra: bytes) -> None:
    """A WebDataset shard: pictures with their classes, numbered 0 to 2 in turn."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for number in range(first, first + count):
            members = {"cls": str(number % 3).encode(), "webp": saved(picture(number % 3), "WEBP"), **extra}
            for suffix, content in members.items():
                member = tarfile.TarInfo(f"s{number:07d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def png_header(width: int, height: int) -> bytes:
    """A PNG that ends where its pixels would begin."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
