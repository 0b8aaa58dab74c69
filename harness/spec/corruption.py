"""Damage done on purpose to what is scored, to see how much of it a checkpoint bears."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.registry import near
from harness.spec.document import KeyPath
from harness.spec.kinds import KINDS
from harness.spec.section import Section

IMAGE_CORRUPTIONS = ("gaussian_noise", "blur", "jpeg", "brightness", "contrast", "greyscale")
AUDIO_CORRUPTIONS = ("noise", "gain", "band_limit", "time_mask")
CORRUPTIONS: Mapping[str, tuple[str, ...]] = {"image": IMAGE_CORRUPTIONS, "audio": AUDIO_CORRUPTIONS}
"""What can be done to inputs of each modality."""


class Corrupt(Section):
    """A corruption of every image, or of every clip, that is scored; training never sees it."""

    kind: Literal[
        "gaussian_noise",
        "blur",
        "jpeg",
        "brightness",
        "contrast",
        "greyscale",
        "noise",
        "gain",
        "band_limit",
        "time_mask",
    ]
    """What is done: the first six to images, the last four to audio."""
    severity: Annotated[int, Field(ge=1, le=5)] | None
    """How much of it: 1 is the least, 5 the most, null is none."""
    seed: int = Field(default=0, ge=0)
    """Changes the noise and the masks."""


def corruption_faults(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str, str]]:
    """Path, message and suggestion where a task's corruption doesn't fit its inputs, or is to be learned."""
    section, train, task_kind = data.get("data"), data.get("train"), KINDS.get(str(data.get("kind")))
    over = train.get("data") if isinstance(train, dict) else None
    if isinstance(over, dict) and over.get("corrupt") is not None:
        hint = "train.augment perturbs what is learned from."
        yield ("train", "data", "corrupt"), "only what is scored is corrupted.", hint
    corrupt = section.get("corrupt") if isinstance(section, dict) else None
    name = corrupt.get("kind") if isinstance(corrupt, dict) else None
    if task_kind is None or not any(name in kinds for kinds in CORRUPTIONS.values()):
        return
    columns = section.get("columns") if isinstance(section, dict) else None
    inputs = task_kind.columns(columns if isinstance(columns, dict) else ())
    fitting = [kind for modality in inputs for kind in CORRUPTIONS.get(modality, ())]
    if name not in fitting:
        hint = near(str(name), fitting) or (f"Known: {', '.join(fitting)}." if fitting else "")
        message = f"'{name}' can't be done to the {' and '.join(inputs)} of kind '{data['kind']}'."
        yield ("data", "corrupt", "kind"), message, hint
