"""One precision for base, training and fine-tune; weights that cells share, one network at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.models.weights import Weights
from harness.spec.load import ResolvedTask, load
from harness.tuning.bases import Bases

TASK = """\
name: t
kind: asr
params: {name: a, seed: 0}
matrix: {name: [a, b], seed: [0, 1]}
data: {path: synthetic:dummy, columns: {audio: audio, target: target}, options: {seed: "{seed}"}}
model: {checkpoint: "./{name}"}
metrics: [wer]
"""


def cells(folder: Path, text: str = "", **config: Any) -> list[ResolvedTask]:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({"model_type": "harness-dummy", **config}))
    (folder / "task.yaml").write_text(TASK + text)
    return load(folder / "task.yaml")


@pytest.mark.parametrize(
    ("device", "own", "method", "chosen"),
    [
        ("cpu", "float16", "lora", "float32"),
        ("cpu", "bfloat16", "full", "float32"),
        ("cuda:0", "float32", "lora", "float32"),
        ("cuda:0", "bfloat16", "lora", "bfloat16"),
        ("cuda:0", "float16", "lora", "bfloat16"),
        ("cuda:0", "float16", "full", "float32"),
        ("cuda:0", "bfloat16", "full", "float32"),
        ("cuda:0", "float16", None, "float16"),
    ],
)
def test_one_precision_for_base_training_and_fine_tune(tmp_path, monkeypatch, device, own, method, chosen):
    monkeypatch.setattr(Weights, "device", device)
    train = f"train: {{steps: 2, method: {method}}}\n" if method else ""
    [cell, *_] = cells(tmp_path, train, torch_dtype=own)
    section = Bases(device="auto", offline=True)._with_precision(cell)
    assert (
        Weights(Bases(device="auto", offline=True)._checkpoint(section, tmp_path), section.dtype).dtype
        == chosen
    )
    named = load(tmp_path / "task.yaml", [("model.dtype", "float16")])[0]
    assert Bases(device="auto", offline=True)._with_precision(named).dtype == "float16"


def test_cells_share_weights_and_only_one_model_keeps_its_network(tmp_path):
    bases = Bases(device="cpu", offline=True)
    found = [bases.of(cell).weights for cell in cells(tmp_path)[:2]]
    assert found[0] is found[1]
    found[0]._models["network", None] = object()
    other = bases.of(load(tmp_path / "task.yaml")[2]).weights
    assert other is not found[0]
    assert not found[0]._models
