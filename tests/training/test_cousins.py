"""Every dual encoder learns the same from a step, whether its network sees the pairs at once or in parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data import Dataset
from harness.models.dual_encoder import DualEncoder
from harness.processes import Processes
from harness.spec.training import Train
from harness.training.fine_tune import Job, fine_tune
from harness.types import Sample
from tests.models import clips
from tests.models.pictures import dual_encoder, image_sample
from tests.models.tiny_clip import TINY, tiny_clap
from tests.training.gradients import watched
from tests.training.jobs import manifest

COUSINS = TINY | {"clap": tiny_clap}
CAPTIONS = ("a dog", "two cats", "a red bus", "rain", "an old man", "the sea")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {name: _undropped(make(root / name.replace(" ", "_"))) for name, make in COUSINS.items()}


def _undropped(folder: Path) -> Path:
    """Dropout draws other numbers for other micro-batches."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    for tower in (value for key, value in vars(config).items() if key.endswith("_config")):
        for key in [key for key in vars(tower) if "drop" in key and isinstance(vars(tower)[key], float)]:
            setattr(tower, key, 0.0)
    config.save_pretrained(folder)
    return folder


class Pairs:
    """One window: each medium with two captions."""

    def __init__(self, medium: str) -> None:
        self.ids = [f"{number}" for number in range(len(CAPTIONS))]
        self._medium = medium

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Sample:
        made = clips.sample(0.8, place) if self._medium == "audio" else image_sample(place)
        return replace(made, id=self.ids[place], target=[CAPTIONS[place], f"{CAPTIONS[place]} again"])


def job(folder: Path, name: str, base: Path, **train: Any) -> Job:
    medium = "audio" if name == "clap" else "image"
    adapter: DualEncoder = dual_encoder(base, "retrieval", column=medium)
    settings = Train(steps=1, batch=len(CAPTIONS), warmup=0, select_by="last", max_grad_norm=1e9, **train)
    dataset: Any = Dataset("pairs", None, "train", None, len(CAPTIONS), [Pairs(medium)])  # type: ignore[arg-type]
    return Job(
        adapter=adapter,
        train=settings,
        datasets={"": dataset},
        evaluate=None,
        metric=None,
        higher_is_better=True,
        base=folder,
        folder=folder / "adapter",
        work=folder / "work",
        manifest=manifest(adapter, settings),
        workers=1,
        processes=Processes(),
        show_progress=False,
    )


@pytest.mark.parametrize("name", [*COUSINS, "align in full"])
def test_micro_batches_change_no_gradient(bases, tmp_path, name):
    """ALIGN and CLAP have batch norms, whose statistics would be those of a micro-batch."""
    name, full, _ = name.partition(" in full")
    train: dict[str, Any] = {"method": "full"} if full else {"lora": {"r": 2}}
    found = []
    for micro in (6, 4):
        with watched() as steps:
            fine_tune(job(tmp_path / str(micro), name, bases[name], micro_batch=micro, **train))
        found += steps
    whole, split = found
    assert whole.keys() == split.keys()
    assert any(key.endswith(("logit_scale", "temperature", "logit_scale_a")) for key in whole)
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    assert largest > 1e-3
    for key, gradient in whole.items():
        torch.testing.assert_close(
            split[key] / largest,
            gradient / largest,
            rtol=1e-5,
            atol=1e-5,
            msg=lambda text, key=key: f"{key}: {text}",
        )
