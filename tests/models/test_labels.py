"""What the decoder is trained on: the tokens that generation begins with, then the text, then the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import RowError
from harness.models.whisper import Whisper
from harness.types import Sample
from tests.models.clips import adapter, sample

Folders = dict[str, Path]
PREFIX = {
    "bytes": "<|fr|><|translate|><|notimestamps|>",
    "multilingual": "<|fr|><|translate|><|notimestamps|>",
    "english": "<|notimestamps|>",
    "moonshine": "",
}
START = dict.fromkeys(("bytes", "multilingual", "english"), "<|startoftranscript|>") | {"moonshine": "<s>"}
END = dict.fromkeys(("bytes", "multilingual", "english"), "<|endoftext|>") | {"moonshine": "</s>"}


def made_for(checkpoints: Folders, name: str) -> Whisper:
    if name in ("bytes", "multilingual"):
        return adapter(checkpoints[name], language="fr", task="translate")
    return adapter(checkpoints[name])


@pytest.mark.parametrize("name", list(PREFIX))
def test_labels_read_back_as_prefix_text_and_end(checkpoints: Folders, name: str) -> None:
    made = made_for(checkpoints, name)
    tokenizer = made.weights.processor.tokenizer
    texts = ["hello", "hello the world"]
    batch = made.encode(
        [sample(0.5, seed, target=text) for seed, text in enumerate(texts)], with_targets=True
    )
    for row, inputs, text in zip(
        batch.tensors["labels"].tolist(), batch.tensors["decoder_input_ids"].tolist(), texts, strict=True
    ):
        labels = [label for label in row if label != -100]
        assert tokenizer.decode(labels) == PREFIX[name] + text + END[name]
        assert tokenizer.decode(inputs[:1]) == START[name]
        assert inputs[1 : len(labels)] == labels[:-1], "each position predicts the token after it"
        assert row[len(labels) :] == [-100] * (len(row) - len(labels))


GOLDEN = {
    "bytes": (
        [sample(0.5, 0, target="hi", language="fr", task="translate"), sample(0.5, 1, target="a b")],
        """
        <|startoftranscript|> <|fr|> <|translate|> <|notimestamps|> h i <|endoftext|>
        <|fr|> <|translate|> <|notimestamps|> h i <|endoftext|> -
        <|startoftranscript|> <|en|> <|transcribe|> <|notimestamps|> a Ġ b
        <|en|> <|transcribe|> <|notimestamps|> a Ġ b <|endoftext|>
        """,
    ),
    "multilingual": (
        [sample(0.5, 0, target="hello", language="yue"), sample(0.5, 1, target="", task="translate")],
        """
        <|startoftranscript|> <|yue|> <|transcribe|> <|notimestamps|> he l lo
        <|yue|> <|transcribe|> <|notimestamps|> he l lo <|endoftext|>
        <|startoftranscript|> <|en|> <|translate|> <|notimestamps|> <|endoftext|> <|endoftext|> <|endoftext|>
        <|en|> <|translate|> <|notimestamps|> <|endoftext|> - - -
        """,
    ),
    "english": (
        [sample(0.5, 0, target="no"), sample(0.5, 1, target="yes!")],
        """
        <|startoftranscript|> <|notimestamps|> n o <|endoftext|> <|endoftext|>
        <|notimestamps|> n o <|endoftext|> - -
        <|startoftranscript|> <|notimestamps|> y e s !
        <|notimestamps|> y e s ! <|endoftext|>
        """,
    ),
}
"""Clips and, for each, what the decoder sees and what it learns, token by token; - is -100."""


@pytest.mark.parametrize("name", list(GOLDEN))
def test_golden_batch_token_by_token(checkpoints: Folders, name: str) -> None:
    clips, golden = GOLDEN[name]
    made = adapter(checkpoints[name], language="en")
    tokenizer = made.weights.processor.tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id, "the hard case: padding is no label all the same"
    tensors = made.encode(clips, with_targets=True).tensors
    rows = [
        [tokenizer.convert_ids_to_tokens(token) if token != -100 else "-" for token in row]
        for pair in zip(tensors["decoder_input_ids"].tolist(), tensors["labels"].tolist(), strict=True)
        for row in pair
    ]
    assert rows == [line.split() for line in golden.strip().splitlines()]


@pytest.mark.parametrize("setting", [{"language": "fr"}, {"task": "translate"}])
def test_english_only_checkpoint_learns_english_transcripts(
    checkpoints: Folders, setting: dict[str, Any]
) -> None:
    with pytest.raises(RowError, match="sample '0'"):
        adapter(checkpoints["english"]).encode([sample(**setting)], with_targets=True)


def test_prefix_is_what_whispers_own_tokenizer_writes(checkpoints: Folders) -> None:
    made = adapter(checkpoints["multilingual"], language="zh", task="transcribe")
    tokenizer = made.weights.processor.tokenizer
    labels = made.encode([sample(target="hello")], with_targets=True).tensors["labels"][0].tolist()
    tokenizer.set_prefix_tokens(language="zh", task="transcribe", predict_timestamps=False)
    start, *golden = tokenizer("hello").input_ids
    assert labels == golden
    assert (
        start == made.encode([sample(target="hello")], with_targets=True).tensors["decoder_input_ids"][0, 0]
    )


def test_end_token_that_is_also_padding_is_a_label_once(checkpoints: Folders) -> None:
    """The real vocabulary pads with the end token: padding is told by length, never by value."""
    made = adapter(checkpoints["bytes"], language="en")
    end = made.weights.processor.tokenizer.eos_token_id
    assert end == made.weights.processor.tokenizer.pad_token_id
    clips = [sample(0.5, seed, target=text) for seed, text in enumerate(("a", "longer"))]
    labels = made.encode(clips, with_targets=True).tensors["labels"]
    assert (labels == end).sum(1).tolist() == [1, 1]


@pytest.mark.parametrize("name", list(PREFIX))
def test_shapes_and_types(checkpoints: Folders, name: str) -> None:
    made = made_for(checkpoints, name)
    tensors = made.encode([sample(0.5, 0), sample(0.5, 1)], with_targets=True).tensors
    assert tensors["labels"].shape == tensors["decoder_input_ids"].shape
    assert {str(tensors[key].dtype) for key in ("labels", "decoder_input_ids")} == {"torch.int64"}
    features = tensors["input_values" if name == "moonshine" else "input_features"]
    assert str(features.dtype) == "torch.float32"
    if name != "moonshine":
        extractor = made.weights.processor.feature_extractor
        assert features.shape == (2, extractor.feature_size, extractor.nb_max_frames)


@pytest.mark.parametrize("name", list(PREFIX))
def test_model_takes_the_batch(checkpoints: Folders, name: str) -> None:
    import torch

    made = made_for(checkpoints, name)
    tensors = made.encode([sample(0.5, 0), sample(0.5, 1, target="a")], with_targets=True).tensors
    labels = tensors.pop("labels")
    with torch.inference_mode():
        logits = made.model(**tensors).logits
    assert logits.shape[:2] == labels.shape
    assert torch.isfinite(logits).all()


def test_target_that_is_too_long_is_refused(checkpoints: Folders) -> None:
    made = adapter(checkpoints["bytes"], language="en")
    limit = made.model.config.max_target_positions
    with pytest.raises(RowError, match=f"'0' has a target of {limit + 1} tokens, more than {limit}"):
        made.encode([sample(target="x" * (limit - 3))], with_targets=True)
    made.encode([sample(target="x" * (limit - 4))], with_targets=True)


def test_labels_need_a_language_and_a_text(checkpoints: Folders) -> None:
    made = adapter(checkpoints["bytes"])
    with pytest.raises(RowError, match="has no language"):
        made.encode([sample()], with_targets=True)
    with pytest.raises(RowError, match="no text to learn from"):
        made.encode([sample(target=["a"], language="en")], with_targets=True)


@pytest.mark.parametrize("name", list(PREFIX))
def test_rendered_sample_shows_tokens_mask_and_shapes(checkpoints: Folders, name: str) -> None:
    made = made_for(checkpoints, name)
    rendered = made.render(sample(target="hi"))
    assert [labelled for _, labelled in rendered.tokens] == [False, *[True] * (len(rendered.tokens) - 1)]
    assert "".join(token for token, _ in rendered.tokens) == START[name] + PREFIX[name] + "hi" + END[name]
    assert any("float32 (1, " in shape for shape in rendered.shapes.values())
    assert rendered.notes["task"] == ("translate" if PREFIX[name].startswith("<|fr|>") else "transcribe")


def test_rendered_sample_without_a_language_says_so(checkpoints: Folders) -> None:
    assert adapter(checkpoints["bytes"]).render(sample()).notes["language"] == "detected"


def test_encoding_in_threads_gives_what_one_thread_gives(checkpoints: Folders) -> None:
    from concurrent.futures import ThreadPoolExecutor

    made = adapter(checkpoints["bytes"])
    clips = [sample(0.3, seed, target=f"text {seed}", language=("en", "fr")[seed % 2]) for seed in range(12)]

    def encoded(clip: Sample) -> list[list[object]]:
        tensors = made.encode([clip], with_targets=True).tensors
        return [tensor.tolist() for tensor in tensors.values()]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encoded, clips)) == [encoded(clip) for clip in clips]
