"""Scores during training: the same as afterwards, without a trace in the training."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from harness import data, models
from harness.errors import RunError
from harness.evaluation.score import Scorer
from harness.evaluation.validation import Validation, state_digest, undisturbed
from harness.models.clip import Clip
from harness.models.whisper import Whisper
from harness.processes import Processes
from harness.spec.schema import Data, Task
from tests.models.tiny import tiny_whisper
from tests.models.tiny_clip import tiny_clip
from tests.tasks import task_of

COLUMNS = {"audio": "audio", "target": "target", "id": "id", "group": "group"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("validation") / "checkpoint")


@pytest.fixture
def adapter(checkpoint: Path) -> models.Adapter:
    task = task_of(checkpoint, generate={"language": "en", "max_new_tokens": 8})
    return models.load(task, base=checkpoint, device="cpu")


def validation(adapter: models.Adapter, work: Path, **options: Any) -> Validation:
    section = {"path": "synthetic:dummy", "columns": COLUMNS, "options": {"n": 6, **options}}
    task = Task.model_validate(
        {
            "name": "t",
            "kind": "asr",
            "data": section,
            "model": {"checkpoint": "x"},
            "metrics": ["wer", "chrf"],
            "run": {"workers": 1},
        }
    )
    dataset = data.load(task.data, base=work, inputs=("audio",), split="validation")
    return Validation(task, adapter, dataset, work / "predictions", Processes(), show_progress=False)


def test_values_are_those_of_the_record(adapter, tmp_path):
    scores = validation(adapter, tmp_path)
    found = scores(0)
    scorer = Scorer(scores.task)
    for sample, id_, prediction in scores._engines(0).engine().run(scores.dataset):
        scorer.add(sample, id_, prediction)
    assert found == {name: part.value for name, part in scorer.parts().items()}


def test_each_state_of_the_weights_is_predicted_once(adapter, tmp_path, monkeypatch):
    scores = validation(adapter, tmp_path)
    batches: list[int] = []
    predict = Whisper.predict

    def counted(self: Any, batch: Any) -> Any:
        batches.append(len(batch.samples))
        return predict(self, batch)

    monkeypatch.setattr(Whisper, "predict", counted)
    first = scores(0)
    assert scores(0) == first
    assert batches == [6]
    with torch.no_grad():
        next(adapter.model.parameters()).add_(1.0)
    scores(1)
    assert batches == [6, 6], "other weights were given the old ones' predictions"


def test_a_digest_is_of_what_is_trained(adapter):
    model = adapter.model
    before = state_digest(model)
    assert state_digest(model) == before
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    partly = state_digest(model)
    with torch.no_grad():
        frozen.add_(1.0)
    assert state_digest(model) == partly != before
    model.to(torch.bfloat16)
    assert state_digest(model) != partly


def seed_everything() -> None:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_the_training_goes_on_as_if_nothing_had_been(adapter, tmp_path):
    model = adapter.model
    model.train()
    model.model.encoder.eval()  # a part that its owner keeps in evaluation mode
    modes = [module.training for module in model.modules()]
    seed_everything()
    expected = drawn()
    seed_everything()
    validation(adapter, tmp_path)(0)
    assert [module.training for module in model.modules()] == modes
    assert drawn() == expected


def test_an_interruption_leaves_modes_and_random_numbers_too(adapter):
    adapter.model.train()
    seed_everything()
    expected = drawn()
    seed_everything()
    with suppress(KeyboardInterrupt), undisturbed(adapter.model):
        assert not adapter.model.training
        drawn()
        raise KeyboardInterrupt
    assert adapter.model.training
    assert drawn() == expected


def test_an_interrupted_evaluation_keeps_what_it_predicted(adapter, tmp_path, monkeypatch):
    scores = validation(adapter, tmp_path)
    add = Scorer.add

    def stopped(self: Any, *arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Scorer, "add", stopped)
    with pytest.raises(KeyboardInterrupt):
        scores(0)
    monkeypatch.setattr(Scorer, "add", add)
    monkeypatch.setattr(Whisper, "predict", lambda self, batch: pytest.fail("predicted again"))
    assert scores(0)["wer"] > 0


def test_an_undefined_metric_ends_the_training(adapter, tmp_path):
    scores = validation(adapter, tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16_000)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"audio": "a.wav", "target": ""}))
    section = Data(path=str(tmp_path / "rows.jsonl"), columns={"audio": "audio", "target": "target"})
    empty = data.load(section, base=tmp_path, inputs=("audio",), split="train")
    with pytest.raises(RunError, match=r"wer.* is undefined on the validation split at step 40"):
        replace(scores, dataset=empty)(40)


def test_failed_samples_end_the_training(adapter, tmp_path):
    with pytest.raises(RunError, match="2 of 6 validation samples failed at step 3"):
        validation(adapter, tmp_path, unreadable=[0, 4])(3)


def test_only_the_tower_that_changed_embeds_anew(tmp_path, monkeypatch):
    checkpoint = tiny_clip(tmp_path / "checkpoint")
    columns = {"image": "image", "target": "label", "id": "id"}
    digits = {"path": "synthetic:handwritten_digits", "columns": columns, "options": {"size": 8}}
    kind = "zero_shot_classification"
    task = task_of(checkpoint, kind, column="image", data=digits, metrics=["accuracy"], run={"workers": 1})
    dataset = data.load(task.data, base=tmp_path, inputs=("image",), kind=kind, split="validation", limit=20)
    clip = models.load(task, base=checkpoint, classes=dataset.class_names, device="cpu")
    scores = Validation(task, clip, dataset, tmp_path / "work", Processes(), show_progress=False)
    asked: list[str] = []
    predict = Clip.predict

    def counted(self: Any, batch: Any) -> Any:
        asked.extend("image" if "image" in sample.inputs else "text" for sample in batch.samples)
        return predict(self, batch)

    monkeypatch.setattr(Clip, "predict", counted)
    first = scores(0)
    assert (asked.count("text"), asked.count("image")) == (10, 20)
    assert scores(0) == first
    assert len(asked) == 30
    with torch.no_grad():
        clip.model.text_model.embeddings.token_embedding.weight.normal_()
    scores(1)
    assert (asked.count("text"), asked.count("image")) == (20, 20)
    with torch.no_grad():
        clip.model.visual_projection.weight.normal_()
    scores(2)
    assert (asked.count("text"), asked.count("image")) == (20, 40)


def test_a_probe_is_not_scored_in_a_training(tmp_path, adapter):
    scores = replace(validation(adapter, tmp_path), task=task_of("x", "linear_probe", column="image"))
    with pytest.raises(RunError, match="'linear_probe' learns from a split of its own"):
        scores(0)
