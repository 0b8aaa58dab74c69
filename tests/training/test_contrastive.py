"""A contrastive step's gradient is that of all its pairs at once, however they are split."""

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

from harness.errors import RunError, UsageError
from harness.training import contrastive
from harness.training.contrastive import CoupledLoss
from harness.training.fine_tune import FineTuned, fine_tune
from harness.training.method import prepare
from harness.training.order import share, steps
from tests.conftest import ROOT
from tests.training import pairs
from tests.training.gradients import watched
from tests.training.pairs import Twins, pair_job

TRAIN: dict[str, Any] = {
    "steps": 2,
    "batch": 8,
    "learning_rate": 1e-2,
    "warmup": 0,
    "max_grad_norm": 1e9,
    "select_by": "last",
    "lora": {"r": 4},
}
FULL: dict[str, Any] = {"method": "full", "lora": {}}
CLOSE = 1e-5
"""Of the largest gradient: float32 sums depend on their order, and that on the processor."""

Gradients = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {
        "softmax": pairs.base(root / "softmax"),
        "sigmoid": pairs.base(root / "sigmoid", sigmoid=True),
        "dropout": pairs.base(root / "dropout", dropout=0.3),
    }


def trained(folder: Path, base: Path, **train: Any) -> tuple[list[Gradients], FineTuned]:
    """The gradients of every step of a training, before clipping, and what came out."""
    with watched() as found:
        result = fine_tune(pair_job(folder, {**TRAIN, **train}, base))
    return found, result


def by_hand(folder: Path, base: Path, micro: int | None = None, **train: Any) -> tuple[Gradients, float]:
    """The first step's gradient and mean loss from first principles: all graphs are kept until the end.

    Only dropout sees the micro-batches: it draws for each of them in turn.
    """
    todo = pair_job(folder, {**TRAIN, **train}, base)
    adapter = todo.adapter
    tuning = prepare(adapter.model, adapter.info, todo.train, adapter.part_states())
    tuning.network.train()
    torch.manual_seed(todo.train.seed)
    embedded = []
    for part in share(next(steps(todo.datasets[""], 8, todo.train.seed)), 0, 1, micro):
        batch = adapter.encode([_chosen(adapter, draw, todo.train.seed) for draw in part])
        embedded.append(adapter.pair_embeddings(tuning.network, batch))
    left, right = (torch.cat(side) for side in zip(*embedded, strict=True))
    loss = pairs.pair_loss(adapter.model, left, right) / 8
    loss.backward()
    return _named(tuning.network), loss.item()


def _chosen(adapter: Any, draw: Any, seed: int) -> Any:
    import numpy as np

    return adapter.chosen(draw.sample(), np.random.default_rng((seed, draw.place, 3)))


def _named(network: Any) -> Gradients:
    return {
        name: parameter.grad.clone()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    }


def assert_equal(found: Gradients, expected: Gradients) -> None:
    assert found.keys() == expected.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        apart = (found[name] - gradient).abs().max()
        assert apart <= CLOSE * largest, f"{name}: {apart:.2g} apart, the largest is {largest:.2g}"


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "dropout"])
@pytest.mark.parametrize("train", [{}, FULL], ids=["lora", "full"])
@pytest.mark.parametrize("micro", [8, 4, 3, 2])
def test_a_step_s_gradient_is_that_of_all_its_pairs(tmp_path, bases, kind, train, micro):
    """3 leaves parts of unequal size, whose texts are padded to unequal lengths."""
    settings = train or {"lora": {"r": 4, "dropout": 0.2 if kind == "dropout" else 0.0}}
    found, result = trained(tmp_path, bases[kind], micro_batch=micro, **settings)
    expected, loss = by_hand(tmp_path / "hand", bases[kind], micro, **settings)
    assert_equal(found[0], expected)
    assert any(name.endswith("logit_scale") for name in expected)
    assert result.curve.losses[0][1] == pytest.approx(loss, rel=1e-5)


def test_the_next_step_s_gradient_is_equal_too(tmp_path, bases):
    whole, _ = trained(tmp_path / "whole", bases["softmax"])
    split, _ = trained(tmp_path / "split", bases["softmax"], micro_batch=2)
    assert_equal(split[1], whole[1])


@pytest.mark.parametrize("micro", [8, 3])
def test_checkpointing_changes_no_gradient(tmp_path, bases, micro):
    settings = {"micro_batch": micro, "lora": {"r": 4, "dropout": 0.2}}
    plain, _ = trained(tmp_path / "plain", bases["dropout"], **settings)
    saving, _ = trained(tmp_path / "saving", bases["dropout"], gradient_checkpointing=True, **settings)
    assert_equal(saving[0], plain[0])


@pytest.mark.parametrize("train", [{}, FULL], ids=["lora", "full"])
def test_half_precision_is_the_same_in_both_passes(tmp_path, bases, train):
    """Weights that autocast casts in the first pass have no gradient: the second must not find them."""
    base, half = bases["softmax"], {"precision": "bfloat16", **train}
    whole, _ = trained(tmp_path / "whole", base, **half)
    split, _ = trained(tmp_path / "split", base, micro_batch=4, **half)
    exact, _ = trained(tmp_path / "exact", base, **train)
    assert any(not torch.equal(whole[0][name], gradient) for name, gradient in exact[0].items())
    for found in (whole[0], split[0]):
        assert found.keys() == exact[0].keys()
        for name, gradient in exact[0].items():
            away = torch.linalg.vector_norm(found[name] - gradient)
            assert away <= 0.1 * torch.linalg.vector_norm(gradient) + 2e-3, name


@pytest.mark.parametrize("frozen", ["vision", "text"])
@pytest.mark.parametrize("micro", [8, 3])
def test_one_tower_is_locked(tmp_path, bases, frozen, micro):
    """LiT (Zhai et al. 2022)."""
    settings = {"parts": {frozen: "frozen"}, "micro_batch": micro}
    found, _ = trained(tmp_path, bases["softmax"], **settings)
    assert_equal(found[0], by_hand(tmp_path / "hand", bases["softmax"], **settings)[0])
    assert not any(f"{frozen}_model" in name for name in found[0])


@pytest.mark.parametrize("micro", [8, 3])
def test_the_temperature_alone_or_everything_else(tmp_path, bases, micro):
    frozen = {"vision": "frozen", "text": "frozen"}
    found, _ = trained(tmp_path, bases["sigmoid"], micro_batch=micro, parts=frozen, **FULL)
    assert found[0].keys() == {"logit_scale", "logit_bias"}
    assert_equal(found[0], by_hand(tmp_path / "hand", bases["sigmoid"], parts=frozen, **FULL)[0])
    settings = {"parts": {"temperature": "frozen"}, "micro_batch": micro}
    found, _ = trained(tmp_path / "rest", bases["sigmoid"], **settings)
    assert not any("logit" in name for name in found[0])
    assert_equal(found[0], by_hand(tmp_path / "hand", bases["sigmoid"], **settings)[0])


def test_random_numbers_that_can_not_be_drawn_again_are_refused(tmp_path, bases, monkeypatch):
    import numpy as np

    real, dice = Twins.pair_embeddings, np.random.default_rng(0)

    def shaken(self: Twins, network: Any, batch: Any) -> Any:
        left, right = real(self, network, batch)
        noise = torch.from_numpy(dice.standard_normal(left.shape)).float()
        return torch.nn.functional.normalize(left + 0.1 * noise, dim=-1), right

    monkeypatch.setattr(Twins, "pair_embeddings", shaken)
    trained(tmp_path / "whole", bases["softmax"])
    with pytest.raises(RunError, match="aren't the same when they are computed again") as caught:
        trained(tmp_path / "split", bases["softmax"], micro_batch=4)
    assert "micro_batch" in caught.value.hint


def two_processes(folder: Path, base: Path, **train: Any) -> list[list[Gradients]]:
    """Gradients by process and step."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, "-m", "tests.training.pairs", str(folder), str(base), json.dumps({**TRAIN, **train})],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        [load_file(folder / f"gradients-{rank}-{step}.safetensors") for step in range(2)] for rank in range(2)
    ]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("kind", "train"),
    [
        ("softmax", {}),
        ("softmax", {"micro_batch": 2, **FULL}),
        ("sigmoid", {"micro_batch": 3, "gradient_checkpointing": True}),
        ("sigmoid", {"parts": {"vision": "frozen"}}),
    ],
    ids=["softmax", "softmax cached", "sigmoid cached", "sigmoid locked"],
)
def test_two_processes_have_the_gradient_of_one_with_the_double_batch(tmp_path, bases, kind, train):
    one, result = trained(tmp_path / "one", bases[kind], **{**train, "micro_batch": 8})
    two = two_processes(tmp_path / "two", bases[kind], **train)
    for rank in range(2):
        for step in range(2):
            assert_equal(two[rank][step], one[step])
        losses = json.loads((tmp_path / "two" / f"losses-{rank}.json").read_text())
        assert losses == pytest.approx([point[1] for point in result.curve.losses], rel=1e-5)


def test_negatives_of_a_micro_batch_alone_would_have_failed(tmp_path, bases, monkeypatch):
    """What accumulating gradients does: each micro-batch has a loss of its own."""
    monkeypatch.setattr(CoupledLoss, "begin", lambda self, network, batches: None)
    found, _ = trained(tmp_path, bases["softmax"], micro_batch=4)
    with pytest.raises(AssertionError):
        assert_equal(found[0], by_hand(tmp_path / "hand", bases["softmax"])[0])


def test_dropout_that_is_drawn_anew_would_have_failed(tmp_path, bases, monkeypatch):
    monkeypatch.setattr(contrastive, "_draw_again", lambda state, device: None)
    monkeypatch.setattr(contrastive, "ALIKE", -1)
    found, _ = trained(tmp_path, bases["dropout"], micro_batch=4)
    with pytest.raises(AssertionError):
        assert_equal(found[0], by_hand(tmp_path / "hand", bases["dropout"], 4)[0])


@pytest.mark.parametrize("n", [24, 9])
def test_no_pair_is_in_a_step_twice(tmp_path, n):
    """Nine pairs in steps of eight: nearly every step has the end of one pass and the begin of the next."""
    seen = [[draw.id for draw in step] for step, _ in zip(drawn(n), range(20), strict=False)]
    assert all(len(set(ids)) == len(ids) == 8 for ids in seen)
    again = [[draw.id for draw in step] for step, _ in zip(drawn(n, start=7), range(13), strict=False)]
    assert again == seen[7:]


def drawn(n: int, start: int = 0) -> Any:
    return steps(pairs.pairs(n), 8, 0, start=start, distinct=True)


def test_too_few_pairs_for_a_step_are_refused(tmp_path, bases):
    with pytest.raises(UsageError, match="too few training samples for 8 different ones"):
        fine_tune(pair_job(tmp_path, TRAIN, bases["softmax"], n=7))


def test_captions_are_drawn_anew_each_time(tmp_path, bases):
    todo = pair_job(tmp_path, {**TRAIN, "steps": 12}, bases["softmax"], n=8)
    fine_tune(todo)
    assert isinstance(todo.adapter, Twins)
    captions: Sequence[str] = todo.adapter.seen[: 12 * 8]
    for number in range(8):
        mine = [caption for caption in captions if caption.startswith(f"{number} ")]
        assert len(mine) == 12
        assert len(set(mine)) == 3
