"""CLAP hears sounds as transformers does, and always the same piece of a long one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import AdapterError, MediaError, RowError
from harness.models.weights import quiet
from harness.types import Sample
from tests.models.clips import Clip, sample
from tests.models.pictures import dual_encoder, embeddings, text_sample
from tests.models.tiny_clip import POSITIONS, tiny_clap

KINDS = ["unfused", "fused"]
WINDOW_SECONDS = 1.0
TEXTS = ["a dog", "the sound of rain", "x"]

Folders = dict[str, Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root = tmp_path_factory.mktemp("clap")
    return {kind: tiny_clap(root / kind, fused=kind == "fused") for kind in KINDS}


def clap(folder: Path, kind: str = "zero_shot_classification") -> Any:
    return dual_encoder(folder, kind, column="audio")


@pytest.mark.parametrize("kind", KINDS)
def test_sounds_and_texts_are_embedded_as_by_transformers(folders: Folders, kind: str) -> None:
    from transformers import AutoProcessor, ClapModel

    made = clap(folders[kind])
    samples = [sample(0.3, 0), sample(0.9, 1), sample(1.0, 2)]
    with quiet(), torch.inference_mode():
        model = ClapModel.from_pretrained(folders[kind]).eval()
        processor = AutoProcessor.from_pretrained(folders[kind])
        waves = [one.inputs["audio"].wave for one in samples]  # type: ignore[union-attr]
        heard = processor.feature_extractor(waves, sampling_rate=16_000, return_tensors="pt")
        heard["is_longer"] = torch.zeros(3, 1, dtype=torch.bool)  # the extractor calls one longer by chance
        read = processor.tokenizer(TEXTS, padding=True, return_tensors="pt")
        expected = (
            model.get_audio_features(**heard).pooler_output,
            model.get_text_features(**read).pooler_output,
        )
        logits = model(**heard, **read).logits_per_audio
    sounds, texts = embeddings(made, samples), embeddings(made, [text_sample(text) for text in TEXTS])
    np.testing.assert_allclose(sounds, expected[0], atol=1e-5)
    np.testing.assert_allclose(texts, expected[1], atol=1e-5)
    similarity = made.similarity()
    assert similarity.scoring == "softmax"
    np.testing.assert_allclose(similarity.scale * sounds @ texts.T, logits, atol=1e-4)
    assert np.ptp(sounds, axis=0).max() > 0.005
    assert np.ptp(texts, axis=0).max() > 0.005


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_is_embedded_alike_alone_in_a_batch_and_again(folders: Folders, kind: str) -> None:
    made = clap(folders[kind])
    samples = [sample(seconds, seed) for seed, seconds in enumerate((0.4, 2.7, 1.0, 1.005, 1.3))]
    together = embeddings(made, samples)
    np.random.seed(1)
    alone = np.concatenate([embeddings(made, [one]) for one in reversed(samples)])[::-1]
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_that_is_not_heard_whole_says_so(folders: Folders, kind: str) -> None:
    made = clap(folders[kind])
    batch = made.encode([sample(1.0, 0), sample(1.005, 1), sample(1.3, 2)])
    assert [output.truncated for output in made.predict(batch)] == [False, True, True]
    # A spectrogram has whole frames only: 5 ms more don't make one.
    assert batch.tensors["is_longer"].tolist() == [[False], [False], [True]]


def test_what_others_draw_stays_as_it_was(folders: Folders) -> None:
    np.random.seed(3)
    expected = np.random.random(2).tolist()
    np.random.seed(3)
    found = [np.random.random()]
    clap(folders["unfused"]).encode([sample(2.0)])
    assert [*found, np.random.random()] == expected


def test_texts_are_cut_at_the_limit(folders: Folders) -> None:
    made = clap(folders["unfused"])
    [output] = made.predict(made.encode([text_sample("x" * POSITIONS)]))
    assert output.truncated


def test_it_hears_at_its_own_rate(tmp_path: Path) -> None:
    made = clap(tiny_clap(tmp_path, rate_hz=48_000))
    assert made.rate_hz == 48_000
    asked: list[int] = []

    class Heard(Clip):
        def load(self, rate_hz: int) -> Any:
            asked.append(rate_hz)
            return np.zeros(100, np.float32)

    made.encode([Sample("a", {"audio": Heard(np.zeros(1, np.float32))}, "", "")])
    assert asked == [48_000]


def test_bad_sounds_are_named(folders: Folders) -> None:
    made = clap(folders["unfused"])
    silent = Sample("short", {"audio": Clip(np.zeros(0, np.float32))}, "", "")
    with pytest.raises(MediaError, match="'short' has audio of no length"):
        made.encode([silent])
    loud = Sample("loud", {"audio": Clip(np.full(4000, np.inf, np.float32))}, "", "")
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(MediaError, match="'loud' has audio whose features are NaN"),
    ):
        made.encode([sample(0.2), loud])
    with pytest.raises(RowError, match="'a' has no audio"):
        made.encode([Sample("a", {"audio": "a.wav"}, "", "")])
    with pytest.raises(AdapterError, match="embeds audio and texts, the task gives it image"):
        dual_encoder(folders["unfused"])


def test_what_is_asked_is_the_sound_alone(folders: Folders) -> None:
    made = clap(folders["unfused"])
    assert made.request(sample(target="rain")) == {"embed": "audio"}
    assert made.cost(text_sample("rain")) == 4.0
    assert made.render(sample(target="rain")).shapes["input_features"] == "float32 (1, 1, 101, 64)"
