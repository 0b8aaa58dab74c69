"""SpecAugment: masks of the size asked for, on the clip, never its padding, the same from the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import AdapterError
from harness.models.base import Batch
from harness.models.masks import mask
from harness.models.whisper import Whisper
from harness.spec.training import SpecAugment
from tests.models.clips import adapter, sample
from tests.models.tiny import tiny_speech2text

Folders = dict[str, Path]
LENGTHS = (0.3, 0.9, 0.5)
NOTHING = {"time_masks": 0, "frequency_masks": 0}


@pytest.fixture(scope="module")
def folders(checkpoints: Folders, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    speech2text = tiny_speech2text(tmp_path_factory.mktemp("s2t") / "english", multilingual=False)
    return {**checkpoints, "speech2text": speech2text}


def encoded(made: Whisper) -> Batch:
    return made.encode([sample(seconds, seed) for seed, seconds in enumerate(LENGTHS)])


def clips(made: Whisper, batch: Batch) -> Any:
    """(clips, frames, bins), whatever the family's order."""
    features = batch.tensors["input_features"]
    return features if made.weights.config.model_type == "speech_to_text" else features.transpose(1, 2)


def generators(*seeds: int) -> Sequence[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in seeds]


def changed(name: str, folders: Folders, seed: int = 0, **settings: Any) -> tuple[Any, Any, Any]:
    """Features before and after (clips, frames, bins), and the number of real frames of each clip."""
    made = adapter(folders[name], language="en")
    before, after = encoded(made), encoded(made)
    seeds = range(seed, seed + len(LENGTHS))
    made.spec_augment(after, SpecAugment(**settings), generators(*seeds))
    return clips(made, before), clips(made, after), before.tensors["attention_mask"].sum(1).tolist()


@pytest.mark.parametrize("name", ["bytes", "speech2text"])
def test_whole_bands_and_stretches_of_a_clip_become_its_mean(folders: Folders, name: str) -> None:
    for before, after, frames in zip(*changed(name, folders, time_share=0.3), strict=True):
        touched = before[:frames] != after[:frames]
        rows, columns = touched.all(1), touched.all(0)
        assert rows.any() or columns.any()
        assert bool((touched == (rows[:, None] | columns[None, :])).all())
        assert after[:frames][touched].unique().numel() == 1
        assert after[:frames][touched][0].item() == pytest.approx(before[:frames].mean().item(), abs=1e-5)


@pytest.mark.parametrize("name", ["bytes", "speech2text"])
def test_padding_is_never_masked(folders: Folders, name: str) -> None:
    for seed in range(10):
        rows = changed(name, folders, seed, time_masks=5, time_share=1.0, frequency_bins=80)
        for before, after, frames in zip(*rows, strict=True):
            assert bool((before[frames:] == after[frames:]).all())


@pytest.mark.parametrize("name", ["bytes", "speech2text"])
def test_no_masks_change_nothing(folders: Folders, name: str) -> None:
    for settings in (NOTHING, {"time_share": 0.0, "frequency_bins": 0}):
        before, after, _ = changed(name, folders, **settings)
        assert bool((before == after).all())


def test_masks_are_the_same_from_the_same_seed(folders: Folders) -> None:
    _, once, _ = changed("bytes", folders, 1)
    _, again, _ = changed("bytes", folders, 1)
    _, other, _ = changed("bytes", folders, 2)
    assert bool((once == again).all())
    assert not bool((once == other).all())


def test_a_clips_masks_do_not_depend_on_its_batch(folders: Folders) -> None:
    made = adapter(folders["bytes"], language="en")
    together, alone = encoded(made), made.encode([sample(LENGTHS[1], 1)])
    made.spec_augment(together, SpecAugment(), generators(5, 6, 7))
    made.spec_augment(alone, SpecAugment(), generators(6))
    assert bool((together.tensors["input_features"][1] == alone.tensors["input_features"][0]).all())


def test_sizes_reach_their_limits_and_no_further() -> None:
    import torch

    times, bands = [], []
    for seed in range(300):
        spectrogram = torch.arange(100.0 * 40).reshape(100, 40)
        mask(spectrogram, SpecAugment(time_masks=1, time_share=0.1, frequency_masks=0), *generators(seed))
        times.append(int((spectrogram == spectrogram[:, :1]).all(1).sum()))
        spectrogram = torch.arange(100.0 * 40).reshape(100, 40)
        mask(spectrogram, SpecAugment(time_masks=0, frequency_masks=1, frequency_bins=8), *generators(seed))
        bands.append(int((spectrogram == spectrogram[:1]).all(0).sum()))
    assert set(times) == set(range(11))
    assert set(bands) == set(range(9))


def test_masks_reach_both_ends() -> None:
    import torch

    touched = torch.zeros(20, 10, dtype=torch.bool)
    for seed in range(200):
        spectrogram = torch.arange(200.0).reshape(20, 10)
        mask(spectrogram, SpecAugment(time_share=0.1, frequency_bins=2), *generators(seed))
        touched |= spectrogram != torch.arange(200.0).reshape(20, 10)
    assert bool(touched.all())


def test_waveform_has_no_spectrogram(folders: Folders) -> None:
    made = adapter(folders["moonshine"])
    with pytest.raises(AdapterError, match="no spectrogram to mask"):
        made.spec_augment(encoded(made), SpecAugment(), generators(0, 1, 2))


def test_checkpoint_does_not_mask_on_its_own(folders: Folders) -> None:
    """Published ones may have transformers' own switched on, which draws from numpy's global state."""
    made = adapter(folders["bytes"], language="en")
    network = made.weights.model(made.auto_class)
    network.config.apply_spec_augment, network.config.mask_time_prob = True, 0.5
    batch = made.encode([sample()], with_targets=True)
    before = batch.tensors["input_features"].clone()
    evaluated = made.loss(made.model, batch).item()
    made.model.train()
    assert made.loss(made.model, batch).item() == evaluated
    assert bool((before == batch.tensors["input_features"]).all())
