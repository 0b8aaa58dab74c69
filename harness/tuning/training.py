"""One training: what it starts from, where it happens, whether it was done before."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, RunError
from harness.evaluation.score import Scorer
from harness.evaluation.validation import Validation
from harness.metrics.base import CorpusMetric, Metric
from harness.models.base import Adapter
from harness.models.checkpoint import Checkpoint
from harness.models.trained import ADAPTER_CONFIG, TrainedAdapter
from harness.models.weights import Weights
from harness.processes import Processes
from harness.results.environment import environment
from harness.results.files import make_folder, writing
from harness.results.record import TrainStagePart
from harness.spec.digest import train_id
from harness.spec.load import ResolvedTask
from harness.spec.schema import Task
from harness.spec.training import Train
from harness.training.curve import Curve
from harness.training.fine_tune import FineTuned, Job, fine_tune
from harness.training.stages import newest, stages
from harness.tuning.bases import with_weights
from harness.tuning.lessons import Lessons, train_section
from harness.tuning.made import read_manifest

NAME_LENGTH = 12
"""Digits of a training's id in the names of its folders."""


@dataclass(frozen=True)
class Training:
    """A fine-tuning that is ready to begin. `adapter` has weights of its own, which it will change.

    `id` says everything that decides the result. `parent` is the base's run, if the base was scored.
    """

    lessons: Lessons
    adapter: Adapter
    id: str
    results: Path
    parent: str | None = None

    @classmethod
    def of(
        cls,
        lessons: Lessons,
        base: Adapter,
        results: Path,
        processes: Processes,
        parent: str | None = None,
        *,
        show: bool = True,
    ) -> Training:
        """The training that a cell asks for, on fresh weights of the base that was scored."""
        cell, adapter = lessons.cell, _fresh(lessons, base)
        prints = lessons.fingerprints(show=show) if processes.main else None
        id_ = train_id(cell.task, cell.base, start=_start(adapter), fingerprints=processes.share(prints))
        return cls(lessons, adapter, id_, results, parent)

    @property
    def cell(self) -> ResolvedTask:
        """The task."""
        return self.lessons.cell

    @property
    def train(self) -> Train:
        """Its train section."""
        return train_section(self.cell)

    @property
    def folder(self) -> Path:
        """Where the result goes."""
        name = self.cell.task.name.replace("/", "-")
        return self.results / "adapters" / f"{name}-{self.id[:NAME_LENGTH]}"

    @property
    def work(self) -> Path:
        """Where checkpoints and validation's predictions are while it lasts."""
        return self.results / "training" / self.id[:NAME_LENGTH]

    def run(self, processes: Processes, *, reuse: bool, show: bool = True) -> FineTuned:
        """Train; or, where `reuse` allows it, take what was made before or go on from where it was.

        Raises RunError when it stops before its end or another process is at it, AdapterError when it
        doesn't fit the network.
        """
        with self._alone(processes):
            done = finished(self.folder, self.id) if reuse else None
            if processes.main and (done or not reuse):  # nothing of what lies there is needed any more
                shutil.rmtree(self.work, ignore_errors=True)
            processes.wait()
            if processes.main and show:
                self._tell(done)
            return done or fine_tune(self._job(processes, show))

    @contextmanager
    def _alone(self, processes: Processes) -> Iterator[None]:
        """Keep other runs of this training out; the system frees the lock of a process that is killed."""
        if not processes.main:
            yield
            return
        from filelock import FileLock, Timeout

        file = self.work.with_suffix(".lock")
        with writing(file):
            make_folder(file.parent)
        try:
            with FileLock(file, timeout=0):
                yield
                file.unlink(missing_ok=True)
        except Timeout as error:
            raise RunError(
                f"another process is at this very training ({self.work})",
                "Wait for it, or name another folder with --results.",
            ) from error

    def _tell(self, done: FineTuned | None) -> None:
        """Say it when nothing, or not everything, has to be trained."""
        if done:
            _say(f"Already trained: {done.folder} ({done.steps} steps); --no-cache trains anew")
            return
        latest, damaged = newest(stages(self.train, self.lessons.learned, self.work))
        for fault in damaged:
            _say(f"A checkpoint can't be gone on from: {fault}")
        if latest:
            where = f"step {latest.step}" + (f" of {latest.stage.title}" if latest.stage.title else "")
            _say(f"Going on from {where}, where the training was interrupted")

    def _job(self, processes: Processes, show: bool) -> Job:
        metric = self.lessons.selecting
        return Job(
            adapter=self.adapter,
            train=self.train,
            datasets=self.lessons.learned,
            evaluate=self._validation(processes, show),
            metric=metric,
            higher_is_better=metric is not None and _metric(self.cell.task, metric).higher_is_better,
            unit="" if metric is None else _metric(self.cell.task, metric).unit,
            base=self.cell.base,
            folder=self.folder,
            work=self.work,
            manifest=self.manifest(),
            workers=self.cell.task.run.workers,
            processes=processes,
            show_progress=show,
        )

    def _validation(self, processes: Processes, show: bool) -> Validation | None:
        if self.lessons.validation is None:
            return None
        return Validation(
            self.cell.task,
            self.adapter,
            self.lessons.validation,
            self.work / "predictions",
            processes,
            show_progress=show,
        )

    def manifest(self) -> dict[str, Any]:
        """What harness.json says besides how the training went."""
        info = self.adapter.info
        return {
            "format": 1,
            "task": self.cell.task.name,
            "train_id": self.id,
            "method": self.train.method,
            "base": self._base(),
            "dtype": self.adapter.weights.dtype,
            "parent": self.parent,
            "family": {"name": info.family, "version": info.version},
            "spec": self.cell.task.model_dump(mode="json"),
            "data": self.lessons.part().model_dump(mode="json"),
            "versions": environment().versions,
        }

    def _base(self) -> dict[str, str | None]:
        """The checkpoint that is tuned; `path` leads from the result's folder to a local one's."""
        checkpoint = self.adapter.weights.checkpoint
        local = checkpoint.revision is None
        return {
            "checkpoint": checkpoint.name,
            "revision": checkpoint.revision,
            "digest": checkpoint.digest(),
            "path": os.path.relpath(checkpoint.folder, self.folder.resolve()) if local else None,
        }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def finished(folder: Path, id_: str) -> FineTuned | None:
    """What an earlier call of the training with this id made; None when there is nothing."""
    manifest = read_manifest(folder)
    if manifest.get("train_id") != id_:
        return None
    if manifest.get("digest") != _digest(folder) or not isinstance(manifest.get("train"), dict):
        _say(f"{folder} isn't what was trained there: its files were changed. Training anew.")
        return None
    found = manifest["train"]
    return FineTuned(
        folder=folder,
        method=manifest["method"],
        steps=found["steps"],
        best_step=found["best_step"],
        seconds=found["seconds"],
        trainable=found["trainable_parameters"],
        total=found["total_parameters"],
        scores=manifest["scores"],
        curve=Curve.from_json(found["curve"]),
        left_out=found["left_out"],
        stages=[TrainStagePart.model_validate(stage) for stage in found.get("stages", ())],
        reused=True,
    )


def _digest(folder: Path) -> str | None:
    """Digest of a result's weights as they are now; None when they can't be read."""
    adapter = (folder / ADAPTER_CONFIG).is_file()
    try:
        return TrainedAdapter("", folder).digest() if adapter else Checkpoint("", folder).digest()
    except (HarnessError, OSError):
        return None


def _fresh(lessons: Lessons, base: Adapter) -> Adapter:
    """The base with weights of its own."""
    old = base.weights
    weights = Weights(old.checkpoint, old.dtype, old.device, old.attention)
    return with_weights(lessons.cell, weights, lessons.class_names)


def _start(adapter: Adapter) -> dict[str, Any]:
    """What a training starts from besides its task."""
    return {
        "checkpoint": adapter.weights.checkpoint.digest(),
        "dtype": adapter.weights.dtype,
        "attention": adapter.weights.attention,
        "family": [adapter.info.family, adapter.info.version],
    }


def _metric(task: Task, key: str) -> Metric | CorpusMetric:
    """The task's metric of this name."""
    return next(scored.metric for scored in Scorer(task).scored if scored.key == key)
