"""Trainings small enough for a test: a tiny Whisper, sine tones with ragged targets, seconds in all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import data, models
from harness.data.dataset import make_dataset
from harness.data.dummy import DummyClips, DummyOptions
from harness.data.rows import Request, Stream
from harness.data.samples import SampleMaker
from harness.processes import Processes
from harness.spec.schema import Data
from harness.spec.training import Train
from harness.training.fine_tune import Job
from tests.models.tiny import tiny_whisper
from tests.tasks import task_of

COLUMNS = {"audio": "audio", "target": "target", "id": "id", "group": "group"}


def tiny_base(folder: Path, *, dropout: float = 0.0, maker: Callable[..., Path] = tiny_whisper) -> Path:
    """A checkpoint to fine-tune, made once per folder."""
    if not (folder / "config.json").is_file():
        maker(folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"dropout": dropout}))
    return folder


def clips(n: int = 12, split: str = "train", **options: Any) -> data.Dataset:
    """Sine tones of up to half a second, targets of two words and a number."""
    section = Data(path="synthetic:dummy", columns=COLUMNS, options={"n": n, **options})
    return data.load(section, base=Path(), inputs=("audio",), split=split)  # type: ignore[arg-type]


def stream(n: int) -> data.Dataset:
    """The same clips as they come from a hub: in windows, and nobody knows how many there are."""
    rows = DummyClips.rows(DummyOptions(n=n), "train")
    held = [rows[at] for at in range(n)]
    maker = SampleMaker(COLUMNS, ("audio",))
    return make_dataset(Stream(held, rows.columns), maker, Request("somebody/clips", "train"))


def job(
    folder: Path,
    train: Mapping[str, Any],
    *,
    evaluate: Callable[[models.Adapter, int], Mapping[str, float]] | None = None,
    dataset: data.Dataset | None = None,
    datasets: Mapping[str, data.Dataset] | None = None,
    dropout: float = 0.0,
    processes: Processes | None = None,
    base: Path | None = None,
) -> Job:
    """A training of the tiny base in `folder`; `evaluate(adapter, step)` returns {"wer": value}."""
    base = tiny_base(base or folder / "base", dropout=dropout)
    adapter = models.load(task_of(base, generate={"language": "en"}), base=Path(), device="cpu")
    return Job(
        adapter=adapter,
        train=Train(**train),
        datasets=datasets or dict.fromkeys(Train(**train).staged, dataset or clips()),
        evaluate=None if evaluate is None else lambda step: evaluate(adapter, step),
        metric=None if evaluate is None else "wer",
        higher_is_better=False,
        base=folder,
        folder=folder / "adapter",
        work=folder / "work",
        manifest=manifest(adapter, Train(**train)),
        workers=2,
        processes=processes or Processes(),
        show_progress=False,
    )


def manifest(adapter: models.Adapter, train: Train) -> dict[str, Any]:
    """What the pipeline says of a training."""
    checkpoint = adapter.weights.checkpoint
    return {
        "format": 1,
        "task": "tones",
        "train_id": "0" * 64,
        "method": train.method,
        "base": {
            "checkpoint": checkpoint.name,
            "revision": checkpoint.revision,
            "digest": checkpoint.digest(),
        },
        "dtype": adapter.weights.dtype,
        "parent": None,
        "family": {"name": adapter.info.family, "version": adapter.info.version},
        "spec": {"kind": "asr", "data": {"path": "synthetic:dummy"}},
        "versions": {},
    }
