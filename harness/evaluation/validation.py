"""Scores during training: the same prediction and scoring code, on the network as it is at that step."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data import Dataset
from harness.data.loading import Purpose
from harness.errors import RunError
from harness.evaluation.answers import Answers, Engines
from harness.evaluation.score import Scorer
from harness.models.base import Adapter
from harness.processes import Processes
from harness.spec.schema import Task


@dataclass(frozen=True)
class Validation:
    """Scores `adapter.model` as it is on a task's validation split, and leaves no trace in the training.

    Predictions are kept in `work`, one folder per state of the weights, so that an evaluation that was
    interrupted goes on, and that what a frozen tower embeds is embedded once. They never get into the shared
    cache.
    """

    task: Task
    adapter: Adapter
    dataset: Dataset
    work: Path
    processes: Processes
    show_progress: bool = True

    def __call__(self, step: int) -> dict[str, float]:
        """Every metric's value after `step` steps.

        Raises RunError when a metric is undefined, or when more samples failed than the task tolerates.
        """
        with undisturbed(self.adapter.model):
            scorer = Scorer(self.task)
            answers = Answers(self.task, self.dataset, self._engines(step), self._no_other_split)
            with closing(answers.run()) as outcomes:
                for sample, id_, prediction in outcomes:
                    scorer.add(sample, id_, prediction)
        return self.processes.share(_values(scorer, self.task, step) if self.processes.main else None)

    def _engines(self, step: int) -> Engines:
        info, model = self.adapter.info, self.adapter.model
        inside = {"": ("",)} | {name: info.parts[part] for name, part in info.towers.items()}
        digests = {name: state_digest(model, prefixes) for name, prefixes in inside.items()}
        folders = {name: self.work / digest for name, digest in self.processes.share(digests).items()}
        return Engines(
            self.adapter,
            folders.pop(""),
            batch_size=self.task.run.batch_size,
            workers=self.task.run.workers,
            processes=self.processes,
            show_progress=self.show_progress,
            label=f" for validation, step {step}",
            towers=folders,
        )

    def _no_other_split(self, purpose: Purpose) -> Dataset:
        raise RunError(f"kind '{self.task.kind}' learns from a split of its own: it can't be fine-tuned")


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Evaluation mode within the block; modules' modes and all random states are as before after it."""
    import numpy as np
    import torch

    modes = {module: module.training for module in model.modules()}
    states = random.getstate(), np.random.get_state()
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        model.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            random.setstate(states[0])
            np.random.set_state(states[1])


def state_digest(model: Any, prefixes: tuple[str, ...] = ("",)) -> str:
    """SHA-256 (hex) over what training changes: trained parameters and buffers, by name.

    Of those whose names begin with one of `prefixes`.
    """
    total = hashlib.sha256()
    trained = ((name, value) for name, value in model.named_parameters() if value.requires_grad)
    for name, tensor in sorted([*trained, *model.named_buffers()]):
        if not name.startswith(prefixes):
            continue
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(_bytes(tensor))
    return total.hexdigest()


def _bytes(tensor: Any) -> Any:
    import torch

    return tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy()


def _values(scorer: Scorer, task: Task, step: int) -> dict[str, float]:
    failed = scorer.failures.total()
    if failed > task.run.max_failures * scorer.n:
        raise RunError(
            f"{failed} of {scorer.n} validation samples failed at step {step}, more than run.max_failures",
            "`harness eval TASK --set data.split=validation` lists them.",
        )
    values = scorer.values()
    undefined = [name for name, value in values.items() if math.isnan(value)]
    if undefined:
        raise RunError(
            f"{', '.join(undefined)} is undefined on the validation split at step {step}",
            "Are its references empty? Name another split, or set train.select_by to last.",
        )
    return values
