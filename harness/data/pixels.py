"""Whatever Pillow can open, as upright RGB with 8 bits per channel.

An image that is cut off or damaged is a MediaError, never a picture with a grey lower half: Pillow's
LOAD_TRUNCATED_IMAGES stays off. Colour profiles are not applied; neither do the processors that
checkpoints were trained with.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from harness.errors import MediaError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MAX_PIXELS = 1024 * 1024 * 1024 // 4 // 3
"""Pixels that an image may have: a quarter of a GiB of RGB, above which Pillow warns of a bomb."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "PPM")
"""Formats that datasets hold. Of the others some run programs (EPS runs Ghostscript)."""
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})
_WITH_ALPHA = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
_SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})

# Pillow's own advice. A filter within `catch_warnings` wouldn't be safe in threads.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


@contextmanager
def opened(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    """The image of a file, its header read and nothing decoded.

    Raises MediaError, also for whatever Pillow raises in the block.
    """
    with _media_errors(name), Image.open(file, formats=_formats()) as image:
        if image.width * image.height > MAX_PIXELS:
            size = f"{image.width} x {image.height}"
            raise MediaError(f"{name}: refused as an image bomb: {size}, more than {MAX_PIXELS:,} pixels")
        yield image


def decoded(pixels: ArrayLike | Image.Image, name: str) -> Image.Image:
    """An array, or an image of Pillow's, as upright RGB. Raises MediaError."""
    with _media_errors(name):
        return upright_rgb(pixels if isinstance(pixels, Image.Image) else _from_array(pixels, name), name)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height in pixels once the image stands upright; nothing is decoded."""
    width, height = image.size
    return (height, width) if _orientation(image) in _ON_ITS_SIDE else (width, height)


def upright_rgb(image: Image.Image, name: str) -> Image.Image:
    """A new image in mode RGB, turned as its EXIF orientation says, what is transparent over white.

    Raises MediaError for pixels whose white isn't known: 32-bit integers, floats outside of [0, 1].
    """
    if not image.width * image.height:
        raise MediaError(f"{name}: the image holds no pixels, its size is {image.width} x {image.height}")
    orientation = _orientation(image)  # before it is decoded: a TIFF is turned then, and forgets its tag
    image.load()
    colours = _over_white(_eight_bits(image, name))
    colours.info = {}  # whoever reads the orientation there would turn the image once more
    turn = _TURNS.get(orientation)
    return colours if turn is None else colours.transpose(turn)


def _from_array(pixels: ArrayLike, name: str) -> Image.Image:
    """An array of shape (height, width[, 3 or 4]) as an image of 8 bits. Raises MediaError for any other."""
    try:
        array = np.asarray(pixels)
    except (ValueError, TypeError, OverflowError) as error:
        raise MediaError(f"{name}: the image's pixels are no array: {error}") from error
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise MediaError(
            f"{name}: the image's pixels have shape {array.shape}, not (height, width[, 3 or 4])"
        )
    if not array.size:
        raise MediaError(f"{name}: the image holds no pixels, its shape is {array.shape}")
    return Image.fromarray(np.ascontiguousarray(_bytes(array, name)))


def _bytes(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """The same values with 8 bits: black stays 0 and white becomes 255."""
    if array.dtype == np.uint8:
        return np.asarray(array, np.uint8)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind != "f":
        raise MediaError(
            f"{name}: the image's pixels are {array.dtype}, not 8 or 16 bits unsigned or floats in [0, 1]"
        )
    if not (array.min() >= 0 and array.max() <= 1):  # so written that NaN is refused, too
        raise MediaError(f"{name}: the image's pixels are floats outside of [0, 1]")
    return np.asarray(np.rint(array * 255), np.uint8)


@cache
def _formats() -> tuple[str, ...]:
    """Those that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _media_errors(name: str) -> Iterator[None]:
    try:
        yield
    except MediaError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise MediaError(f"{name}: refused as an image bomb: {error}") from error
    except UnidentifiedImageError as error:
        known = ", ".join(_formats())
        raise MediaError(f"{name}: not an image that can be read (formats: {known})") from error
    except Exception as error:  # a damaged file meets Pillow's parsers anywhere, and so raises anything
        raise MediaError(f"{name}: the image can't be decoded: {error or type(error).__name__}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 (upright) where there is none or it can't be read."""
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    try:
        # Not the method of the class: PNG's decodes the whole file in search of a late chunk.
        return int(Image.Image.getexif(image).get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  a broken note on the camera leaves the picture as it is
        return 1


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """An image of 16 bits or of floats scaled, not clipped; any other as it is."""
    if image.mode in _SIXTEEN_BITS:
        grey = np.asarray(image)
        scaled = _from_array(grey.astype(np.uint16), name)
        if (hole := image.info.get("transparency")) is not None:
            scaled.putalpha(Image.fromarray(np.where(grey == hole, 0, 255).astype(np.uint8)))
        return scaled
    if image.mode == "I" and image.format == "PPM":  # scaled to 16 bits by its reader
        return _from_array(np.asarray(image).astype(np.uint16), name)
    return _from_array(np.asarray(image), name) if image.mode in ("I", "F") else image


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode not in _WITH_ALPHA and "transparency" not in image.info:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
