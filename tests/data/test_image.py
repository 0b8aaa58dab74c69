"""Images of every format, mode and orientation come out as upright RGB, or as a MediaError."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFile

from harness.data.image import DecodedImage, EncodedImage
from harness.data.pixels import MAX_PIXELS
from harness.errors import MediaError
from tests.data.pictures import HEIGHT, WIDTH, picture, png_header, saved

EXACT: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("BMP", {}),
    ("PPM", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
]
EXACT += [("WEBP", {"lossless": True}), ("JPEG2000", {})]
LOSSY: list[tuple[str, dict[str, Any]]] = [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95})]
LOSSY += [("JPEG", {"quality": 95, "progressive": True}), ("GIF", {})]
FORMATS = [*EXACT, *LOSSY]
ALL_TURNS = [
    (1, None),
    (2, Pillow.Transpose.FLIP_LEFT_RIGHT),
    (3, Pillow.Transpose.ROTATE_180),
    (4, Pillow.Transpose.FLIP_TOP_BOTTOM),
    (5, Pillow.Transpose.TRANSPOSE),
    (6, Pillow.Transpose.ROTATE_90),
    (7, Pillow.Transpose.TRANSVERSE),
    (8, Pillow.Transpose.ROTATE_270),
]


def loaded(data: bytes) -> np.ndarray[Any, Any]:
    """Pixels of an encoded image, shape (height, width, 3)."""
    image = EncodedImage(data, name="photo").load()
    assert image.mode == "RGB"
    return np.asarray(image)


def pixel(image: Pillow.Image, **options: Any) -> tuple[int, ...]:
    """The upper left pixel after a trip through PNG (or `format`)."""
    return tuple(int(value) for value in loaded(saved(image, **{"format": "PNG", **options}))[0, 0])


@pytest.mark.parametrize(("file_format", "options"), EXACT, ids=str)
def test_lossless_formats(file_format: str, options: dict[str, Any]) -> None:
    image = EncodedImage(saved(picture(), file_format, **options))
    assert image.size() == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(np.asarray(image.load()), np.asarray(picture()))


@pytest.mark.parametrize(("file_format", "options"), LOSSY, ids=str)
def test_lossy_formats(file_format: str, options: dict[str, Any]) -> None:
    pixels = loaded(saved(picture(), file_format, **options)).astype(int)
    assert np.abs(pixels - np.asarray(picture(), int)).mean() < 8


def test_grey_of_sixteen_bits_is_scaled_and_not_clipped() -> None:
    grey = Pillow.fromarray(np.array([[0, 250, 257, 32768, 65535]], np.uint16))
    for file_format in ("PNG", "TIFF", "PPM"):
        assert loaded(saved(grey, file_format))[0, :, 0].tolist() == [0, 1, 1, 128, 255]


def test_a_hole_in_grey_of_sixteen_bits_is_white() -> None:
    grey = Pillow.fromarray(np.array([[0, 257]], np.uint16))
    assert loaded(saved(grey, "PNG", transparency=257))[0, :, 0].tolist() == [0, 255]


def test_floats_in_a_file() -> None:
    for values, expected in (([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 2.0], None), ([np.nan], None)):
        data = saved(Pillow.fromarray(np.array([values], np.float32)), "TIFF")
        if expected:
            assert loaded(data)[0, :, 0].tolist() == expected
        else:
            with pytest.raises(MediaError, match=r"photo: .*floats outside of \[0, 1\]"):
                loaded(data)


def test_whole_numbers_of_thirty_two_bits_have_no_white() -> None:
    data = saved(Pillow.fromarray(np.array([[70_000]], np.int32)), "TIFF")
    with pytest.raises(MediaError, match="photo: the image's pixels are int32"):
        loaded(data)


def test_cmyk_is_converted() -> None:
    cyan = Pillow.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert pixel(cyan, format="TIFF") == (0, 255, 255)
    assert np.abs(np.subtract(pixel(cyan, format="JPEG", quality=95), (0, 255, 255))).max() < 8


def test_transparency_is_seen_over_white() -> None:
    assert pixel(Pillow.new("RGBA", (2, 2), (255, 0, 0, 0))) == (255, 255, 255)
    assert pixel(Pillow.new("RGBA", (2, 2), (255, 0, 0, 255))) == (255, 0, 0)
    assert pixel(Pillow.new("RGBA", (2, 2), (0, 0, 0, 128))) == (127, 127, 127)
    assert pixel(Pillow.new("LA", (2, 2), (0, 128))) == (127, 127, 127)
    assert pixel(Pillow.new("RGB", (2, 2), (9, 9, 9)), transparency=(9, 9, 9)) == (255, 255, 255)
    assert pixel(Pillow.new("L", (2, 2), 9), transparency=9) == (255, 255, 255)


def test_palettes_with_and_without_transparency() -> None:
    image = Pillow.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert loaded(saved(image, "PNG"))[0].tolist() == [[10, 20, 30], [200, 100, 50]]
    assert loaded(saved(image, "PNG", transparency=0))[0].tolist() == [[255] * 3, [200, 100, 50]]
    half = loaded(saved(image, "PNG", transparency=bytes([255, 0])))
    assert half[0].tolist() == [[10, 20, 30], [255] * 3]
    assert loaded(saved(image, "GIF", transparency=1))[0].tolist() == [[10, 20, 30], [255] * 3]


def test_black_and_white() -> None:
    assert pixel(Pillow.new("1", (2, 2), 1)) == (255, 255, 255)


@pytest.mark.parametrize(("orientation", "seen"), ALL_TURNS)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_images_stand_upright(file_format: str, orientation: int, seen: Pillow.Transpose | None) -> None:
    """`seen` is the turn that the camera made, which the orientation takes back."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    turned = picture() if seen is None else picture().transpose(seen)
    image = EncodedImage(saved(turned, file_format, exif=exif.tobytes(), quality=95, lossless=True))
    assert image.size() == (WIDTH, HEIGHT)
    pixels = np.asarray(image.load(), int)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(pixels - np.asarray(picture(), int)).mean() < (10 if file_format == "JPEG" else 0.001)


def test_a_broken_orientation_leaves_the_picture_as_it_is() -> None:
    data = saved(picture(), "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff broken")
    np.testing.assert_array_equal(loaded(data), np.asarray(picture()))


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_shows_its_first_frame(file_format: str) -> None:
    frames = [Pillow.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    data = saved(frames[0], file_format, save_all=True, append_images=frames[1:])
    red, green, blue = loaded(data)[0, 0]
    assert red > 250
    assert max(green, blue) < 5


@pytest.mark.parametrize(("file_format", "options"), FORMATS, ids=str)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_truncated_image_is_refused(file_format: str, options: dict[str, Any], share: float) -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    data = saved(picture(), file_format, **options)
    with pytest.raises(MediaError, match="photo: "):
        loaded(data[: int(len(data) * share)])


def test_a_damaged_image_is_never_another_error() -> None:
    rng = np.random.default_rng(0)
    for file_format, options in FORMATS:
        data = np.frombuffer(saved(picture(), file_format, **options), np.uint8)
        for _ in range(40):
            damaged = data.copy()
            damaged[rng.integers(min(len(data), 300), size=4)] = rng.integers(256, size=4)
            image = EncodedImage(damaged.tobytes())
            try:
                assert image.load().size == image.size()
            except MediaError:
                continue


UNREADABLE = [
    (b"", "the image is empty"),
    (b"this is a text file, not an image\n" * 50, "not an image that can be read"),
    (bytes(5_000), "not an image that can be read"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that can be read"),
    (png_header(0, 5), "not an image that can be read"),
]


@pytest.mark.parametrize(("data", "reason"), UNREADABLE, ids=["empty", "text", "zeros", "EPS", "no pixels"])
def test_what_is_no_image(data: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(data)
    for method in (EncodedImage.load, EncodedImage.size):
        with pytest.raises(MediaError, match=reason) as caught:
            method(EncodedImage(file))
        assert str(file) in str(caught.value)


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_an_image_bomb_is_refused_by_its_header(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where somebody told Pillow that any size is fine."""
    bomb = EncodedImage(png_header(side, side), name="bomb.png")
    assert side * side > MAX_PIXELS
    for method in (EncodedImage.size, EncodedImage.load):
        with pytest.raises(MediaError, match=r"bomb\.png: refused as an image bomb"):
            method(bomb)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(MediaError, match=rf"bomb: {side} x {side}, more than 89,478,485 pixels"):
        bomb.load()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_the_size_needs_the_header_alone(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, decoded = saved(picture(), file_format), list[object]()
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image))
    assert EncodedImage(data).size() == (WIDTH, HEIGHT)
    assert not decoded
    assert EncodedImage(png_header(300, 200)).size() == (300, 200)


def test_text_that_unpacks_to_gigabytes_is_refused() -> None:
    packed = b"note\0\0" + zlib.compress(bytes(100_000_000))
    chunk = struct.pack(">I", len(packed)) + b"zTXt" + packed
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + packed))
    data = saved(picture(), "PNG")
    with pytest.raises(MediaError, match="photo: the image can't be decoded"):
        loaded(data[:33] + chunk + data[33:])


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for method in (EncodedImage.digest, EncodedImage.size, EncodedImage.load):
        with pytest.raises(MediaError, match="no such file"):
            method(EncodedImage(tmp_path / "missing.png"))
        with pytest.raises(MediaError, match="can't be read"):
            method(EncodedImage(tmp_path))


def test_a_file_and_its_bytes_are_the_same_image(tmp_path: Path) -> None:
    data = saved(picture(), "PNG")
    file = tmp_path / "photo.png"
    file.write_bytes(data)
    assert EncodedImage(file).digest() == EncodedImage(data).digest()
    assert EncodedImage(file).load() == EncodedImage(data).load()


def test_arrays_of_bytes_words_and_floats() -> None:
    pixels = np.asarray(picture())
    arrays = [
        pixels,
        pixels.astype(np.uint16) * 257,
        pixels / 255,
        pixels.astype(">u2") * 257,
        pixels[:, ::1],
    ]
    images = [DecodedImage(array) for array in arrays]
    for image in images:
        np.testing.assert_array_equal(np.asarray(image.load()), pixels)
        assert image.size() == (WIDTH, HEIGHT)
    assert len({image.digest() for image in images}) == 1
    grey = DecodedImage(pixels[:, :, 0])
    assert np.asarray(grey.load())[5, 7].tolist() == [pixels[5, 7, 0]] * 3
    assert grey.digest() != images[0].digest()


def test_an_array_with_alpha_is_seen_over_white() -> None:
    assert DecodedImage(np.zeros((2, 2, 4), np.uint8)).load().getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((0, 4), np.uint8), "holds no pixels"),
        (np.zeros((4, 0, 3), np.uint8), "holds no pixels"),
        (np.zeros((3, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((3, 32, 32), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.full((2, 2), 255.0), r"floats outside of \[0, 1\]"),
        (np.full((2, 2), np.nan), r"floats outside of \[0, 1\]"),
        (np.full((2, 2), 7, np.int64), "int64"),
        (np.full((2, 2), True), "bool"),
        ([[1, 2], [3]], "no array"),
        (Pillow.new("RGB", (0, 4)), "holds no pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_array_that_is_no_image(array: Any, reason: str) -> None:
    with pytest.raises(MediaError, match=f"photo: .*{reason}"):
        DecodedImage(array, name="photo")


def test_an_image_of_pillows_is_brought_upright_and_kept() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    turned = picture().transpose(Pillow.Transpose.ROTATE_90)
    image = DecodedImage(Pillow.open(io.BytesIO(saved(turned, "PNG", exif=exif))))
    assert 0x0112 not in image.load().getexif()
    assert image.load() == picture()
    image.load().putpixel((0, 0), (1, 2, 3))
    assert image.load() == picture()


def test_a_broken_image_of_pillows() -> None:
    data = saved(picture(), "PNG")
    with pytest.raises(MediaError, match="photo: the image can't be decoded"):
        DecodedImage(Pillow.open(io.BytesIO(data[: len(data) // 2])), name="photo")


def test_threads_share_an_image(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(saved(picture(), "JPEG"))
    image = EncodedImage(file)
    alone = image.load()
    with ThreadPoolExecutor(8) as pool:
        assert all(other == alone for other in pool.map(lambda _: image.load(), range(32)))
        assert len(set(pool.map(lambda _: image.digest(), range(8)))) == 1
