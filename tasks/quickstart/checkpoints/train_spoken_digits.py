"""Train the quickstart's base checkpoint from nothing: a Whisper of a million parameters.

    python tasks/quickstart/checkpoints/train_spoken_digits.py

writes tasks/quickstart/checkpoints/spoken_digits/ (model, processor, generation config, card) in a few
minutes on two cores, and scores it. eSpeak NG speaks the digit strings on the spot, in four voices. Features,
labels and decoding are the harness's own, so the checkpoint is trained on exactly what it will be asked. The
same machine and versions give the same weights.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jiwer
import torch
from tokenizers import AddedToken, pre_tokenizers
from torch.nn.functional import cross_entropy
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from harness.data import load as load_data
from harness.data.spoken_digits import VOICES
from harness.models import load as load_model
from harness.models.weights import quiet
from harness.models.whisper import Whisper
from harness.spec.schema import Data, Generate, MetricSpec, Model, Task
from harness.types import Sample

WINDOW_SECONDS = 3
FRAMES_PER_SECOND = 100
LANGUAGES = ("en", "de", "es", "fr")
KNOWN_VOICES, UNHEARD_VOICES = VOICES["known"], VOICES["unheard"]
CONDITIONS: dict[str, dict[str, Any]] = {
    "known voices": {"voices": KNOWN_VOICES},
    "unheard voices": {"voices": UNHEARD_VOICES},
    "known voices in white noise at 20 dB": {"voices": KNOWN_VOICES, "snr_db": 20.0},
    "known voices in babble at 20 dB": {"voices": KNOWN_VOICES, "snr_db": 20.0, "noise": "babble"},
}
COLUMNS = {"audio": "audio", "target": "target", "id": "id", "group": "group"}
CLIPS = 3000
TEST_CLIPS = 300
BATCH = 32
STEPS = 1000
PEAK_LEARNING_RATE = 2e-3
SEED = 0


CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: automatic-speech-recognition
tags: [whisper, mm-harness, synthetic]
---
# Spoken digits: a Whisper of a million parameters

The base checkpoint of mm-harness's quickstart. It transcribes strings of English digits ("three five nine")
that eSpeak NG speaks, in a window of {window} seconds, with a vocabulary of bytes. It has Whisper's
architecture, files and special tokens ({parameters:,} parameters, float16); nothing else was taken from a
published Whisper.

## How it was made

`python tasks/quickstart/checkpoints/train_spoken_digits.py`, from random weights: {clips:,} synthetic clips
(seed {seed}, 2 to 5 digits) in the voices {voices}; {steps:,} steps of {batch} clips,
AdamW in one cycle up to {rate}.

## Scores

Word error rate on {tests} test clips per row, greedy, language English. No test string of three digits or
more occurs in training.

| clips | WER |
|---|---|
{scores}

The gap between the rows is meant: fine-tuning closes it. The checkpoint is for trying things out; it has
never heard a human being.
"""


def main() -> None:
    """Train, save, measure."""
    parser = argparse.ArgumentParser(description="Train the quickstart's speech checkpoint.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "spoken_digits")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(mode=True)
    with tempfile.TemporaryDirectory() as folder:
        save(new_model(), Path(folder))
        adapter = open_checkpoint(Path(folder))
        started = time.monotonic()
        train(adapter, options.steps)
        print(f"trained {options.steps} steps in {time.monotonic() - started:.0f} s")
        save(adapter.model.half(), options.out)
    write_card(options.out, options.steps)


def write_card(folder: Path, steps: int) -> None:
    """Score the saved checkpoint under every condition and write its README.md."""
    adapter = open_checkpoint(folder)
    rows = []
    for name, choice in CONDITIONS.items():
        rate = 100 * word_error_rate(adapter, choice)
        print(f"{name}: {rate:.1f}% WER")
        rows.append(f"| {name} ({', '.join(choice['voices'])}) | {rate:.1f}% |")
    text = CARD.format(
        window=WINDOW_SECONDS,
        parameters=adapter.weights.checkpoint.parameters(),
        clips=CLIPS,
        seed=SEED,
        voices=", ".join(KNOWN_VOICES),
        steps=steps,
        batch=BATCH,
        rate=PEAK_LEARNING_RATE,
        tests=TEST_CLIPS,
        scores="\n".join(rows),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def new_tokenizer() -> Any:
    """Characters as bytes, then Whisper's special tokens and its timestamps of 20 ms over the window."""
    alphabet = {piece: number for number, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = WhisperTokenizer(vocab=alphabet, merges=[], pad_token="<|endoftext|>")  # noqa: S106
    names = ["startoftranscript", *LANGUAGES, "translate", "transcribe"]
    names += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in names]})
    times = [f"<|{place / 50:.2f}|>" for place in range(WINDOW_SECONDS * 50 + 1)]
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in times])
    return tokenizer


def new_model() -> Any:
    """A Whisper with random weights: width 128, two layers on each side, and a three-second window."""
    ids = new_tokenizer().convert_tokens_to_ids
    end, start = ids("<|endoftext|>"), ids("<|startoftranscript|>")
    tokens = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(new_tokenizer()),
            d_model=128,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=512,
            decoder_ffn_dim=512,
            max_source_positions=WINDOW_SECONDS * FRAMES_PER_SECOND // 2,
            max_target_positions=64,
            **tokens,
        )
    )
    model.generation_config = GenerationConfig(
        **tokens,
        max_length=64,
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids(f"<|{code}|>") for code in LANGUAGES},
        task_to_id={task: ids(f"<|{task}|>") for task in ("transcribe", "translate")},
        no_timestamps_token_id=ids("<|notimestamps|>"),
        prev_sot_token_id=ids("<|startofprev|>"),
        begin_suppress_tokens=[ids("Ġ"), end],
        alignment_heads=[[1, head] for head in range(4)],
    )
    # Otherwise from_pretrained takes it for a derived one, and the language and task tables are lost.
    model.generation_config._from_model_config = False
    return model


def save(model: Any, folder: Path) -> None:
    """Write model, generation config and processor."""
    extractor = WhisperFeatureExtractor(chunk_length=WINDOW_SECONDS)
    with quiet():
        WhisperProcessor(extractor, new_tokenizer()).save_pretrained(folder)
        model.save_pretrained(folder)


def open_checkpoint(folder: Path) -> Whisper:
    """The checkpoint as the harness runs it, in float32 on the CPU."""
    task = Task(
        name="spoken_digits",
        kind="asr",
        data=Data(path="synthetic:spoken_digits", columns=COLUMNS),
        model=Model(checkpoint=str(folder.resolve())),
        generate=Generate(language="en"),
        metrics=(MetricSpec(name="wer"),),
    )
    adapter = load_model(task, base=folder, device="cpu")
    assert isinstance(adapter, Whisper)
    return adapter


def clips(choice: dict[str, Any], split: str, count: int) -> list[Sample]:
    """Spoken digit strings of the given voices and noise; train and test share no string of three or more."""
    data = Data(
        path="synthetic:spoken_digits",
        columns=COLUMNS,
        options={"n": count, "seed": SEED, **choice},
    )
    dataset = load_data(data, base=Path(), inputs=("audio",), split=split)  # type: ignore[arg-type]
    return [sample for window in dataset.windows() for sample in window]


def batches(adapter: Whisper, steps: int) -> Iterator[dict[str, Any]]:
    """Shuffled batches of features and labels, encoded once."""
    samples = clips({"voices": KNOWN_VOICES}, "train", CLIPS)
    print(f"{len(samples)} clips, {sum(map(adapter.cost, samples)) / 60:.0f} minutes")
    encoded = adapter.encode(samples, with_targets=True).tensors
    order = torch.Generator().manual_seed(SEED)
    step = 0
    while step < steps:
        for chosen in torch.randperm(len(samples), generator=order).split(BATCH)[: steps - step]:
            yield {name: tensor[chosen] for name, tensor in encoded.items() if name != "attention_mask"}
            step += 1


def train(adapter: Whisper, steps: int) -> None:
    """One cycle of AdamW on the mean token loss, gradients clipped at 1."""
    model = adapter.model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=steps)
    for step, batch in enumerate(batches(adapter, steps), start=1):
        labels = batch.pop("labels")
        logits = model(**batch, use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), labels.flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step:4d} of {steps}  loss {loss.item():.3f}", flush=True)
    model.eval()


def word_error_rate(adapter: Whisper, choice: dict[str, Any]) -> float:
    """Corpus word error rate (a ratio of sums) on the test split."""
    samples = clips(choice, "test", TEST_CLIPS)
    outputs = []
    for first in range(0, len(samples), BATCH):
        outputs += adapter.predict(adapter.encode(samples[first : first + BATCH]))
    return float(jiwer.wer([sample.target for sample in samples], [output.output for output in outputs]))


if __name__ == "__main__":
    main()
