"""The loss is a sum over label tokens that doesn't depend on which clips share a batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RowError
from harness.models.base import Batch
from harness.models.whisper import Whisper
from harness.types import Sample
from tests.models.clips import adapter, sample
from tests.models.tiny import tiny_speech2text

Folders = dict[str, Path]
FAMILIES = ("bytes", "multilingual", "english", "moonshine", "speech2text")
TARGETS = ("a", "hello the world", "hello", "one two")
LENGTHS = (0.3, 0.9, 0.5, 0.5)


@pytest.fixture(scope="module")
def folders(checkpoints: Folders, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    speech2text = tiny_speech2text(tmp_path_factory.mktemp("s2t") / "multilingual", multilingual=True)
    return {**checkpoints, "speech2text": speech2text}


def made_for(folders: Folders, name: str) -> Whisper:
    return adapter(
        folders[name], language=None if name == "moonshine" else "en" if name != "speech2text" else "fr"
    )


def ragged() -> list[Sample]:
    rows = zip(LENGTHS, TARGETS, strict=True)
    return [sample(seconds, seed, target=target) for seed, (seconds, target) in enumerate(rows)]


def loss(made: Whisper, samples: Sequence[Sample], network: Any = None) -> Any:
    return made.loss(network or made.model, made.encode(samples, with_targets=True))


def gradients(network: Any) -> dict[str, Any]:
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_batch_sums_what_its_samples_say_alone(folders: Folders, name: str) -> None:
    made, clips = made_for(folders, name), ragged()
    together = loss(made, clips)
    assert together.shape == ()
    assert str(together.dtype) == "torch.float32"
    alone = sum(loss(made, [clip]).item() for clip in clips)
    assert together.item() == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradient_is_the_same_in_one_go_and_in_parts(folders: Folders, name: str) -> None:
    import torch

    made, clips = made_for(folders, name), ragged()
    loss(made, clips).backward()
    whole = gradients(made.model)
    for part in (clips[:1], clips[1:]):
        loss(made, part).backward()
    parts = gradients(made.model)
    assert whole.keys() == parts.keys()
    scale = max(gradient.abs().max().item() for gradient in whole.values())
    for key, gradient in whole.items():
        torch.testing.assert_close(gradient, parts[key], rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("name", FAMILIES)
def test_loss_is_cross_entropy_of_the_labels_by_hand(folders: Folders, name: str) -> None:
    import torch

    made, clip = made_for(folders, name), sample(0.5, target="hello")
    tensors = made.encode([clip], with_targets=True).tensors
    labels = tensors.pop("labels")[0]
    with torch.no_grad():
        probabilities = made.model(**tensors).logits[0].softmax(-1)
        expected = -sum(probabilities[at, label].log() for at, label in enumerate(labels))
        assert loss(made, [clip]).item() == pytest.approx(float(expected), rel=1e-5)
    assert made.items(made.encode([clip], with_targets=True)) == len(labels)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT's own
@pytest.mark.parametrize("name", FAMILIES)
def test_loss_goes_through_a_peft_wrapper(folders: Folders, name: str) -> None:
    from peft import LoraConfig, get_peft_model

    made, clips = made_for(folders, name), ragged()
    before = loss(made, clips).item()
    wrapped = get_peft_model(made.model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    value = loss(made, clips, wrapped)
    assert value.item() == pytest.approx(before, rel=1e-6), "LoRA starts from zero"
    value.backward()
    names = gradients(wrapped)
    assert names
    assert all("lora_" in name for name in names)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("autocast", [False, True])
def test_precision_of_the_network_and_autocast(folders: Folders, dtype: str, autocast: bool) -> None:
    import torch

    exact = loss(adapter(folders["bytes"], language="en"), ragged()).item()
    made = adapter(folders["bytes"], language="en", dtype=dtype)
    batch = made.encode(ragged(), with_targets=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = made.loss(made.model, batch)
    assert str(value.dtype) == "torch.float32"
    assert value.item() == pytest.approx(exact, rel=0.1)
    value.backward()
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(made.model).values())


def test_padding_is_no_item(folders: Folders) -> None:
    made = made_for(folders, "bytes")
    alone = [made.items(made.encode([clip], with_targets=True)) for clip in ragged()]
    assert made.items(made.encode(ragged(), with_targets=True)) == sum(alone)
    assert len(set(alone)) == len(alone)


def test_clip_that_does_not_fit_the_window_is_refused(folders: Folders) -> None:
    made = made_for(folders, "bytes")
    clips = [sample(1.0, 0), sample(1.25, 1)]
    with pytest.raises(RowError, match=r"sample '1' lasts 1\.25 s: .* window of 1 s"):
        made.encode(clips, with_targets=True)
    made.encode(clips[:1], with_targets=True)
    assert isinstance(made.encode(clips), Batch), "it can still be transcribed"
