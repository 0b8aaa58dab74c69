"""The temperature of a contrastive loss: trained unless told otherwise, kept in bounds, saved beside LoRA."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from harness.errors import AdapterError, RunError
from harness.models.base import Batch
from harness.models.trained import TrainedAdapter
from harness.spec.training import Train
from harness.training.fine_tune import FineTuned, fine_tune
from harness.training.method import Tuning, prepare, preview
from harness.training.trainer import HarnessTrainer
from harness.training.watcher import Watcher
from tests.training import pairs
from tests.training.pairs import LN_100, Twins, pair_job, twins

TRAIN: dict[str, Any] = {
    "steps": 8,
    "batch": 6,
    "micro_batch": 4,
    "learning_rate": 1e-2,
    "evaluate_every": 2,
    "save_every": 4,
    "lora": {"r": 4, "dropout": 0.1},
}
FULL: dict[str, Any] = {"method": "full", "lora": {}}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {
        "softmax": pairs.base(root / "softmax", dropout=0.1),
        "sigmoid": pairs.base(root / "sigmoid", sigmoid=True, dropout=0.1),
    }


def tuned(base: Path, **train: Any) -> Tuning:
    adapter = twins(base)
    return prepare(adapter.model, adapter.info, Train(steps=1, **train), adapter.part_states())


def states(tuning: Tuning) -> dict[str, str]:
    return {row.name: row.state for row in tuning.parts}


def score(adapter: Twins, step: int) -> dict[str, float]:
    """Depends on the temperature, so that a step that is scored with another shows."""
    return {"accuracy": float(adapter.model.logit_scale.detach()) * 1000 % 7}


def embedded(adapter: Twins) -> torch.Tensor:
    """The loss of some pairs, which embeddings and temperature decide."""
    batch = adapter.encode(
        [adapter.chosen(pairs.sample(number), np.random.default_rng(0)) for number in range(4)]
    )
    adapter.model.eval()
    with torch.inference_mode():
        left, right = adapter.pair_embeddings(adapter.model, batch)
        return torch.cat([left, right, adapter.pair_loss(None, left, right).expand(1, left.shape[1])])


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_it_is_trained_unless_the_task_says_otherwise(bases, kind):
    assert states(tuned(bases[kind])) == {"vision": "lora", "text": "lora", "temperature": "full"}
    assert states(tuned(bases[kind], **FULL))["temperature"] == "full"
    frozen = tuned(bases[kind], parts={"temperature": "frozen"})
    assert states(frozen)["temperature"] == "frozen"
    assert not any("logit" in name for name in frozen.state())
    whole = tuned(bases[kind], method="full", parts={"temperature": "frozen"})
    assert not any("logit" in name for name in whole.state())


@pytest.mark.parametrize(
    "train", [{}, FULL, {"parts": {"vision": "frozen"}}, {"parts": {"temperature": "frozen"}}]
)
def test_preview_is_what_training_does(bases, train):
    adapter = twins(bases["sigmoid"])
    seen = preview(
        adapter.weights, adapter.auto_class, adapter.info, Train(steps=1, **train), adapter.part_states()
    )
    tuning = tuned(bases["sigmoid"], **train)
    assert (seen.parts, seen.trainable, seen.total) == (tuning.parts, tuning.trainable, tuning.total)


def test_a_part_that_the_network_lacks_is_an_error_only_if_the_task_names_it(bases):
    assert "fusion" not in states(tuned(bases["softmax"]))
    with pytest.raises(AdapterError, match="this network has no part 'fusion'"):
        tuned(bases["softmax"], parts={"fusion": "full"})


def test_an_adapter_says_the_same_with_its_temperature(bases, tmp_path):
    todo = pair_job(tmp_path, {**TRAIN, "select_by": "last"}, bases["softmax"])
    result = fine_tune(todo)
    saved = load_file(result.folder / "extra_parameters.safetensors")
    assert saved.keys() == {"logit_scale"}
    assert float(saved["logit_scale"]) != 2.0
    loaded = twins(bases["softmax"], adapter=TrainedAdapter("trained", result.folder))
    assert isinstance(todo.adapter, Twins)
    assert torch.equal(embedded(loaded), embedded(todo.adapter))


def test_half_precision_does_not_round_it(bases, tmp_path):
    """bfloat16 has nothing between 2 and 2.015."""
    settings = {**TRAIN, "learning_rate": 1e-4, "select_by": "last"}
    todo = pair_job(tmp_path, settings, bases["softmax"], dtype="bfloat16")
    result = fine_tune(todo)
    trained = float(todo.adapter.model.logit_scale.detach())
    assert 2.0 < trained < 2.002 or 1.998 < trained < 2.0
    adapter = TrainedAdapter("trained", result.folder)
    loaded = twins(bases["softmax"], dtype="bfloat16", adapter=adapter)
    assert float(loaded.model.logit_scale) == trained


def test_the_best_step_s_temperature_is_kept(bases, tmp_path):
    seen: dict[int, float] = {}

    def at(adapter: Twins, step: int) -> dict[str, float]:
        seen[step] = float(adapter.model.logit_scale.detach())
        return {"accuracy": 1.0 if step == 4 else 0.0}

    result = fine_tune(pair_job(tmp_path, TRAIN, bases["softmax"], evaluate=at))
    assert result.best_step == 4
    assert float(load_file(result.folder / "extra_parameters.safetensors")["logit_scale"]) == seen[4]
    assert len(set(seen.values())) == len(seen)


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Watcher.on_step_end

    def end(self: Watcher, args: Any, state: Any, control: Any, **settings: Any) -> None:
        if state.global_step == step:
            self._stop.name = "SIGTERM"
        original(self, args, state, control, **settings)

    monkeypatch.setattr(Watcher, "on_step_end", end)


def content(result: FineTuned) -> dict[str, torch.Tensor]:
    return {
        name: value for file in result.folder.glob("*.safetensors") for name, value in load_file(file).items()
    }


@pytest.mark.parametrize(("train", "kind"), [({}, "softmax"), (FULL, "sigmoid")], ids=["lora", "full"])
@pytest.mark.parametrize("at", [4, 3])
def test_eight_steps_are_four_and_four_bit_for_bit(bases, tmp_path, monkeypatch, train, kind, at):
    """With dropout, micro-batches of unequal size and captions that are drawn anew."""
    settings, base = {**TRAIN, **train}, bases[kind]
    whole = fine_tune(pair_job(tmp_path / "whole", settings, base, evaluate=score))
    with monkeypatch.context() as patch:
        stop_after(at, patch)
        with pytest.raises(RunError, match=f"SIGTERM after step {at} of 8"):
            fine_tune(pair_job(tmp_path / "parts", settings, base, evaluate=score))
    resumed = fine_tune(pair_job(tmp_path / "parts", settings, base, evaluate=score))
    assert resumed.resumed_from == at
    mine, theirs = content(resumed), content(whole)
    assert mine.keys() == theirs.keys()
    assert any("logit_scale" in name for name in mine)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert resumed.curve.to_json() == whole.curve.to_json()


@pytest.mark.parametrize("train", [{}, FULL], ids=["lora", "full"])
@pytest.mark.parametrize(("start", "rate"), [(4.6, 1.0), (0.01, -1.0)])
def test_it_stays_between_one_and_a_hundred(bases, tmp_path, monkeypatch, train, start, rate):
    """A step that would bring it out of bounds leaves it at the bound."""

    def pushed(self: Twins, network: Any, left: Any, right: Any) -> Any:
        return -rate * self.model.logit_scale.sum() + 0 * (left.sum() + right.sum())

    monkeypatch.setattr(Twins, "pair_loss", pushed)
    todo = pair_job(tmp_path, {**TRAIN, **train, "learning_rate": 0.1, "select_by": "last"}, bases["softmax"])
    with torch.no_grad():
        todo.adapter.model.logit_scale.fill_(start)
    fine_tune(todo)
    assert float(todo.adapter.model.logit_scale.detach()) == pytest.approx(LN_100 if rate > 0 else 0.0)


def test_neither_temperatures_nor_biases_nor_norms_decay(bases, tmp_path, monkeypatch):
    groups: list[Any] = []
    create: Callable[..., Any] = HarnessTrainer.create_optimizer

    def look(self: HarnessTrainer, model: Any = None) -> Any:
        optimizer = create(self, model)
        names = {id(parameter): name for name, parameter in self._tuning.network.named_parameters()}
        groups.extend(
            (group["weight_decay"], [names[id(p)] for p in group["params"]])
            for group in optimizer.param_groups
        )
        return optimizer

    monkeypatch.setattr(HarnessTrainer, "create_optimizer", look)
    settings = {**TRAIN, **FULL, "steps": 1, "weight_decay": 0.2, "select_by": "last"}
    fine_tune(pair_job(tmp_path, settings, bases["sigmoid"]))
    (decay, decayed), (none, kept) = groups
    assert (decay, none) == (0.2, 0.0)
    assert {"logit_scale", "logit_bias"} <= set(kept)
    assert {name for name in kept if "norm" not in name and "bias" not in name} == {"logit_scale"}
    assert decayed
    assert not any("norm" in name or name.endswith("bias") for name in decayed)


def test_the_card_says_what_became_of_each_part(bases, tmp_path):
    settings = {**TRAIN, "steps": 1, "select_by": "last", "parts": {"vision": "frozen"}}
    result = fine_tune(pair_job(tmp_path, settings, bases["softmax"]))
    assert json.loads((result.folder / "harness.json").read_text())["train"]["parts"] == {
        "vision": "frozen", "text": "lora", "temperature": "full",
    }  # fmt: skip
    assert "| parts | vision: frozen, temperature: full |" in (result.folder / "README.md").read_text()


def test_batch_norms_keep_the_statistics_of_the_checkpoint(bases):
    """An adapter can't hold others, and those of a micro-batch are not those of a step."""
    from torch import nn

    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    prepare(model, Twins.info, Train(steps=1, method="full"))
    model.train()
    values = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    together, apart = model(values), torch.cat([model(values[:2]), model(values[2:])])
    torch.testing.assert_close(together, apart)
    norm = model[1]
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert norm.weight.requires_grad


def test_an_uncoupled_family_goes_the_old_way(bases, tmp_path, monkeypatch):
    """What couples nothing is asked for its loss, batch by batch, and never for pairs."""
    asked: list[int] = []

    def loss(self: Twins, network: Any, batch: Batch) -> Any:
        asked.append(len(batch.samples))
        return network(**batch.tensors).image_embeds.sum()

    monkeypatch.setattr(Twins, "coupled", False)
    monkeypatch.setattr(Twins, "loss", loss)
    monkeypatch.delattr(Twins, "pair_embeddings")
    settings = {
        **TRAIN,
        "steps": 2,
        "select_by": "last",
        "parts": {"text": "frozen", "temperature": "frozen"},
    }
    fine_tune(pair_job(tmp_path, settings, bases["softmax"]))
    assert asked == [3, 3, 3, 3]
