"""Images as samples carry them: read and decoded only when they are asked for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from harness.data.encoded import Encoded
from harness.data.pixels import decoded, opened, upright_rgb, upright_size
from harness.types import Image

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from PIL.Image import Image as PillowImage


class EncodedImage(Encoded, Image):
    """An image as a file, or as the bytes of one. Safe to use from several threads.

    What is transparent is seen over white; animations show their first frame.
    """

    _what = "image"

    def size(self) -> tuple[int, int]:
        with self._open() as file, opened(file, self._name) as image:
            return upright_size(image)

    def load(self) -> PillowImage:
        with self._open() as file, opened(file, self._name) as image:
            return upright_rgb(image, self._name)


class DecodedImage(Image):
    """An image that is decoded already: an array, or an image of Pillow's.

    Arrays have shape (height, width), grey, or (height, width, 3 or 4), colours and alpha; 8 or 16 bits
    unsigned, or floats in [0, 1]. What is transparent is seen over white.

    Raises MediaError when `pixels` is anything else.
    """

    def __init__(self, pixels: ArrayLike | PillowImage, *, name: str = "image") -> None:
        self._image = decoded(pixels, name)
        self._name = name

    def __repr__(self) -> str:
        return f"DecodedImage({self._name!r})"

    def digest(self) -> str:
        header = "{}x{} ".format(*self._image.size).encode()
        return hashlib.sha256(header + self._image.tobytes()).hexdigest()

    def size(self) -> tuple[int, int]:
        return self._image.size

    def load(self) -> PillowImage:
        return self._image.copy()
