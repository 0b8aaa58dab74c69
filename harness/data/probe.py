"""Samples made up on the spot, to see whether two networks say the same when there is no dataset at hand."""

from __future__ import annotations

from collections.abc import Sequence

from harness.data.audio import SampledAudio
from harness.data.image import DecodedImage
from harness.spec.kinds import MEDIA, MESSAGES
from harness.types import Audio, Image, Input, Sample, Turn

RATE_HZ = 16_000
SECONDS = 1.0
SIDE = 64
TARGETS = ("one two", "three")
OPTIONS = ("three", "one two")
LETTERS = ("A", "B")
"""Targets of samples that have options."""


def probe_samples(inputs: Sequence[str], language: str | None = None) -> list[Sample]:
    """Two samples with these inputs of a task: seeded noise (a second, 64 x 64 pixels), a few words, options.

    Targets are of different length; `language` is what they are said to be in.
    """
    meta = {} if language is None else {"language": language}
    return [
        Sample(
            id=f"probe-{number}",
            inputs={
                name: _talk(inputs, number) if name == MESSAGES else _input(name, number) for name in inputs
            },
            target=target,
            group=f"probe-{number}",
            meta=meta,
        )
        for number, target in enumerate(LETTERS if "options" in inputs else TARGETS)
    ]


def _talk(inputs: Sequence[str], number: int) -> Input:
    """A question about the sample's media and its answer."""
    media = [_input(name, number) for name in MEDIA if name in inputs]
    shown = tuple(medium for medium in media if isinstance(medium, Audio | Image))
    return Turn("user", (*shown, f"probe {number}")), Turn("assistant", (TARGETS[number],))


def _input(name: str, number: int) -> Input:
    import numpy as np

    random = np.random.default_rng(number)
    if name == "image":
        return DecodedImage(random.random((SIDE, SIDE, 3)), name=f"probe-{number}")
    if name == "options":
        return OPTIONS
    if name != "audio":
        return f"probe {number}"
    noise = random.standard_normal(round(SECONDS * RATE_HZ))
    return SampledAudio((0.1 * noise).astype(np.float32), RATE_HZ, name=f"probe-{number}")
