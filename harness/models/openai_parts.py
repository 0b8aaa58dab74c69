"""Turns as an OpenAI-compatible server takes them: texts, images as data URLs, sound as base64."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.types import Audio, Image, Turn

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from harness.spec.api import Api

AUDIO_RATE_HZ = 16_000
JPEG_QUALITY = 95
LARGEST_FILE_BYTES = 20_000_000
"""Of an image that is sent as it is."""
MIME_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
PLAIN_MODES = ("RGB", "L", "P", "1")
"""Of pixels that every reader sees alike: no inks, no 16 bits."""
ORIENTATION = 0x0112  # the EXIF tag
TOKENS_PER_IMAGE_PIXEL = 1 / 750
TOKENS_PER_AUDIO_SECOND = 10.0
BYTES_PER_TOKEN = 4


def messages(turns: Sequence[Turn], api: Api) -> list[dict[str, Any]]:
    """The turns as the body of a request has them; a text alone as a text. Raises MediaError."""
    return [{"role": turn.role, "content": _content(turn, api)} for turn in turns]


def estimated_tokens(turns: Sequence[Turn]) -> float:
    """About how many tokens these turns are, from the headers of their media. Raises MediaError."""
    return sum(_tokens(part) for turn in turns for part in turn.parts)


def _tokens(part: str | Audio | Image) -> float:
    if isinstance(part, str):
        return len(part.encode()) / BYTES_PER_TOKEN
    if isinstance(part, Audio):
        return part.seconds() * TOKENS_PER_AUDIO_SECOND
    width, height = part.size()
    return width * height * TOKENS_PER_IMAGE_PIXEL


def _content(turn: Turn, api: Api) -> str | list[dict[str, Any]]:
    if all(isinstance(part, str) for part in turn.parts):
        return turn.text
    return [_part(part, api) for part in turn.parts]


def _part(part: str | Audio | Image, api: Api) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, Audio):
        content, form = audio_file(part)
        return {"type": "input_audio", "input_audio": {"data": _base64(content), "format": form}}
    content, mime = image_file(part, api)
    detail = {"detail": api.image_detail} if api.image_detail else {}
    return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{_base64(content)}", **detail}}


def image_file(image: Image, api: Api) -> tuple[bytes, str]:
    """The bytes of a file with the image in it, and its media type: the original where every server sees in
    it what other families see. Raises MediaError, also for one that is damaged further down.
    """
    pixels = image.load()
    small = api.max_image_pixels is None or pixels.width * pixels.height <= api.max_image_pixels
    if api.image_format == "original" and small and (original := _plain_file(image.encoded())):
        return original
    return _encoded(pixels if small else _smaller(pixels, api.max_image_pixels or 1), api.image_format)


def _plain_file(content: bytes | None) -> tuple[bytes, str] | None:
    """A file with its media type, when servers take it and needn't turn it or put it over white."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    if content is None or len(content) > LARGEST_FILE_BYTES:
        return None
    try:
        with Pillow.open(io.BytesIO(content), formats=list(MIME_TYPES)) as file:
            plain = file.mode in PLAIN_MODES and not file.has_transparency_data
            upright = Pillow.Image.getexif(file).get(ORIENTATION, 1) == 1
            moves = getattr(file, "is_animated", False)
            return (content, MIME_TYPES[str(file.format)]) if plain and upright and not moves else None
    except UnidentifiedImageError:  # of another format
        return None


def _smaller(pixels: PillowImage, most: int) -> PillowImage:
    """The image at the same ratio of its sides, with at most so many pixels."""
    from PIL.Image import Resampling

    share = (most / (pixels.width * pixels.height)) ** 0.5
    size = (max(1, int(pixels.width * share)), max(1, int(pixels.height * share)))
    return pixels.resize(size, Resampling.LANCZOS)


def _encoded(pixels: PillowImage, form: str) -> tuple[bytes, str]:
    name = "JPEG" if form == "jpeg" else "PNG"
    options: dict[str, Any] = {"quality": JPEG_QUALITY, "subsampling": 0} if name == "JPEG" else {}
    buffer = io.BytesIO()
    pixels.save(buffer, name, **options)
    return buffer.getvalue(), MIME_TYPES[name]


def audio_file(audio: Audio) -> tuple[bytes, str]:
    """The bytes of a file with the clip in it, and "wav" or "mp3": the original where it is one of these,
    else 16-bit PCM, mono, 16 kHz. Raises MediaError.
    """
    wave = audio.load(AUDIO_RATE_HZ)  # a damaged file is seen here, whoever would read it
    content = audio.encoded() or b""
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return content, "wav"
    if content[:3] == b"ID3" or (content[:1] == b"\xff" and content[1:2] in (b"\xfb", b"\xf3", b"\xf2")):
        return content, "mp3"
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, wave.clip(-1.0, 1.0), AUDIO_RATE_HZ, format="WAV", subtype="PCM_16")
    return buffer.getvalue(), "wav"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
