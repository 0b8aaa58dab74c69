"""CLAP (Wu et al. 2023): sounds and texts in one space."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from harness.errors import MediaError, RowError
from harness.models.base import AdapterInfo
from harness.models.dual_encoder import ATTENTION, DualEncoder
from harness.models.finite import check_finite
from harness.types import Audio, Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DRAWING = Lock()


class Clap(DualEncoder):
    """Embeds sounds and texts.

    Of a clip longer than its window the extractor takes what it draws by chance: a piece of it, or, where the
    checkpoint fuses features, three pieces beside the whole. Here chance depends on what is heard, so that a
    clip is always embedded alike.
    """

    info = AdapterInfo(
        family="clap",
        version="1",
        modes=frozenset({"embed"}),
        modalities=frozenset({"audio", "text"}),
        lora_targets=(ATTENTION,),
        parts={
            "audio": ("audio_model", "audio_projection"),
            "text": ("text_model", "text_projection"),
            "temperature": ("logit_scale_a", "logit_scale_t"),
        },
        towers={"audio": "audio", "text": "text"},
    )
    medium = "audio"
    auto_class = "AutoModel"

    @property
    def rate_hz(self) -> int:
        """Sampling rate of the audio that it hears."""
        return int(self._extractor.sampling_rate)

    def load_medium(self, sample: Sample) -> Any:
        """The waveform, float32 (samples,), at the extractor's rate. Raises MediaError."""
        audio = sample.inputs["audio"]
        if not isinstance(audio, Audio):
            raise RowError(f"sample '{sample.id}' has no audio")
        waveform = audio.load(self.rate_hz)
        if not len(waveform):
            raise MediaError(f"sample '{sample.id}' has audio of no length")
        return waveform

    def features(self, samples: Sequence[Sample], media: Sequence[Any]) -> tuple[dict[str, Any], list[bool]]:
        """`input_features`, float32 (clips, 1 or 4, frames, mel bins), and `is_longer`, bool (clips, 1).

        One clip at a time: the extractor calls one of a batch longer by chance where none is.
        """
        import torch

        tensors = {"input_features": torch.cat([self._heard(clip) for clip in media])}
        check_finite(samples, tensors, "audio whose features are")
        hop, window = int(self._extractor.hop_length), int(self._extractor.nb_max_samples)
        longer = torch.tensor([[len(clip) // hop > window // hop] for clip in media])  # than so many frames
        return tensors | {"is_longer": longer}, [len(clip) > window for clip in media]

    @property
    def _extractor(self) -> Any:
        return self.weights.processor.feature_extractor

    def _heard(self, clip: Any) -> Any:
        with _drawn_from(clip):
            return self._extractor(
                clip, sampling_rate=self.rate_hz, return_tensors="pt"
            ).input_features.float()


@contextmanager
def _drawn_from(clip: NDArray[np.float32]) -> Iterator[None]:
    """Let numpy's shared generator draw what depends on the clip alone; afterwards it is as it was."""
    import numpy as np

    with _DRAWING:
        before = np.random.get_state()
        np.random.seed(int.from_bytes(hashlib.sha256(clip.tobytes()).digest()[:4]))
        try:
            yield
        finally:
            np.random.set_state(before)
