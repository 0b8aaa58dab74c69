"""Audio of every format, rate and channel count comes out as the same mono waveform, or as a MediaError."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from harness.data.audio import EncodedAudio, SampledAudio, encode_wav
from harness.errors import MediaError

TARGET_HZ = 16_000
TONE_HZ = 440.0
LEVEL = 0.5

SOUNDFILE_FORMATS = [
    ("WAV", "PCM_U8", 0.02),
    ("WAV", "PCM_16", 0.01),
    ("WAV", "PCM_24", 0.01),
    ("WAV", "PCM_32", 0.01),
    ("WAV", "FLOAT", 0.01),
    ("FLAC", "PCM_16", 0.01),
    ("MP3", "MPEG_LAYER_III", 0.05),
    ("OGG", "VORBIS", 0.05),
    ("OGG", "OPUS", 0.05),
]
PYAV_FORMATS = [("ipod", "aac"), ("webm", "libopus"), ("adts", "aac"), ("matroska", "flac")]


def tone(rate_hz: int, seconds: float = 1.0, channels: int = 1) -> NDArray[np.float32]:
    """A sine, shape (samples, channels)."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = LEVEL * np.sin(2 * np.pi * TONE_HZ * times)
    return np.repeat(wave[:, np.newaxis], channels, axis=1).astype(np.float32)


def encoded(wave: NDArray[Any], rate_hz: int, file_format: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, wave, rate_hz, format=file_format, subtype=subtype)
    return buffer.getvalue()


def encoded_by_pyav(wave: NDArray[np.float32], rate_hz: int, container: str, codec: str) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate_hz, layout="mono")
        for start in range(0, len(wave), 1024):
            samples = np.ascontiguousarray(wave[start : start + 1024, 0][np.newaxis])
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
            frame.sample_rate, frame.pts = rate_hz, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def assert_is_the_tone(wave: NDArray[np.float32], tolerance: float = 0.01, seconds: float = 1.0) -> None:
    assert wave.dtype == np.float32
    assert wave.ndim == 1
    assert wave.flags.c_contiguous
    assert len(wave) == pytest.approx(seconds * TARGET_HZ, rel=0.06)
    middle = wave[len(wave) // 4 : 3 * len(wave) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * TARGET_HZ / len(middle) == pytest.approx(TONE_HZ, abs=3)
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(LEVEL, abs=tolerance)


@pytest.mark.parametrize(("file_format", "subtype", "tolerance"), SOUNDFILE_FORMATS)
def test_formats_of_soundfile(file_format: str, subtype: str, tolerance: float) -> None:
    clip = EncodedAudio(encoded(tone(16_000), 16_000, file_format, subtype))
    assert clip.seconds() == pytest.approx(1.0, abs=0.1)
    assert_is_the_tone(clip.load(TARGET_HZ), tolerance)


@pytest.mark.parametrize(("container", "codec"), PYAV_FORMATS)
def test_formats_of_pyav(container: str, codec: str) -> None:
    clip = EncodedAudio(encoded_by_pyav(tone(48_000), 48_000, container, codec))
    assert clip.seconds() == pytest.approx(1.0, abs=0.1)
    assert_is_the_tone(clip.load(TARGET_HZ), 0.05)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_rates_and_channels(rate_hz: int, channels: int) -> None:
    clip = EncodedAudio(encoded(tone(rate_hz, channels=channels), rate_hz))
    assert clip.seconds() == pytest.approx(1.0)
    wave = clip.load(TARGET_HZ)
    assert len(wave) == TARGET_HZ
    assert_is_the_tone(wave)


def test_channels_are_averaged() -> None:
    left_only = tone(16_000, channels=2) * np.array([1.0, 0.0], np.float32)
    wave = EncodedAudio(encoded(left_only, 16_000)).load(TARGET_HZ)
    np.testing.assert_allclose(wave, tone(16_000)[:, 0] / 2, atol=1e-4)


def test_a_high_tone_does_not_fold_back() -> None:
    times = np.arange(48_000) / 48_000
    wave = EncodedAudio(encoded(0.5 * np.sin(2 * np.pi * 12_000 * times), 48_000)).load(TARGET_HZ)
    assert np.sqrt(np.mean(wave[1000:-1000] ** 2)) < 1e-3


def test_a_file_and_its_bytes_are_the_same_clip(tmp_path: Path) -> None:
    data = encoded(tone(16_000), 16_000)
    file = tmp_path / "clip.wav"
    file.write_bytes(data)
    from_file, from_bytes = EncodedAudio(file), EncodedAudio(data)
    assert from_file.digest() == from_bytes.digest()
    assert from_file.encoded() == data
    np.testing.assert_array_equal(from_file.load(TARGET_HZ), from_bytes.load(TARGET_HZ))


def test_digests_tell_clips_apart() -> None:
    clips = [EncodedAudio(encoded(tone(16_000, seconds), 16_000)) for seconds in (0.5, 0.6)]
    arrays = [SampledAudio(tone(16_000)[:, 0], rate_hz) for rate_hz in (8_000, 16_000)]
    assert len({clip.digest() for clip in [*clips, *arrays]}) == 4


def test_arrays_of_floats_and_integers() -> None:
    wave = tone(22_050)[:, 0]
    as_int16 = (wave * 32768).astype(np.int16)
    for samples in (wave, as_int16, tone(22_050, channels=2)):
        clip = SampledAudio(samples, 22_050)
        assert clip.seconds() == pytest.approx(1.0)
        assert_is_the_tone(clip.load(TARGET_HZ))


def test_encode_wav_clips_what_is_too_loud() -> None:
    wave = EncodedAudio(encode_wav(np.array([0.5, 2.0, -2.0], np.float32), TARGET_HZ)).load(TARGET_HZ)
    np.testing.assert_allclose(wave, [0.5, 1.0, -1.0], atol=1e-4)


def test_a_flac_of_unknown_length() -> None:
    data = bytearray(encoded(tone(16_000), 16_000, "FLAC"))
    data[21] &= 0xF0  # STREAMINFO's number of samples: 36 bits that end at byte 26, 0 means unknown
    data[22:26] = bytes(4)
    clip = EncodedAudio(bytes(data))
    assert clip.seconds() == pytest.approx(1.0)
    assert_is_the_tone(clip.load(TARGET_HZ))


def test_a_wav_from_a_pipe_has_no_length() -> None:
    data = bytearray(encoded(tone(16_000), 16_000))
    data[40:44] = b"\xff" * 4
    assert_is_the_tone(EncodedAudio(bytes(data)).load(TARGET_HZ))


CUT_OFF = [
    (encoded(tone(16_000), 16_000)[:20_000], "cut off: 12044 bytes"),
    (encoded(tone(16_000), 16_000, "FLAC")[:3_000], "lost sync"),
    (encoded(tone(16_000), 16_000, "MP3", "MPEG_LAYER_III")[:1_000], "cut off"),
    (encoded(tone(16_000), 16_000, "OGG", "VORBIS")[:3_000], "malformed"),
    (encoded(tone(16_000), 16_000, "OGG", "OPUS")[:3_000], "malformed"),
]


@pytest.mark.parametrize(("data", "reason"), CUT_OFF, ids=["wav", "flac", "mp3", "vorbis", "opus"])
def test_half_a_clip_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        EncodedAudio(data, name="clip").load(TARGET_HZ)


@pytest.mark.parametrize(("container", "codec"), [("ipod", "aac"), ("webm", "libopus")])
def test_half_a_container_is_refused(container: str, codec: str) -> None:
    data = encoded_by_pyav(tone(48_000), 48_000, container, codec)
    with pytest.raises(MediaError, match=r"cut off|can be read"):
        EncodedAudio(data[: len(data) // 2]).load(TARGET_HZ)


UNREADABLE = [
    (b"", "empty"),
    (b"this is a text file, not a wav\n" * 50, "not an audio file"),
    (bytes(5_000), "not an audio file"),
    (encoded(np.zeros((0, 1)), 16_000), "no samples"),
    (encoded(np.full((100, 1), np.nan), 16_000, "WAV", "FLOAT"), "not finite"),
]


@pytest.mark.parametrize(("data", "reason"), UNREADABLE, ids=["empty", "text", "zeros", "no samples", "NaN"])
def test_what_is_no_clip(data: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "clip.wav"
    file.write_bytes(data)
    with pytest.raises(MediaError, match=reason) as from_file:
        EncodedAudio(file).load(TARGET_HZ)
    assert str(file) in str(from_file.value)
    with pytest.raises(MediaError, match=reason):
        EncodedAudio(data).load(TARGET_HZ)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for method in (EncodedAudio.digest, EncodedAudio.seconds):
        with pytest.raises(MediaError, match="no such file"):
            method(EncodedAudio(tmp_path / "missing.wav"))
        with pytest.raises(MediaError, match="can't be read"):
            method(EncodedAudio(tmp_path))


def test_without_pyav_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded_by_pyav(tone(48_000), 48_000, "ipod", "aac")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MediaError, match=r"clip\.m4a: Audio decoding of \.m4a needs PyAV\. Run: pip install"):
        EncodedAudio(data, name="clip.m4a").load(TARGET_HZ)
    with pytest.raises(MediaError, match="not an audio file"):
        EncodedAudio(b"text" * 100, name="clip.wav").load(TARGET_HZ)


def test_threads_share_a_clip(tmp_path: Path) -> None:
    file = tmp_path / "clip.flac"
    file.write_bytes(encoded(tone(44_100), 44_100, "FLAC"))
    clip = EncodedAudio(file)
    alone = clip.load(TARGET_HZ)
    with ThreadPoolExecutor(8) as pool:
        waves = list(pool.map(lambda _: EncodedAudio.load(clip, TARGET_HZ), range(32)))
        digests = set(pool.map(lambda _: clip.digest(), range(8)))
    assert all(np.array_equal(alone, wave) for wave in waves)
    assert len(digests) == 1
