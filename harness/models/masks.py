"""Masks on a spectrogram: the part of SpecAugment (Park et al. 2019) that trains best; time isn't warped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from harness.spec.training import SpecAugment


def mask(clip: Any, settings: SpecAugment, random: np.random.Generator) -> None:
    """Set stretches of time and bands of frequency to the clip's mean, in place.

    `clip` is a tensor (frames, bins) without padding, or a view into one. Each mask's size is drawn between
    nothing and the largest allowed, then its place; masks may overlap.
    """
    frames, bins = clip.shape
    mean = clip.mean()
    for _ in range(settings.time_masks):
        clip[_span(frames, int(settings.time_share * frames), random)] = mean
    for _ in range(settings.frequency_masks):
        clip[:, _span(bins, min(settings.frequency_bins, bins), random)] = mean


def _span(size: int, longest: int, random: np.random.Generator) -> slice:
    length = int(random.integers(longest + 1))
    start = int(random.integers(size - length + 1))
    return slice(start, start + length)
