"""The gradient of a step doesn't depend on how the step is split: over micro-batches, or over processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.training.fine_tune import fine_tune
from harness.training.method import Tuning, prepare
from harness.training.order import steps
from harness.training.trainer import HarnessTrainer
from tests.conftest import ROOT
from tests.training.gradients import watched
from tests.training.jobs import clips, job

TRAIN: dict[str, Any] = {
    "steps": 2,
    "batch": 4,
    "learning_rate": 1e-3,
    "warmup": 0,
    "max_grad_norm": 1e9,
    "select_by": "last",
}
CLOSE = 1e-5
"""Of the largest gradient: float32 sums depend on their order, and that on the processor."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("base")


def gradients(folder: Path, base: Path, **train: Any) -> list[dict[str, torch.Tensor]]:
    """The gradients of every step of a training, before clipping."""
    with watched() as found:
        fine_tune(job(folder, {**TRAIN, **train}, base=base))
    return found


def by_hand(folder: Path, base: Path, **train: Any) -> dict[str, torch.Tensor]:
    """The first step's gradient from first principles: one sample at a time, the mean over all tokens."""
    todo = job(folder, {**TRAIN, **train}, base=base)
    tuning = prepare(todo.adapter.model, todo.adapter.info, todo.train)
    tuning.network.train()
    step = next(steps(clips(), 4, todo.train.seed))
    total, tokens = torch.zeros(()), 0
    for draw in step:
        batch = todo.adapter.encode([draw.sample()], with_targets=True)
        labels = batch.tensors["labels"]
        logits = tuning.network(
            input_features=batch.tensors["input_features"],
            decoder_input_ids=batch.tensors["decoder_input_ids"],
        ).logits
        total = total + torch.nn.functional.cross_entropy(logits[0], labels[0], reduction="sum")
        tokens += labels.shape[1]
    (total / tokens).backward()
    return _named(tuning)


def _named(tuning: Tuning) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in tuning.network.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    }


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert any(gradient.abs().max() > 1e-4 for gradient in expected.values())
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        apart = (found[name] - gradient).abs().max()
        assert apart <= CLOSE * largest, f"{name}: {apart:.2g} apart, the largest is {largest:.2g}"


def assert_two_processes_equal(
    module: str, folder: Path, base: Path, settings: dict[str, Any], one: Sequence[dict[str, torch.Tensor]]
) -> None:
    """Train in two processes by running a module of tests; `one` are the gradients of one, step by step."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, "-m", module, str(folder), str(base), json.dumps(settings)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in range(2):
        for step in range(2):
            assert_equal(load_file(folder / f"gradients-{rank}-{step}.safetensors"), one[step])


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("micro", [4, 2, 1])
def test_a_step_s_gradient_is_the_mean_over_its_tokens(tmp_path, base, method, micro):
    found = gradients(tmp_path, base, method=method, micro_batch=micro)
    assert_equal(found[0], by_hand(tmp_path / "hand", base, method=method))


def test_the_next_step_s_gradient_is_equal_too(tmp_path, base):
    whole = gradients(tmp_path / "whole", base, micro_batch=4)
    split = gradients(tmp_path / "split", base, micro_batch=1)
    assert_equal(split[1], whole[1])


def test_targets_are_ragged_so_that_a_mean_of_means_would_be_another_gradient(tmp_path, base):
    todo = job(tmp_path, TRAIN, base=base)
    step = next(steps(clips(), 4, todo.train.seed))
    lengths = [len(str(draw.sample().target)) for draw in step]
    assert len(set(lengths)) > 1


def test_checkpointing_changes_no_gradient(tmp_path, base):
    plain = gradients(tmp_path / "plain", base)
    saving = gradients(tmp_path / "saving", base, gradient_checkpointing=True)
    assert_equal(saving[0], plain[0])


@pytest.mark.heavy
def test_two_processes_have_the_gradient_of_one(tmp_path, base):
    one = gradients(tmp_path / "one", base)
    two = {**TRAIN, "micro_batch": 1}
    assert_two_processes_equal("tests.training.gradients", tmp_path / "two", base, two, one)


def test_the_reference_trainer_would_have_failed(tmp_path, base, monkeypatch):
    """Losses averaged per micro-batch, as transformers' Trainer has them for Whisper, turn this test red."""
    monkeypatch.setattr(
        HarnessTrainer,
        "_get_num_items_in_batch",
        lambda self, micros, device: torch.tensor(self._adapter.items(micros[0].batch)),
    )
    found = gradients(tmp_path, base, micro_batch=1)
    with pytest.raises(AssertionError):
        assert_equal(found[0], by_hand(tmp_path / "hand", base))
