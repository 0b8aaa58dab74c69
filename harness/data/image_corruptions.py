"""Six ways to damage an image, five severities each.

Constants are those of ImageNet-C, and of CIFAR-10-C for images of at most 64 pixels (Hendrycks & Dietterich
2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"; Gaussian blur is
one of their extra corruptions); greyscale is ours. ImageNet-C's images have 224 pixels: for noise, blur and
JPEG, whose effect depends on the size, an image whose shorter side is longer is first reduced to that.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.float64]  # shape (height, width, 3), in [0, 1]

SIDE = 224
SMALL_SIDE = 64
IMAGENET_C: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # standard deviation, of white
    "blur": (1, 2, 3, 4, 6),  # standard deviation of the Gaussian, in pixels
    "jpeg": (25, 18, 15, 10, 7),  # quality
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),  # added to the value (HSV), of white
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),  # what is left of the difference from the channel's mean
    "greyscale": (0.2, 0.4, 0.6, 0.8, 1.0),  # share of the pixel's grey (Rec. 601 luma) in what is seen
}
CIFAR_10_C: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "blur": (0.4, 0.6, 0.7, 0.8, 1),
    "jpeg": (80, 65, 58, 50, 40),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "greyscale": IMAGENET_C["greyscale"],
}
_LUMA = (0.299, 0.587, 0.114)
_SIZED = frozenset({"gaussian_noise", "blur", "jpeg"})


def corrupted_size(size: tuple[int, int], kind: str) -> tuple[int, int]:
    """Width and height in pixels that an image of this size has once it is corrupted."""
    shorter = min(size)
    if kind not in _SIZED or shorter <= SIDE:
        return size
    width, height = (round(side * SIDE / shorter) for side in size)
    return width, height


def corrupted_image(image: Image.Image, kind: str, severity: int, random: np.random.Generator) -> Image.Image:
    """The image (mode RGB) with the corruption of severity 1 to 5."""
    amount = (CIFAR_10_C if min(image.size) <= SMALL_SIDE else IMAGENET_C)[kind][severity - 1]
    size = corrupted_size(image.size, kind)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    if kind == "jpeg":
        return _jpeg(image, int(amount))
    pixels = np.asarray(image, np.float64) / 255
    match kind:
        case "gaussian_noise":
            pixels = pixels + amount * random.standard_normal(pixels.shape)
        case "blur":
            pixels = _blurred(pixels, amount)
        case "brightness":
            pixels = _brighter(pixels, amount)
        case "contrast":
            means = pixels.mean(axis=(0, 1), keepdims=True)
            pixels = (pixels - means) * amount + means
        case "greyscale":
            grey = (pixels @ np.array(_LUMA))[..., np.newaxis]
            pixels = pixels + amount * (grey - pixels)
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _blurred(pixels: Pixels, deviation: float) -> Pixels:
    from scipy.ndimage import gaussian_filter

    blurred: Pixels = gaussian_filter(pixels, (deviation, deviation, 0), mode="nearest")
    return blurred


def _brighter(pixels: Pixels, more: float) -> Pixels:
    """Value (HSV) raised, hue and saturation kept: all channels by the same factor; black becomes grey."""
    value = pixels.max(axis=2, keepdims=True)
    raised = np.minimum(value + more, 1)
    return np.asarray(np.where(value > 0, pixels * raised / np.maximum(value, 1e-9), raised))
