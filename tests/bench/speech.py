"""A checkpoint of whisper-tiny's shape and clips of 1 to 20 s: benchmarks without downloaded weights.

The weights are random, so hooks on the network decide when a text ends: after a number of tokens that grows
with the clip's length. Every way of running it therefore generates the same text for a clip.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from harness.data.audio import EncodedAudio
from harness.evaluation.predict import Engine
from harness.types import Sample
from tests.models.tiny import whisper_tokenizer
from tests.tasks import task_of

RATE_HZ = 16_000
BATCH = 16
TOKENS_PER_SECOND = 3.3
"""English speech: about 150 words a minute, 1.3 tokens a word."""
PROMPT_TOKENS = 4
FRAMES_PER_SECOND = 100


def whisper_shape(folder: Path, *, width: int = 384, layers: int = 4, vocabulary: int = 51_865) -> Path:
    """A multilingual Whisper checkpoint, random weights, 30 s window; of the tiny size by default."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )

    tokenizer = whisper_tokenizer("bytes", 1500)
    ids = tokenizer.convert_tokens_to_ids
    end, start = ids("<|endoftext|>"), ids("<|startoftranscript|>")
    config = WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
    )
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        eos_token_id=end,
        bos_token_id=end,
        pad_token_id=end,
        max_length=448,
        no_timestamps_token_id=ids("<|notimestamps|>"),
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids(f"<|{code}|>") for code in ("en", "fr")},
        task_to_id={task: ids(f"<|{task}|>") for task in ("transcribe", "translate")},
    )
    model.generation_config._from_model_config = False
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def clips(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """FLAC files of noise, 1 to 20 s, in shuffled order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    files = []
    for number, seconds in enumerate(rng.uniform(1, 20, size=count)):
        files.append(folder / f"{number:04d}.flac")
        soundfile.write(files[-1], 0.1 * rng.standard_normal(int(seconds * RATE_HZ)), RATE_HZ)
    return files


class Clips:
    """A dataset of files, as the engine takes it: one window."""

    def __init__(self, files: list[Path]) -> None:
        self.ids = [file.stem for file in files]
        self._files = files

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        id_ = self.ids[index]
        return Sample(id_, {"audio": EncodedAudio(self._files[index])}, "", id_)

    def windows(self) -> Any:
        yield self


def load(checkpoint: Path) -> Any:
    """The checkpoint's adapter for English, in float32, on the best device."""
    from harness import models

    model = {"checkpoint": str(checkpoint), "dtype": "float32"}
    return models.load(task_of(checkpoint, model=model, generate={"language": "en"}), base=checkpoint)


def predicted(adapter: Any, files: list[Path], folder: Path) -> dict[str, str]:
    """Files in, texts out, through the harness's engine, its journal on disk included."""
    engine = Engine(
        adapter, folder / "journal", batch_size=BATCH, workers=2, reuse=False, show_progress=False
    )
    dataset: Any = Clips(files)
    return {id_: str(prediction.output) for _, id_, prediction in engine.run(dataset)}


@dataclass
class ForcedEnds:
    """Hooks that end each clip's text after a number of tokens that its features decide, and count the work.

    `rows` counts decoder rows computed (batch size, summed over steps), `needed` the tokens that were wanted.
    `spread` varies the number of tokens from clip to clip (standard deviation, as a share).
    """

    tokenizer: Any
    spread: float = 0.0
    rows: int = 0
    needed: int = 0
    encoder_calls: int = 0
    encoder_seconds: float = 0.0
    _began: float = 0.0
    _handles: list[Any] = field(default_factory=list)

    def attach(self, model: Any) -> ForcedEnds:
        """Put the hooks on a Whisper network."""
        encoder = model.get_encoder()
        self._handles = [
            encoder.register_forward_pre_hook(self._start),
            encoder.register_forward_hook(self._mark, with_kwargs=True),
            model.register_forward_hook(self._force, with_kwargs=True),
        ]
        return self

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _start(self, module: Any, arguments: Any) -> None:
        self._began = time.perf_counter()

    def _mark(self, module: Any, arguments: Any, named: Any, output: Any) -> None:
        """Write the number of tokens wanted into the encoder's states, where the decoder finds it."""
        import torch

        self.encoder_seconds += time.perf_counter() - self._began
        features = named["input_features"] if "input_features" in named else arguments[0]
        floor = features.amin(dim=(1, 2), keepdim=True)
        frames = (features > floor + 1e-3).any(dim=1).sum(dim=-1)
        vary = 1 + self.spread * torch.sin(frames * 12.9898) * 2**0.5
        tokens = (frames * vary * TOKENS_PER_SECOND / FRAMES_PER_SECOND).round().clamp(min=1)
        output.last_hidden_state[:, 0, 0] = tokens
        self.encoder_calls += len(features)
        self.needed += int(tokens.sum()) + len(features)  # the end token takes a step too

    def _force(self, module: Any, arguments: Any, named: Any, output: Any) -> None:
        wanted = named["encoder_outputs"][0][:, 0, 0]
        length = output.past_key_values.get_seq_length() - PROMPT_TOKENS
        letters = self.tokenizer.convert_tokens_to_ids(list("abcdefgh"))
        logits = output.logits[:, -1]
        logits.fill_(-1e4)
        logits[:, letters[length % len(letters)]] = 1e4
        logits[wanted <= length, self.tokenizer.eos_token_id] = 2e4
        self.rows += len(logits)
