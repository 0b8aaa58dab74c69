"""Encoded audio to samples: libsndfile for wav, flac, mp3, ogg and opus, FFmpeg (PyAV) for the rest.

A clip that is cut off or damaged is a MediaError, never a shorter clip: otherwise half an utterance
would be scored as if the model had missed the other half.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import soundfile as sf

from harness.errors import MediaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LIBSNDFILE_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".au"})
_UNSUPPORTED = 4  # SF_ERR_UNSUPPORTED_ENCODING
_FOREIGN = frozenset({1, _UNSUPPORTED})  # 1 is SF_ERR_UNRECOGNISED_FORMAT
_FRAMES_UNKNOWN = 1 << 40  # a flac written to a pipe doesn't know its length
_WAV_BYTES_UNKNOWN = 0x7FFF0000  # nor does a wav: its size is then the largest that the writer knows
_ESTIMATE_TOLERANCE = 0.05  # headers of mp3 and of containers may only estimate the length


def decode(file: BinaryIO, name: str) -> tuple[NDArray[np.float32], int]:
    """All samples, float32 of shape (samples, channels), and their rate in Hz. Raises MediaError."""
    try:
        with _libsndfile(file, name) as sound:
            return _read_sound(sound, name), int(sound.samplerate)
    except sf.LibsndfileError as error:
        with _ffmpeg(file, name, error) as container:
            return _read_container(container, name)


def duration(file: BinaryIO, name: str) -> float:
    """Length in seconds: from the header where it tells, else by decoding. Raises MediaError."""
    try:
        with _libsndfile(file, name) as sound:
            return int(sound.frames) / int(sound.samplerate)
    except sf.LibsndfileError as error:
        with _ffmpeg(file, name, error) as container:
            seconds = _promised_seconds(container, name)
    if seconds:
        return seconds
    wave, rate_hz = decode(file, name)
    return len(wave) / rate_hz


@contextmanager
def _libsndfile(file: BinaryIO, name: str) -> Iterator[Any]:
    """An open soundfile.SoundFile of known length."""
    missing = _missing_wav_bytes(file)
    if missing:
        raise MediaError(f"{name}: the clip is cut off: {missing} bytes of its samples are missing")
    file.seek(0)
    with sf.SoundFile(file) as sound:
        if sound.frames >= _FRAMES_UNKNOWN:
            raise sf.LibsndfileError(_UNSUPPORTED)
        yield sound


def _read_sound(sound: Any, name: str) -> NDArray[np.float32]:
    wave: NDArray[np.float32] = sound.read(dtype="float32", always_2d=True)
    estimated = sound.format in {"MP3", "MPEG"}
    if len(wave) < sound.frames * (1 - _ESTIMATE_TOLERANCE if estimated else 1):
        raise MediaError(f"{name}: the clip is cut off: {len(wave)} of {sound.frames} samples can be read")
    return wave


def _missing_wav_bytes(file: BinaryIO) -> int:
    """How many bytes a wav's data chunk lacks: libsndfile would return what is there without a word."""
    size_of_file = file.seek(0, io.SEEK_END)
    file.seek(0)
    header = file.read(12)
    if header[:4] != b"RIFF" or header[8:] != b"WAVE":
        return 0
    while len(chunk := file.read(8)) == 8:
        size = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"data":
            return 0 if size >= _WAV_BYTES_UNKNOWN else max(0, file.tell() + size - size_of_file)
        file.seek(size + size % 2, io.SEEK_CUR)  # chunks are padded to even sizes
    return 0


@contextmanager
def _ffmpeg(file: BinaryIO, name: str, error: Any) -> Iterator[Any]:
    """An open av container, when `error` says that libsndfile doesn't know the format at all."""
    reason = f"{name}: not an audio file that can be read: {error.error_string}"
    if error.code not in _FOREIGN:
        raise MediaError(reason) from error
    suffix = PurePath(name).suffix.lower()
    try:
        import av
    except ImportError:
        if suffix in _LIBSNDFILE_SUFFIXES:
            raise MediaError(reason) from error
        raise MediaError(
            f"{name}: Audio decoding of {suffix or 'this format'} needs PyAV. "
            "Run: pip install 'mm-harness[video]'"
        ) from error
    file.seek(0)
    try:
        with av.open(file, mode="r") as container:
            yield container
    except av.FFmpegError as fault:
        raise MediaError(f"{name}: not an audio file that can be read: {fault.strerror}") from fault


def _audio_stream(container: Any, name: str) -> Any:
    if not container.streams.audio:
        raise MediaError(f"{name}: the file holds no audio")
    return container.streams.audio[0]


def _promised_seconds(container: Any, name: str) -> float:
    """The length that the header tells, 0 where it doesn't (a live stream)."""
    stream = _audio_stream(container, name)
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1_000_000  # AV_TIME_BASE: microseconds


def _read_container(container: Any, name: str) -> tuple[NDArray[np.float32], int]:
    from av import AudioResampler

    stream = _audio_stream(container, name)
    to_planar_float = AudioResampler(format="fltp")
    frames = [frame for coded in container.decode(stream) for frame in to_planar_float.resample(coded)]
    if not frames:
        raise MediaError(f"{name}: the clip holds no samples")
    wave = np.concatenate([frame.to_ndarray() for frame in frames], axis=1).T
    rate_hz = int(frames[0].sample_rate)
    seconds, promised = len(wave) / rate_hz, _promised_seconds(container, name)
    if seconds < promised * (1 - _ESTIMATE_TOLERANCE):
        raise MediaError(f"{name}: the clip is cut off: {seconds:.2f} of {promised:.2f} s can be read")
    return wave, rate_hz
