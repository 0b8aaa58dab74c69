"""Fine-tuning against a bare PyTorch loop; memory of LoRA with checkpointing; time spent waiting for data.

A Whisper of the tiny size's shape, random weights, clips of 1 to 20 s. The figures:
1. the trainer's time per step over a bare loop's (forward, loss, backward, clip, AdamW, schedule) on the same
   encoded batches, trained weights asserted equal: at most 1.05;
2. peak memory of LoRA with checkpointing over full fine-tuning of 12 + 12 layers, beyond the loaded network,
   each in a process of its own: at most 0.5;
3. share of the time that the model waits for data, decoding and feature extraction included: at most 5%.
"""

from __future__ import annotations

import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from harness.data.dataset import Dataset
from harness.spec.training import Train
from harness.training import fine_tune as training
from harness.training.loader import Loader, MicroBatch
from harness.training.method import prepare
from harness.training.order import steps
from harness.training.trainer import HarnessTrainer
from harness.training.watcher import Watcher
from tests.bench.speech import Clips, clips, load, whisper_shape
from tests.training.jobs import manifest

BATCH, STEPS, WARM = 4, 8, 2
LAYERS = 12
"""For the memory: as many as whisper-small has, so that activations are what counts."""
ROUNDS = 3
SETTINGS: dict[str, Any] = {
    "method": "full",
    "steps": STEPS,
    "batch": BATCH,
    "learning_rate": 1e-4,
    "warmup": 1,
    "schedule": "constant",
    "select_by": "last",
    "save_every": STEPS,
}


class Spoken(Clips):
    """Clips of noise with a sentence each to learn."""

    def __getitem__(self, index: int) -> Any:
        from dataclasses import replace

        return replace(super().__getitem__(index), target=f"clip number {index} says what it says")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = whisper_shape(folder / "checkpoint")
        files = clips(folder / "clips", BATCH * STEPS)
        step_time(checkpoint, files, folder)
        waiting(checkpoint, files, folder)
        memory(whisper_shape(folder / "deep", layers=LAYERS))


def job(checkpoint: Path, files: list[Path], folder: Path, **settings: Any) -> training.Job:
    dataset: Any = Dataset("clips", None, "train", None, len(files), [Spoken(files)])  # type: ignore[arg-type]
    adapter, train = load(checkpoint), Train(**{**SETTINGS, **settings})
    return training.Job(
        adapter=adapter,
        train=train,
        datasets={"": dataset},
        evaluate=None,
        metric=None,
        higher_is_better=False,
        base=folder,
        folder=folder / "result",
        work=folder / "work",
        manifest=manifest(adapter, train),
        workers=2,
        show_progress=False,
    )


def step_time(checkpoint: Path, files: list[Path], folder: Path) -> None:
    """The trainer and the bare loop in turn; medians of the steps after the first two."""
    encoded = _encoded(job(checkpoint, files, folder))
    harness: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS):
        ours, spent = by_trainer(job(checkpoint, files, folder), encoded)
        harness += spent[WARM:]
        theirs, spent = by_loop(job(checkpoint, files, folder), encoded)
        bare += spent[WARM:]
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-6)
    ratio = statistics.median(harness) / statistics.median(bare)
    print(f"trainer   {statistics.median(harness):.3f} s a step ({spread(harness)})")
    print(f"bare loop {statistics.median(bare):.3f} s a step ({spread(bare)})")
    print(f"trainer / bare loop on the same batches: {ratio:.3f} (limit 1.05)")
    assert ratio <= 1.05


def by_trainer(todo: training.Job, encoded: list[MicroBatch]) -> tuple[dict[str, Any], list[float]]:
    """Trained weights and seconds of each step, through `fine_tune` with batches that are encoded already."""
    ends: list[float] = [time.perf_counter()]

    def ready(self: Loader) -> Iterator[MicroBatch]:
        yield from encoded

    end = Watcher.on_step_end

    def timed(self: Any, *arguments: Any, **settings: Any) -> None:
        end(self, *arguments, **settings)
        ends.append(time.perf_counter())

    iterate = Loader.__iter__
    Loader.__iter__, Watcher.on_step_end = ready, timed  # type: ignore[method-assign]
    try:
        training.fine_tune(todo)
    finally:
        Loader.__iter__, Watcher.on_step_end = iterate, end  # type: ignore[method-assign]
    return dict(todo.adapter.model.named_parameters()), between(ends)


def by_loop(todo: training.Job, encoded: list[MicroBatch]) -> tuple[dict[str, Any], list[float]]:
    """What one would write by hand."""
    network = prepare(todo.adapter.model, todo.adapter.info, todo.train).network.train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 1))
    ends = [time.perf_counter()]
    for micro in encoded:
        tensors = micro.batch.tensors
        logits = network(
            input_features=tensors["input_features"],
            decoder_input_ids=tensors["decoder_input_ids"],
            use_cache=False,
        ).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tensors["labels"].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        ends.append(time.perf_counter())
    return dict(network.named_parameters()), between(ends)


def waiting(checkpoint: Path, files: list[Path], folder: Path) -> None:
    """How long the model waits when files are read, decoded and turned into features by threads."""
    loaders: list[Loader] = []
    start = HarnessTrainer.get_train_dataloader

    def remember(self: HarnessTrainer) -> Any:
        loaders.append(self._loader)
        return start(self)

    todo = job(checkpoint, files, folder)
    HarnessTrainer.get_train_dataloader = remember  # type: ignore[method-assign]
    try:
        began = time.perf_counter()
        training.fine_tune(todo)
        spent = time.perf_counter() - began
    finally:
        HarnessTrainer.get_train_dataloader = start  # type: ignore[method-assign]
    share = loaders[0].waited_seconds / spent
    waited = f"{loaders[0].waited_seconds:.2f} s of {spent:.2f} s"
    print(f"the model waited {waited} for data: {share:.1%} (limit 5%)")
    assert share <= 0.05


def memory(checkpoint: Path) -> None:
    """Peak memory beyond the loaded network, a process each."""
    ways = {
        "full": {"method": "full"},
        "lora": {"method": "lora"},
        "lora, checkpointing": {"method": "lora", "gradient_checkpointing": True},
    }
    peaks = {}
    for way, settings in ways.items():
        done = subprocess.run(
            [sys.executable, __file__, str(checkpoint), json.dumps(settings)],
            check=True,
            capture_output=True,
            text=True,
        )
        peaks[way] = int(done.stdout.splitlines()[-1])
        print(f"{way:20} {peaks[way] / 1e6:7.0f} MB beyond the loaded network")
    ratio = peaks["lora, checkpointing"] / peaks["full"]
    print(f"LoRA with checkpointing / full: {ratio:.2f} (limit 0.5)")
    assert ratio <= 0.5


def one_peak(checkpoint: Path, settings: dict[str, Any]) -> None:
    """Train two steps here; print how far the memory rose above the loaded network's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        todo = job(checkpoint, clips(folder / "clips", BATCH), folder, **{**settings, "steps": 2})
        batch = todo.adapter.encode([Spoken(clips(folder / "warm", 1))[0]], with_targets=True)
        with torch.inference_mode():
            todo.adapter.loss(todo.adapter.model, batch)
        before = resident_bytes()
        training.fine_tune(todo)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)


def resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _encoded(todo: training.Job) -> list[MicroBatch]:
    """The very micro-batches that a training's steps have."""
    sequence = steps(todo.datasets[""], BATCH, todo.train.seed)
    batches = [
        todo.adapter.encode([draw.sample() for draw in next(sequence)], with_targets=True)
        for _ in range(STEPS)
    ]
    return [MicroBatch(batch, 0.0) for batch in batches]


def between(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


def spread(times: list[float]) -> str:
    return f"{min(times):.3f} to {max(times):.3f}"


if __name__ == "__main__":
    one_peak(Path(sys.argv[1]), json.loads(sys.argv[2])) if len(sys.argv) > 1 else main()
