"""Contrastive fine-tuning against a bare PyTorch loop, and the memory of cached gradients.

A CLIP of 6 + 6 layers of width 256, random weights, images of 64 x 64 pixels, short captions.
The figures:
1. the trainer's time per step over a bare loop's (forward, symmetric cross entropy, backward, clip, AdamW,
   schedule, clamp) on the same encoded batches, losses and trained weights asserted equal: at most 1.05;
2. peak memory of a step of 256 pairs in micro-batches of 16 over that of a step of 16, beyond the loaded
   network, each in a process of its own: at most 1.5.
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.data.dataset import Dataset
from harness.spec.training import Train
from harness.training import fine_tune as training
from harness.training.loader import MicroBatch
from harness.training.method import prepare
from harness.training.order import steps
from harness.types import Sample
from tests.bench.bench_training import between, by_trainer, resident_bytes, spread
from tests.models.pictures import dual_encoder, image_sample
from tests.models.tiny_clip import tiny_clip
from tests.training.jobs import manifest

BATCH, STEPS, WARM, ROUNDS = 16, 8, 2, 3
LARGE = 256
WIDTH, LAYERS, SIZE = 256, 6, 64
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


class Pictures:
    """One window of noise, each image with a caption."""

    def __init__(self, n: int) -> None:
        self.ids = [f"{number}" for number in range(n)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Sample:
        made = image_sample(place, (SIZE, SIZE), target=f"noise that has no {place:5}")
        return replace(made, id=self.ids[place])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        checkpoint = mid_size(Path(name) / "checkpoint")
        step_time(checkpoint, Path(name))
        memory(checkpoint)


def mid_size(folder: Path) -> Path:
    """A CLIP of the size that the figures are about, its weights drawn as transformers does."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig.from_pretrained(tiny_clip(folder, width=WIDTH, layers=LAYERS, size=SIZE))
    for tower in (config.text_config, config.vision_config):
        tower.initializer_factor = 1.0
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    return folder


def job(checkpoint: Path, folder: Path, n: int = BATCH * STEPS, **settings: Any) -> training.Job:
    adapter, train = dual_encoder(checkpoint, "retrieval"), Train(**{**SETTINGS, **settings})
    dataset: Any = Dataset("pictures", None, "train", None, n, [Pictures(n)])  # type: ignore[arg-type]
    return training.Job(
        adapter=adapter,
        train=train,
        datasets={"": dataset},
        evaluate=None,
        metric=None,
        higher_is_better=True,
        base=folder,
        folder=folder / "result",
        work=folder / "work",
        manifest=manifest(adapter, train),
        workers=2,
        show_progress=False,
    )


def step_time(checkpoint: Path, folder: Path) -> None:
    """The trainer and the bare loop in turn; medians of the steps after the first two."""
    encoded = _encoded(job(checkpoint, folder))
    harness: list[float] = []
    bare: list[float] = []
    for _ in range(ROUNDS):
        ours, spent = by_trainer(job(checkpoint, folder), encoded)
        harness += spent[WARM:]
        logged = json.loads((folder / "result" / "harness.json").read_text())["train"]["curve"]["losses"]
        theirs, losses, spent = by_loop(job(checkpoint, folder), encoded)
        bare += spent[WARM:]
        torch.testing.assert_close([point[1] for point in logged], losses, rtol=1e-4, atol=1e-4)
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-4)
    ratio = statistics.median(harness) / statistics.median(bare)
    print(f"trainer   {statistics.median(harness):.3f} s a step ({spread(harness)})")
    print(f"bare loop {statistics.median(bare):.3f} s a step ({spread(bare)})")
    print(f"trainer / bare loop on the same batches: {ratio:.3f} (limit 1.05)")
    assert ratio <= 1.05


def by_loop(todo: training.Job, encoded: list[MicroBatch]) -> tuple[dict[str, Any], list[float], list[float]]:
    """What one would write by hand: trained weights, losses, seconds of each step."""
    adapter = todo.adapter
    network = prepare(adapter.model, adapter.info, todo.train, adapter.part_states()).network.train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 1))
    losses, ends = [], [time.perf_counter()]
    for micro in encoded:
        found = network(**micro.batch.tensors)
        logits = network.logit_scale.exp() * found.image_embeds @ found.text_embeds.T
        own = torch.arange(len(logits))
        loss = torch.nn.functional.cross_entropy(logits, own)
        loss = (loss + torch.nn.functional.cross_entropy(logits.T, own)) / 2
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        with torch.no_grad():
            network.logit_scale.clamp_(0, math.log(100))
        losses.append(loss.item())
        ends.append(time.perf_counter())
    return dict(network.named_parameters()), losses, between(ends)


def memory(checkpoint: Path) -> None:
    """Peak memory beyond the loaded network, a process each."""
    peaks = {}
    for batch in (BATCH, LARGE):
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.bench_contrastive", str(checkpoint), str(batch)],
            check=True,
            capture_output=True,
            text=True,
        )
        peaks[batch] = int(done.stdout.splitlines()[-1])
        print(f"{batch:3} pairs, {BATCH} at once {peaks[batch] / 1e6:7.0f} MB beyond the loaded network")
    ratio = peaks[LARGE] / peaks[BATCH]
    print(f"{LARGE} pairs / {BATCH} pairs: {ratio:.2f} (limit 1.5)")
    assert ratio <= 1.5


def one_peak(checkpoint: Path, batch: int) -> None:
    """Train two steps here; print how far the memory rose above the loaded network's."""
    with tempfile.TemporaryDirectory() as name:
        todo = job(checkpoint, Path(name), 2 * LARGE, steps=2, batch=batch, micro_batch=BATCH)
        encoded = todo.adapter.encode([Pictures(1)[0]], with_targets=True)
        todo.adapter.prepare()  # a network that is loaded in inference mode can't be trained
        with torch.inference_mode():
            todo.adapter.loss(todo.adapter.model, encoded)
        before = resident_bytes()
        training.fine_tune(todo)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)


def _encoded(todo: training.Job) -> list[MicroBatch]:
    """The very micro-batches that a training's steps have."""
    sequence = steps(todo.datasets[""], BATCH, todo.train.seed, distinct=True)
    batches = [
        todo.adapter.encode([draw.sample() for draw in next(sequence)], with_targets=True)
        for _ in range(STEPS)
    ]
    return [MicroBatch(batch, 0.0) for batch in batches]


if __name__ == "__main__":
    one_peak(Path(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 1 else main()
