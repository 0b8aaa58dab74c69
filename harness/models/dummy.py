"""A model without weights that stands in for one in the engine's tests.

Its checkpoint is a folder with a config.json whose `model_type` is "harness-dummy" and whose other keys
are `Options`: it can be slow, run out of memory, raise, and make a known share of mistakes, always the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import AdapterError, PredictionError, RowError
from harness.models.base import Adapter, AdapterInfo, Batch, Rendered
from harness.spec.schema import Generate
from harness.types import Audio, Json, Output, Sample

if TYPE_CHECKING:
    from harness.models.weights import Weights

SAMPLE_RATE_HZ = 16_000
LOG_VARIABLE = "HARNESS_DUMMY_LOG"


class Options(BaseModel):
    """What the config.json of a dummy checkpoint may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_type: str
    """Always "harness-dummy"."""
    seconds_per_batch: float = 0.0
    """How long each call of predict sleeps."""
    fail_ids: tuple[str, ...] = ()
    """Samples whose prediction raises, alone or in a batch."""
    oom_above: int | None = None
    """Largest batch that fits; larger ones raise MemoryError."""
    error_rate: float = 0.0
    """Share of the target's words that come out wrong, in [0, 1]."""
    log: str | None = None
    """File that gets one JSON line per call of predict; the variable HARNESS_DUMMY_LOG goes before it."""


class Dummy(Adapter):
    """Says the target with a share of its words wrong, chosen by hashing the audio's digest."""

    info = AdapterInfo(
        family="dummy",
        version="1",
        modes=frozenset({"generate"}),
        modalities=frozenset({"audio", "text"}),
    )

    def __init__(self, weights: Weights, generate: Generate, kind: str) -> None:
        self.weights = weights
        try:
            self.options = Options(**weights.checkpoint.config())
        except ValidationError as error:
            raise AdapterError(
                f"the options of the dummy model {weights.checkpoint.name}: {error}"
            ) from error

    def request(self, sample: Sample) -> Json:
        """The target, because that is what decides the output."""
        return {"target": str(sample.target)}

    def cost(self, sample: Sample) -> float:
        """Seconds of audio. Raises MediaError."""
        return _audio(sample).seconds()

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        """Decode every clip, as a real family does, and keep the digests and lengths (samples at 16 kHz)."""
        clips = [_audio(sample) for sample in samples]
        lengths = [int(clip.load(SAMPLE_RATE_HZ).shape[0]) for clip in clips]
        return Batch(samples, {"digests": [clip.digest() for clip in clips], "lengths": lengths})

    def prepare(self) -> None:
        """There is nothing to load."""

    def predict(self, batch: Batch) -> list[Output]:
        """Raises MemoryError when the batch is too large and PredictionError for a sample in `fail_ids`."""
        ids = [sample.id for sample in batch.samples]
        if self.options.oom_above is not None and len(ids) > self.options.oom_above:
            self._log(ids, "out of memory")
            raise MemoryError(f"the dummy model holds {self.options.oom_above} samples, not {len(ids)}")
        time.sleep(self.options.seconds_per_batch)
        for sample_id in ids:
            if sample_id in self.options.fail_ids:
                self._log(ids, "error")
                raise PredictionError(f"the dummy model was told to fail on '{sample_id}'")
        outputs = [
            self._say(sample, digest)
            for sample, digest in zip(batch.samples, batch.tensors["digests"], strict=True)
        ]
        self._log(ids, "ok")
        return outputs

    def render(self, sample: Sample) -> Rendered:
        """The target's words, all of them labels."""
        batch = self.encode([sample], with_targets=True)
        words = [(word, True) for word in str(sample.target).split()]
        return Rendered(words, {"audio": f"float32 ({batch.tensors['lengths'][0]},)"})

    def _say(self, sample: Sample, digest: str) -> Output:
        words = str(sample.target).split()
        said = [
            word[::-1] + "x" if _chance(f"{digest} {place}") < self.options.error_rate else word
            for place, word in enumerate(words)
        ]
        return Output(" ".join(said), tokens=len(said))

    def _log(self, ids: Sequence[str], outcome: str) -> None:
        path = os.environ.get(LOG_VARIABLE) or self.options.log
        if path is None:
            return
        line = json.dumps({"pid": os.getpid(), "ids": list(ids), "outcome": outcome}) + "\n"
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(line)


def _audio(sample: Sample) -> Audio:
    audio = sample.inputs.get("audio")
    if not isinstance(audio, Audio):
        raise RowError(f"sample '{sample.id}' has no audio")
    return audio


def _chance(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
