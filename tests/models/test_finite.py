"""NaN and infinity, in the audio or in the network, are failures and never a text."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import MediaError, PredictionError
from harness.models.whisper import Whisper
from harness.types import Sample
from tests.models.clips import Clip, adapter, noise, sample
from tests.models.test_whisper import ALL, WHISPERS

PATHS: list[tuple[str, dict[str, Any], float]] = [
    ("bytes", {"language": "en"}, 0.5),
    ("bytes", {}, 0.5),
    ("bytes", {"language": "en", "num_beams": 2}, 0.5),
    ("bytes", {"language": "en"}, 2.5),
    ("bytes", {"language": "en", "timestamps": "word"}, 0.5),
    ("bytes", {"language": "en", "temperature": (0.0, 0.4)}, 0.5),
    ("moonshine", {}, 0.5),
]


def poisoned(made: Whisper, part: str) -> Whisper:
    """One NaN among the weights of the encoder, of the decoder, or of one token's row."""
    if part == "token":
        made.model.get_output_embeddings().weight.data[-1, 0] = float("nan")
    else:
        next(iter(getattr(made.model, f"get_{part}")().layers.parameters())).data[0] = float("nan")
    return made


@pytest.mark.parametrize("part", ["encoder", "decoder", "token"])
@pytest.mark.parametrize(("name", "settings", "seconds"), PATHS)
def test_network_of_nan_says_nothing(
    checkpoints: dict[str, Path], name: str, settings: dict[str, Any], seconds: float, part: str
) -> None:
    made = poisoned(adapter(checkpoints[name], **settings), part)
    with pytest.raises(PredictionError, match="non-finite"):
        made.predict(made.encode([sample(seconds)]))
    assert not made.model._forward_hooks


@pytest.mark.parametrize(("name", "value"), [*product(ALL, (np.nan, np.inf)), *product(WHISPERS, (1e30,))])
def test_clip_whose_features_are_no_numbers_is_named(
    checkpoints: dict[str, Path], name: str, value: float
) -> None:
    wave = noise(0.5, 0).wave.copy()
    wave[100] = value
    broken = Sample("broken", {"audio": Clip(wave)}, "", "broken", {})
    with pytest.raises(MediaError, match="'broken'"):
        adapter(checkpoints[name]).encode([sample(0.5, 1), broken])
