"""Corruptions: more of them with each severity, the same each time, and nothing else changed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.data import load
from harness.data.audio import SampledAudio
from harness.data.corrupt import CorruptedAudio, CorruptedImage, corrupted
from harness.data.image import DecodedImage
from harness.data.image_corruptions import SIDE
from harness.errors import MediaError
from harness.spec.corruption import AUDIO_CORRUPTIONS, IMAGE_CORRUPTIONS, Corrupt
from harness.spec.schema import Data
from harness.types import Audio, Image
from tests.data.pictures import png_header

RATE_HZ = 16_000
SEVERITIES = range(1, 6)


def photo(width: int = 320, height: int = 240) -> NDArray[np.uint8]:
    """Smooth shapes with edges, shape (height, width, 3)."""
    y, x = np.mgrid[:height, :width] / height
    waves = [np.sin(9 * x + 4 * y), np.cos(7 * y), np.sign(np.sin(20 * x * y))]
    return np.stack([110 + 80 * wave for wave in waves], axis=-1).astype(np.uint8)


def damaged(pixels: NDArray[np.uint8], kind: str, severity: int, seed: int = 0) -> NDArray[np.float64]:
    image = corrupted(DecodedImage(pixels), Corrupt(kind=kind, severity=severity, seed=seed))
    assert isinstance(image, Image)
    loaded = image.load()
    assert (loaded.mode, loaded.size) == ("RGB", image.size())
    return np.asarray(loaded, np.float64)


def clip(seconds: float = 2.0) -> NDArray[np.float32]:
    """Tones from 200 Hz to 7.2 kHz, half of full scale at most."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tones = [np.sin(2 * np.pi * hertz * times) for hertz in (200, 900, 1800, 2800, 3800, 5800, 7200)]
    return np.asarray(0.5 * np.mean(tones, axis=0), np.float32)


def heard(wave: NDArray[np.float32], kind: str, severity: int, seed: int = 0) -> NDArray[np.float32]:
    audio = corrupted(SampledAudio(wave, RATE_HZ), Corrupt(kind=kind, severity=severity, seed=seed))
    assert isinstance(audio, Audio)
    loaded = audio.load(RATE_HZ)
    assert loaded.dtype == np.float32
    assert loaded.shape == wave.shape
    assert np.abs(loaded).max() <= 1
    assert audio.seconds() == len(wave) / RATE_HZ
    return np.asarray(loaded, np.float32)


def test_every_kind_has_a_modality() -> None:
    named = get_args(Corrupt.model_fields["kind"].annotation)
    assert named == (*IMAGE_CORRUPTIONS, *AUDIO_CORRUPTIONS)


@pytest.mark.parametrize("kind", IMAGE_CORRUPTIONS)
@pytest.mark.parametrize("size", [(SIDE, SIDE), (32, 32)])
def test_images_get_worse_with_each_severity(kind: str, size: tuple[int, int]) -> None:
    clean = photo(*size)
    errors = [np.abs(damaged(clean, kind, severity) - clean).mean() for severity in SEVERITIES]
    assert errors[0] > 0
    assert errors == sorted(set(errors))


@pytest.mark.parametrize("kind", AUDIO_CORRUPTIONS)
def test_clips_get_worse_with_each_severity(kind: str) -> None:
    clean = clip()
    errors = [np.abs(heard(clean, kind, severity) - clean).mean() for severity in SEVERITIES]
    assert errors[0] > 0
    assert errors == sorted(set(errors))


def test_constants_of_imagenet_c() -> None:
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    assert damaged(grey, "gaussian_noise", 1).std() / 255 == pytest.approx(0.08, rel=0.02)
    assert damaged(grey, "brightness", 3).mean() / 255 == pytest.approx(128 / 255 + 0.3, abs=0.003)
    halves = np.repeat(np.array([[0, 255]], np.uint8), SIDE // 2, axis=1).repeat(SIDE, axis=0)
    assert np.ptp(damaged(halves, "contrast", 1)) / 255 == pytest.approx(0.4, abs=0.01)
    edge = damaged(halves, "blur", 5)[SIDE // 2, :, 0] / 255
    slope = np.diff(edge).max()
    assert slope == pytest.approx(1 / (6 * np.sqrt(2 * np.pi)), rel=0.05)


def test_brightness_keeps_the_hue() -> None:
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[:40] = (100, 50, 0)
    seen = damaged(pixels, "brightness", 2)
    np.testing.assert_allclose(seen[0, 0], np.array([100, 50, 0]) * (100 + 51) / 100, atol=1)
    np.testing.assert_allclose(seen[79, 79], 51, atol=1)


def test_the_most_greyscale_is_grey() -> None:
    seen = damaged(photo(), "greyscale", 5)
    np.testing.assert_allclose(
        seen, np.asarray(Pillow.fromarray(photo()).convert("L").convert("RGB")), atol=1
    )


def test_small_images_are_damaged_as_in_cifar_10_c() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    assert damaged(grey, "gaussian_noise", 5).std() / 255 == pytest.approx(0.10, rel=0.03)
    assert damaged(grey, "brightness", 5).mean() / 255 == pytest.approx(128 / 255 + 0.3, abs=0.003)


@pytest.mark.parametrize(
    ("kind", "size"), [("gaussian_noise", (299, 224)), ("jpeg", (299, 224)), ("contrast", (640, 480))]
)
def test_large_images_are_reduced_where_the_size_matters(kind: str, size: tuple[int, int]) -> None:
    """A photograph of many pixels would average its noise away."""
    seen = damaged(photo(640, 480), kind, 1)
    assert seen.shape == (size[1], size[0], 3)


def test_noise_at_its_ratio() -> None:
    for severity, snr_db in ((1, 20), (5, 0)):
        noise = heard(clip(), "noise", severity) - clip()
        assert 10 * np.log10(np.mean(clip() ** 2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.2)
    assert not heard(np.zeros(1000, np.float32), "noise", 5).any()


def test_gain_is_clipped_at_full_scale() -> None:
    quiet = np.array([0.1, -0.3, 0.0], np.float32)
    np.testing.assert_allclose(heard(quiet, "gain", 1), quiet * 10**0.3, rtol=1e-5)
    np.testing.assert_allclose(heard(quiet, "gain", 5), [1, -1, 0])


def test_the_band_ends_at_the_cut_off() -> None:
    spectrum = np.abs(np.fft.rfft(heard(clip(), "band_limit", 3)))
    hertz = np.fft.rfftfreq(len(clip()), 1 / RATE_HZ)
    assert spectrum[hertz > 4050].max() < 1e-3 * spectrum.max()
    kept = spectrum[(hertz > 150) & (hertz < 3950)].max()
    assert kept == pytest.approx(np.abs(np.fft.rfft(clip())).max(), rel=1e-3)


def test_masks_grow_and_stand_at_the_same_times_at_every_rate() -> None:
    ones = np.ones(10 * RATE_HZ, np.float32)
    silent = [heard(ones, "time_mask", severity) == 0 for severity in SEVERITIES]
    assert [share.mean() for share in silent] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert all((less <= more).all() for less, more in pairwise(silent))
    audio = corrupted(SampledAudio(ones, RATE_HZ), Corrupt(kind="time_mask", severity=2))
    assert isinstance(audio, Audio)
    at_8_khz = audio.load(8000)
    assert ((at_8_khz == 0) == silent[1][::2]).mean() > 0.99


@pytest.mark.parametrize("kind", AUDIO_CORRUPTIONS)
@pytest.mark.parametrize("length", [1, 2, 50])
def test_clips_of_a_few_samples(kind: str, length: int) -> None:
    heard(clip()[:length], kind, 5)


@pytest.mark.parametrize("kind", IMAGE_CORRUPTIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 900)])
def test_images_of_a_few_pixels(kind: str, size: tuple[int, int]) -> None:
    damaged(photo(*size), kind, 5)


@pytest.mark.parametrize("kind", [*IMAGE_CORRUPTIONS, *AUDIO_CORRUPTIONS])
def test_the_same_seed_gives_the_same_damage(kind: str) -> None:
    clean: Any = photo() if kind in IMAGE_CORRUPTIONS else clip()
    do: Any = damaged if kind in IMAGE_CORRUPTIONS else heard
    np.testing.assert_array_equal(do(clean, kind, 3), do(clean.copy(), kind, 3))
    drawn = kind in ("gaussian_noise", "noise", "time_mask")
    assert np.array_equal(do(clean, kind, 3), do(clean, kind, 3, seed=1)) != drawn


def test_two_images_have_their_own_noise() -> None:
    dark, light = (np.full((8, 8, 3), value, np.uint8) for value in (100, 101))
    assert not np.array_equal(
        damaged(dark, "gaussian_noise", 1) - dark, damaged(light, "gaussian_noise", 1) - light
    )


def test_digests_tell_what_was_done() -> None:
    image, other = DecodedImage(photo()), DecodedImage(photo(100, 100))
    all_of_them = [
        image,
        *(corrupted(image, Corrupt(kind="blur", severity=severity)) for severity in (1, 2)),
        corrupted(image, Corrupt(kind="contrast", severity=1)),
        corrupted(image, Corrupt(kind="blur", severity=1, seed=1)),
        corrupted(other, Corrupt(kind="blur", severity=1)),
    ]
    digests = [media.digest() for media in all_of_them]
    assert len(set(digests)) == len(digests)
    assert corrupted(DecodedImage(photo()), Corrupt(kind="blur", severity=1)).digest() == digests[1]


def test_another_modality_is_left_as_it_is() -> None:
    image, audio = DecodedImage(photo()), SampledAudio(clip(), RATE_HZ)
    assert corrupted(image, Corrupt(kind="noise", severity=1)) is image
    assert corrupted(audio, Corrupt(kind="blur", severity=1)) is audio
    assert isinstance(corrupted(image, Corrupt(kind="blur", severity=1)), CorruptedImage)
    assert isinstance(corrupted(audio, Corrupt(kind="noise", severity=1)), CorruptedAudio)


def test_samples_are_corrupted_and_nothing_is_read_before(tmp_path: Any) -> None:
    (tmp_path / "a.png").write_bytes(png_header(9, 9))
    (tmp_path / "rows.csv").write_text("image,label\na.png,cat\ngone.png,dog\n")
    columns = {"image": "image", "target": "label"}
    data = Data(path="./rows.csv", columns=columns, corrupt=Corrupt(kind="blur", severity=1))
    [window] = load(data, base=tmp_path, inputs=("image",)).windows()
    broken, missing = (sample.inputs["image"] for sample in window)
    assert isinstance(broken, CorruptedImage)
    assert isinstance(missing, CorruptedImage)
    with pytest.raises(MediaError, match=r"a\.png: the image can't be decoded"):
        broken.load()
    for method in (CorruptedImage.load, CorruptedImage.digest, CorruptedImage.size):
        with pytest.raises(MediaError, match=r"gone\.png: there is no such file"):
            method(missing)


def test_no_severity_is_no_damage() -> None:
    image = DecodedImage(np.zeros((4, 4, 3), np.uint8))
    assert corrupted(image, Corrupt(kind="blur", severity=None)) is image
