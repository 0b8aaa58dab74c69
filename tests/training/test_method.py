"""What is trained: the table says it before any weights are read, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import AdapterError, RunError
from harness.models.base import AdapterInfo
from harness.models.whisper import Whisper
from harness.spec.training import Lora, Train
from harness.training.method import PartRow, Tuning, prepare, preview
from tests.training.networks import MAKERS, fresh, moved, said

SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {},
    "one part": {"parts": {"encoder": "frozen"}},
    "a part in full": {"parts": {"encoder": "full"}},
    "a pattern": {"lora": {"r": 4, "targets": [r"model\.decoder\..*\.(q|v)_proj"]}},
    "dropout": {"lora": {"r": 4, "targets": ["fc1", "q_proj"], "dropout": 0.1}},
    "dora": {"lora": {"dora": True}},
    "rslora": {"lora": {"rslora": True}},
    "pissa": {"lora": {"init": "pissa", "r": 4}},
    "full": {"method": "full"},
    "full but one part": {"method": "full", "parts": {"decoder": "frozen"}},
}


def tuned(base: Path, info: AdapterInfo = Whisper.info, **train: Any) -> Tuning:
    return prepare(fresh(base).model, info, Train(steps=1, **train))


def refused(base: Path, **train: Any) -> AdapterError:
    """The error of a training that can't be; it is the same before weights are loaded."""
    with pytest.raises(AdapterError) as caught:
        tuned(base, **train)
    with pytest.raises(AdapterError) as seen_before:
        preview(fresh(base).weights, Whisper.auto_class, Whisper.info, Train(steps=1, **train))
    assert seen_before.value.message == caught.value.message
    return caught.value


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_preview_is_what_training_does(bases: dict[str, Path], kind: str, settings: dict[str, Any]) -> None:
    tuning = tuned(bases[kind], **settings)
    weights = fresh(bases[kind]).weights
    weights.model = None  # type: ignore[method-assign, assignment]  # it must not be needed
    seen = preview(weights, Whisper.auto_class, Whisper.info, Train(steps=1, **settings))
    assert (seen.parts, seen.targets) == (tuning.parts, tuning.targets)
    assert (seen.trainable, seen.total) == (tuning.trainable, tuning.total)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_table_adds_up(bases: dict[str, Path], settings: dict[str, Any]) -> None:
    tuning = tuned(bases["whisper"], **settings)
    assert sum(row.trained for row in tuning.parts) == tuning.trainable
    assert sum(row.total for row in tuning.parts) == tuning.total
    assert tuning.trainable == sum(value.numel() for value in tuning.state().values())
    if tuning.targets and "full" not in settings.get("parts", {}).values():
        assert sum(row.parameters for row in tuning.targets) == tuning.trainable


def test_states_of_parts(bases: dict[str, Path]) -> None:
    size = {row.name: row.total for row in tuned(bases["whisper"], method="full").parts}
    assert list(size) == ["encoder", "decoder"]
    positions = 50 * 16  # sinusoids, fixed by the network's own code
    rows = tuned(bases["whisper"], parts={"encoder": "full"}, lora={"r": 2}).parts
    lora = 2 * 2 * 2 * 2 * 2 * 16  # layers, attentions, targets, matrices, rank, width
    assert rows == [
        PartRow("encoder", "full", size["encoder"] - positions, size["encoder"]),
        PartRow("decoder", "lora", lora, size["decoder"] + lora),
    ]


def test_modules_outside_of_every_part_have_a_row(bases: dict[str, Path]) -> None:
    info = replace(Whisper.info, parts={"encoder": ("model.encoder",)})
    rows = tuned(bases["whisper"], info, parts={"encoder": "frozen"}).parts
    assert [(row.name, row.state) for row in rows] == [("encoder", "frozen"), ("rest", "lora")]


def test_modules_per_target(bases: dict[str, Path]) -> None:
    rows = tuned(bases["whisper"], lora={"r": 2, "targets": ["encoder_attn.q_proj", "q_proj", "fc1"]}).targets
    assert [(row.target, row.modules) for row in rows] == [
        ("encoder_attn.q_proj", 2),
        ("q_proj", 4),
        ("fc1", 4),
    ]


@pytest.mark.parametrize("kind", MAKERS)
def test_only_what_the_table_says_is_trained(bases: dict[str, Path], kind: str) -> None:
    model = fresh(bases[kind]).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prepare(model, Whisper.info, Train(steps=1, method="full", parts={"decoder": "frozen"}))
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained
    assert all(name.startswith("model.encoder.") for name in trained)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_sinusoids_are_not_trained(bases: dict[str, Path]) -> None:
    """Loading weights forgets that Whisper's own code keeps them fixed."""
    assert "model.encoder.embed_positions.weight" not in tuned(bases["whisper"], method="full").state()


def test_lora_begins_where_the_base_is(bases: dict[str, Path]) -> None:
    adapter = fresh(bases["whisper"])
    before = said(adapter)
    prepare(adapter.model, adapter.info, Train(steps=1))
    assert torch.equal(said(adapter), before)


def test_seed_decides_what_lora_begins_with(bases: dict[str, Path]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (tuned(bases["whisper"], seed=seed).state() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_state_goes_in_and_out(bases: dict[str, Path], settings: dict[str, Any]) -> None:
    adapter, again = fresh(bases["whisper"]), fresh(bases["whisper"])
    state = moved(adapter, **settings).state()
    tuning = prepare(again.model, again.info, Train(steps=1, **settings))
    tuning.load(state)
    tuning.network.eval()
    assert torch.equal(said(again), said(adapter))
    assert all(not value.requires_grad and value.is_contiguous() for value in state.values())


def test_state_is_a_copy(bases: dict[str, Path]) -> None:
    tuning = tuned(bases["whisper"])
    state = tuning.state()
    kept = {name: value.clone() for name, value in state.items()}
    with torch.no_grad():
        for parameter in tuning.network.parameters():
            parameter += 1
    assert all(torch.equal(state[name], kept[name]) for name in state)


def test_state_of_another_training_is_refused(bases: dict[str, Path]) -> None:
    tuning = tuned(bases["whisper"], lora={"r": 2})
    with pytest.raises(RunError, match="doesn't fit"):
        tuning.load(tuned(bases["whisper"], lora={"r": 4}).state())
    state = tuning.state()
    state.pop(next(iter(state)))
    with pytest.raises(RunError, match="1 parameters differ"):
        tuning.load(state)


@pytest.mark.parametrize("settings", [{}, {"method": "full"}, {"parts": {"encoder": "full"}}])
def test_checkpointing_changes_no_gradient(bases: dict[str, Path], settings: dict[str, Any]) -> None:
    gradients = []
    for checkpointing in (False, True):
        adapter = fresh(bases["whisper"])
        tuning = prepare(
            adapter.model, adapter.info, Train(steps=1, gradient_checkpointing=checkpointing, **settings)
        )
        assert adapter.model.is_activation_checkpointing == checkpointing
        tuning.network.train()
        from tests.models.clips import sample

        adapter.loss(tuning.network, adapter.encode([sample()], with_targets=True)).backward()
        gradients.append({n: p.grad for n, p in tuning.network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])


def test_half_precision_trains_in_float32(bases: dict[str, Path]) -> None:
    adapter = fresh(bases["whisper"], dtype="bfloat16")
    state = moved(adapter, parts={"encoder": "full"}).state()
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert said(adapter).dtype == torch.bfloat16
    assert said(adapter).isfinite().all()


def test_unknown_part(bases: dict[str, Path]) -> None:
    error = refused(bases["whisper"], parts={"encodr": "frozen"})
    assert "no part 'encodr'" in error.message
    assert "'encoder'" in error.hint


def test_nothing_is_trained(bases: dict[str, Path]) -> None:
    everything = {"encoder": "frozen", "decoder": "frozen"}
    assert "nothing would be trained" in refused(bases["whisper"], method="full", parts=everything).message
    assert "in parts without LoRA: decoder (frozen), encoder (frozen)" in (
        refused(bases["whisper"], parts=everything).message
    )


@pytest.mark.parametrize(
    ("targets", "message", "hint"),
    [
        (["q_prj"], "'q_prj' matches no linear layer", "'q_proj'"),
        (["q_proj", "self_attn"], "'self_attn' matches no linear layer", "fc1"),
        (["conv1"], "'conv1' matches no linear layer", "fc1"),
        (["layer_norm"], "'layer_norm' matches no linear layer", "fc1"),
        ([r".*\.w_proj"], "matches no linear layer", "v_proj"),
        (["(q_proj"], "is not a regular expression", "example"),
        (["q_proj", r".*v_proj"], "'.*v_proj' is not a layer's name", "nothing else"),
    ],
)
def test_target_that_matches_nothing(
    bases: dict[str, Path], targets: list[str], message: str, hint: str
) -> None:
    error = refused(bases["whisper"], lora={"targets": targets})
    assert message in error.message
    assert hint in error.hint


def test_target_that_is_named_twice(bases: dict[str, Path]) -> None:
    once, twice = (tuned(bases["whisper"], lora={"targets": ["q_proj"] * times}) for times in (1, 2))
    assert twice.targets == once.targets


def test_tied_weights_in_full_beside_lora(bases: dict[str, Path]) -> None:
    error = refused(bases["whisper"], parts={"decoder": "full"})
    assert "model.decoder.embed_tokens.weight is proj_out.weight" in error.message
    assert "method" in error.hint


def test_module_whose_name_ends_another(bases: dict[str, Path]) -> None:
    """PEFT would train q_proj in full too when asked for proj."""
    from torch import nn

    model = nn.ModuleDict({"proj": nn.Linear(2, 2), "q_proj": nn.Linear(2, 2), "key": nn.Linear(2, 2)})
    info = replace(Whisper.info, lora_targets=("key",), parts={"head": ("proj",)})
    with pytest.raises(AdapterError, match=r"in full without others: \['q_proj'\]"):
        prepare(model, info, Train(steps=1, parts={"head": "full"}))


def test_lora_part_of_a_full_training(bases: dict[str, Path]) -> None:
    assert (
        "Set train.method to lora" in refused(bases["whisper"], method="full", parts={"encoder": "lora"}).hint
    )


@pytest.mark.parametrize(
    ("lora", "message"),
    [({"dora": True, "r": 4}, "PiSSA with DoRA"), ({"r": 17}, "rank 17")],
)
def test_pissa_that_can_not_be_saved(bases: dict[str, Path], lora: dict[str, Any], message: str) -> None:
    assert message in refused(bases["whisper"], lora={"init": "pissa", **lora}).message


def test_pissa_of_half_precision(bases: dict[str, Path]) -> None:
    train = Train(steps=1, lora=Lora(init="pissa", r=4))
    adapter = fresh(bases["whisper"], dtype="bfloat16")
    with pytest.raises(AdapterError, match="bfloat16 would round"):
        preview(adapter.weights, adapter.auto_class, adapter.info, train)
    with pytest.raises(AdapterError, match="bfloat16 would round"):
        prepare(adapter.model, adapter.info, train)


def test_network_without_checkpointing(bases: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import WhisperForConditionalGeneration

    monkeypatch.setattr(WhisperForConditionalGeneration, "supports_gradient_checkpointing", False)
    assert "train.gradient_checkpointing" in refused(bases["whisper"], gradient_checkpointing=True).message


def test_a_part_that_lora_does_not_reach_is_refused(bases: dict[str, Path]) -> None:
    error = refused(bases["whisper"], parts={"encoder": "lora"}, lora={"targets": [r".*decoder.*q_proj"]})
    assert "train.parts.encoder: none of its layers is a target of LoRA" in error.message
    rows = tuned(bases["whisper"], parts={"encoder": "lora"}, lora={"targets": ["q_proj"]}).parts
    assert next(row for row in rows if row.name == "encoder").trained
