"""Audio longer than the window, and timestamps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import AdapterError
from tests.models.clips import adapter, sample
from tests.models.test_whisper import MULTILINGUAL, WHISPERS, prompts, tokens

Folders = dict[str, Path]


def heard_frames(made: Any, clips: list[Any]) -> tuple[list[Any], list[Any]]:
    """What the encoder is given, as a list of (clips, mels, frames) tensors, and the outputs."""
    seen: list[Any] = []
    first_layer = made.model.get_encoder().conv1
    hook = first_layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    try:
        return seen, made.predict(made.encode(clips))
    finally:
        hook.remove()


@pytest.mark.parametrize("name", WHISPERS)
def test_nothing_of_a_long_clip_is_cut(checkpoints: Folders, name: str) -> None:
    """Every frame of a clip 2.5 windows long reaches the encoder."""
    made = adapter(checkpoints[name], language="en")
    window = made.weights.processor.feature_extractor.chunk_length
    clip = sample(2.5 * window)
    features = made.encode([clip]).tensors["input_features"][0]
    assert features.shape[-1] == 250 * window
    seen, [output] = heard_frames(made, [clip])
    windows = [part for call in seen for part in call]
    unheard = [
        place
        for place in range(features.shape[-1])
        if not any((part == features[:, place, None]).all(0).any() for part in windows)
    ]
    assert unheard == []
    assert output.tokens > 0


def test_long_and_short_clips_never_share_a_batch(checkpoints: Folders) -> None:
    made = adapter(checkpoints["bytes"])
    assert made.bucket(sample(1.0)) == made.bucket(sample(0.2)) != made.bucket(sample(1.1))


@pytest.mark.parametrize("name", WHISPERS)
def test_long_batch_says_what_its_clips_say_alone(checkpoints: Folders, name: str) -> None:
    made = adapter(checkpoints[name], language="en")
    window = made.weights.processor.feature_extractor.chunk_length
    clips = [sample(length * window, seed) for seed, length in enumerate((2.5, 1.2, 1.7))]
    together = made.predict(made.encode(clips))
    assert together == [made.predict(made.encode([clip]))[0] for clip in clips]


def test_long_clip_with_detection_beams_and_limit(checkpoints: Folders) -> None:
    made = adapter(checkpoints["bytes"], num_beams=2, max_new_tokens=6)
    output = made.predict(made.encode([sample(2.5)]))[0]
    assert output.extras["language"] in ("en", "fr")
    assert output.truncated


@pytest.mark.parametrize("name", WHISPERS)
def test_segments_cover_the_text_in_order(checkpoints: Folders, name: str) -> None:
    made = adapter(checkpoints[name], language="en", timestamps="segment")
    with prompts(made.model) as seen:
        output = made.predict(made.encode([sample(0.9)]))[0]
    [no_timestamps] = tokens(made, "<|notimestamps|>")
    assert all(no_timestamps not in row for call in seen for row in call)
    segments: Any = output.extras["segments"]
    assert segments
    assert all(0 <= segment["start"] <= segment["end"] for segment in segments)
    assert isinstance(output.output, str)
    assert "".join(segment["text"] for segment in segments).replace(" ", "") == output.output.replace(" ", "")


@pytest.mark.parametrize("name", MULTILINGUAL)
def test_words_have_times_and_leave_the_model_as_it_was(checkpoints: Folders, name: str) -> None:
    made = adapter(checkpoints[name], language="en", timestamps="word")
    kernel = made.model.config._attn_implementation
    clips = [sample(0.6, 0), sample(0.9, 1)]
    outputs = made.predict(made.encode(clips))
    assert outputs == [made.predict(made.encode([clip]))[0] for clip in clips]
    segments: Any = outputs[1].extras["segments"]
    words = [word for segment in segments for word in segment["words"]]
    assert words
    times = [(word["start"], word["end"]) for word in words]
    assert times == sorted(times)
    assert all(0 <= start <= end <= 1.0 for start, end in times)
    assert made.model.config._attn_implementation == kernel


def test_fallback_schedule_is_reproducible(checkpoints: Folders) -> None:
    made = adapter(checkpoints["bytes"], language="en", temperature=(0.0, 0.4, 0.8))
    clip = sample(2.5)
    assert made.predict(made.encode([clip])) == made.predict(made.encode([clip]))


def test_cousin_without_timestamps_says_so(checkpoints: Folders) -> None:
    with pytest.raises(AdapterError, match="no timestamps"):
        adapter(checkpoints["moonshine"], timestamps="segment")
