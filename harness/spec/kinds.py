"""What a task can ask: each kind needs a mode of the adapter and certain inputs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`mode` is how the model must answer; `inputs` are the columns a sample must have."""

    mode: str
    inputs: tuple[str, ...]


KINDS: dict[str, Kind] = {
    "asr": Kind(mode="generate", inputs=("audio",)),
    "speech_translation": Kind(mode="generate", inputs=("audio",)),
}
