"""Speech from eSpeak NG, through the library that the package `espeakng-loader` ships."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.errors import DataError, RunError
from harness.registry import near

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WORKER = Path(__file__).with_name("espeak_worker.py")


class Utterance(NamedTuple):
    """A text and how it is spoken. A voice is a language code with, perhaps, a variant: en-us, en-us+f3."""

    text: str
    voice: str
    words_per_minute: int = 175
    """Speed, 80 to 450."""
    pitch: int = 50
    """Pitch of the voice, 0 to 99."""


def speak(utterances: Sequence[Utterance]) -> tuple[list[NDArray[np.int16]], int]:
    """The utterances' samples, each of shape (samples,), and their rate in Hz.

    The same list gives the same samples; a part of it may not (see espeak_worker.py). Raises DataError
    for an unknown voice, RunError when the library is missing or fails.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise RunError(
            "Synthetic speech needs the package espeakng-loader", "Run: pip install espeakng-loader"
        ) from error
    request = {
        "library": espeakng_loader.get_library_path(),
        "data": espeakng_loader.get_data_path(),
        "utterances": utterances,
    }
    head, samples = _ask_worker(request)
    if "unknown" in head:
        known = head["known"]
        hint = near(head["unknown"], known) or f"Known: {', '.join(known)}."
        raise DataError(f"eSpeak NG has no voice '{head['unknown']}'", hint)
    if "failed" in head:
        raise RunError(head["failed"])
    return np.split(samples, np.cumsum(head["lengths"])[:-1]), head["rate_hz"]


def _ask_worker(request: dict[str, Any]) -> tuple[dict[str, Any], NDArray[np.int16]]:
    done = subprocess.run(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-I", "-S", str(_WORKER)], input=json.dumps(request).encode(), capture_output=True
    )
    if done.returncode:
        last_words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise RunError(f"eSpeak NG ended with status {done.returncode}: {' '.join(last_words)}")
    head, _, samples = done.stdout.partition(b"\n")
    return json.loads(head), np.frombuffer(samples, dtype=np.int16)
