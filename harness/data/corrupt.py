"""Images and clips that are damaged when they are loaded, each time in the same way."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from harness.spec.corruption import AUDIO_CORRUPTIONS, IMAGE_CORRUPTIONS, Corrupt
from harness.spec.digest import digest_of
from harness.types import Audio, Image, Media

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as PillowImage

M = TypeVar("M", bound=Media)


def corrupted(media: Audio | Image, corruption: Corrupt) -> Audio | Image:
    """The clip or image with the corruption, as it is when that is one of another modality or none
    at all. Nothing is read.

    Random numbers depend on the seed and on the content: the same image is corrupted in the same way
    wherever it stands, and in the same places at every severity.
    """
    if corruption.severity is None:
        return media
    if isinstance(media, Image):
        return CorruptedImage(media, corruption) if corruption.kind in IMAGE_CORRUPTIONS else media
    return CorruptedAudio(media, corruption) if corruption.kind in AUDIO_CORRUPTIONS else media


@dataclass(frozen=True)
class _Corrupted(Generic[M]):
    source: M
    corruption: Corrupt

    def digest(self) -> str:
        return digest_of([self.source.digest(), self.corruption.model_dump(mode="json")])

    @property
    def _severity(self) -> int:
        return self.corruption.severity or 0

    @cached_property
    def _draw(self) -> int:
        """A seed of this content's own."""
        words = f"{self.corruption.seed} {self.source.digest()}"
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8])


class CorruptedImage(_Corrupted[Image], Image):
    """An image that is damaged when it is loaded, at its protocol's size (see image_corruptions)."""

    def size(self) -> tuple[int, int]:
        from harness.data.image_corruptions import corrupted_size

        return corrupted_size(self.source.size(), self.corruption.kind)

    def load(self) -> PillowImage:
        from harness.data.image_corruptions import corrupted_image

        random = np.random.default_rng(self._draw)
        return corrupted_image(self.source.load(), self.corruption.kind, self._severity, random)


class CorruptedAudio(_Corrupted[Audio], Audio):
    """A clip that is damaged when it is loaded; it stays as long as it is."""

    def seconds(self) -> float:
        return self.source.seconds()

    def load(self, rate_hz: int) -> NDArray[np.float32]:
        from harness.data.audio_corruptions import corrupted_wave

        wave = self.source.load(rate_hz)
        random = np.random.default_rng(self._draw)
        return corrupted_wave(wave, rate_hz, self.corruption.kind, self._severity, random)
