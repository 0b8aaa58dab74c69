"""A checkpoint, data and settings to a fine-tuned checkpoint: reads like a table of contents.

The work folder holds checkpoints as long as the training lasts, the result's folder appears whole at its end.
Whatever interrupts it, the same call goes on from the last good checkpoint.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data import Dataset
from harness.data.augment import Augmenter
from harness.errors import RunError
from harness.models.base import Adapter
from harness.processes import Processes
from harness.progress import progress
from harness.results.record import TrainStagePart
from harness.spec.training import Augment, Train
from harness.training import order, output
from harness.training.checkpoints import Checkpoints, step_of
from harness.training.curve import Curve
from harness.training.loader import Encoder, Loader
from harness.training.method import Tuning, prepare
from harness.training.stages import Stage, joined, stage_part, stages
from harness.training.stop import StopRequest
from harness.training.trainer import HarnessTrainer, arguments, check_trackers
from harness.training.watcher import Evaluate, Rhythm, Watcher

EVALUATIONS = 10
"""How often a training is scored when the task doesn't say."""


@dataclass(frozen=True)
class FineTuned:
    """What a training made and how: `folder` holds it, `scores` are those of the best step on validation.

    `left_out` are training samples that could not be used, id to reason. Of a training in `stages` steps are
    counted over all of them; there are none where the task has none. `resumed_from` is the step that an
    interrupted training went on from; `reused` says that it was finished before.
    """

    folder: Path
    method: str
    steps: int
    best_step: int
    seconds: float
    trainable: int
    total: int
    scores: Mapping[str, float]
    curve: Curve
    left_out: Mapping[str, str] = field(default_factory=dict)
    stages: Sequence[TrainStagePart] = ()
    resumed_from: int | None = None
    reused: bool = False


@dataclass(frozen=True)
class Job:
    """A training that is to be done.

    `adapter` has fresh weights without an adapter; after the training they are the best ones. `datasets` are
    what each stage learns from, by its name, "" where there are none. `evaluate` scores the weights as they
    are on the validation split; `metric`, in `unit`, selects (None: the last step is kept). `folder` is for
    the result, `work` for checkpoints while it lasts, `base` what the task's ./ paths are relative to.
    """

    adapter: Adapter
    train: Train
    datasets: Mapping[str, Dataset]
    evaluate: Evaluate | None
    metric: str | None
    higher_is_better: bool
    base: Path
    folder: Path
    work: Path
    manifest: Mapping[str, Any]
    unit: str = ""
    workers: int = 4
    processes: Processes = field(default_factory=Processes)
    show_progress: bool = True

    @property
    def stages(self) -> list[Stage]:
        """Its stages in order; one where the task has none."""
        return stages(self.train, self.datasets, self.work)


@dataclass(frozen=True)
class Learned:
    """How a stage went: what `FineTuned` says, of its own steps; `found` is the one that it went on from."""

    steps: int
    best_step: int | None
    seconds: float
    curve: Curve
    left_out: Mapping[str, str]
    found: int | None


def fine_tune(job: Job) -> FineTuned:
    """Train stage by stage, keep the last one's best step, write the result.

    Raises AdapterError for settings that don't fit the network, UsageError for too few data, RunError when it
    stops before its end: with the same job it goes on from the last checkpoint.
    """
    check_trackers(job.train.report_to)
    for stage in job.stages:
        order.check_batch(stage.train.batch, stage.dataset.size, distinct=job.adapter.coupled)
    tuning = prepare(job.adapter.model, job.adapter.info, job.train, job.adapter.part_states())
    result = _result(job, tuning, [_learn(job, stage, tuning) for stage in job.stages])
    if job.processes.main:
        output.save(
            job.folder,
            tuning,
            job.adapter,
            _manifest(job, tuning, result),
            result.curve,
            metric=job.metric or "",
            higher_is_better=job.higher_is_better,
            unit=job.unit,
        )
        shutil.rmtree(job.work, ignore_errors=True)
    job.processes.wait()
    return result


def _learn(job: Job, stage: Stage, tuning: Tuning) -> Learned:
    """Train one stage, or take it up where it was; the network then has the step of it that is kept."""
    checkpoints = Checkpoints(stage.work)
    if job.processes.main:
        checkpoints.sweep()
    found = job.processes.share(checkpoints.latest() if job.processes.main else None)
    tuning.narrow(stage.name)
    watcher, steps = _train(job, stage, tuning, checkpoints, found)
    if watcher.best_step is not None:
        tuning.load(checkpoints.best(watcher.best_step))
    tuning.network.eval()
    went_on = step_of(found) if found else None
    return Learned(steps, watcher.best_step, watcher.seconds, watcher.curve, watcher.left_out, went_on)


def _result(job: Job, tuning: Tuning, learned: Sequence[Learned]) -> FineTuned:
    stages, last = job.stages, learned[-1]
    before = stages[-1].before
    best = before + (last.steps if last.best_step is None else last.best_step)
    curve, both = joined(stages, [one.curve for one in learned]), list(zip(stages, learned, strict=True))
    taken_up = [stage.before + one.found for stage, one in both if one.found is not None]
    return FineTuned(
        folder=job.folder,
        method=job.train.method,
        steps=before + last.steps,
        best_step=best,
        seconds=sum(one.seconds for one in learned),
        trainable=tuning.trainable,
        total=tuning.total,
        scores=dict(curve.scores).get(best, {}),
        curve=curve,
        left_out={id_: reason for one in learned for id_, reason in one.left_out.items()},
        stages=[stage_part(stage, one.steps, tuning) for stage, one in both] if job.train.stages else (),
        resumed_from=taken_up[-1] if taken_up else None,
    )


def _train(
    job: Job, stage: Stage, tuning: Tuning, checkpoints: Checkpoints, resume: Path | None
) -> tuple[Watcher, int]:
    """Run the steps that are left; what watched them, and the last one. Raises RunError after a signal."""
    start, rhythm = step_of(resume) if resume else 0, _rhythm(job, stage)
    stop, loader = StopRequest(), _loader(job, stage, start)
    label = f"Training, {stage.title}" if stage.title else "Training"
    with (
        stop.listening(),
        redirect_stdout(sys.stderr),  # where trackers greet
        warnings.catch_warnings(),
        progress(label, stage.steps, "steps", show=job.show_progress and job.processes.main) as bar,
    ):
        # torch asks for another argument, which accelerate doesn't pass on yet
        warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
        evaluate = job.evaluate if stage.last else None
        watcher = Watcher(rhythm, tuning, loader, evaluate, checkpoints, stop, job.processes, bar)
        trainer = HarnessTrainer(
            job.adapter,
            tuning,
            loader,
            arguments(
                stage.train,
                stage.steps,
                work=stage.work,
                device=job.adapter.weights.device,
                processes=job.processes,
                name=f"{job.folder.name}-{stage.name}" if stage.name else job.folder.name,
                trackers=job.train.report_to,
            ),
            watcher,
            autocast=autocasts(stage.train, job.adapter.weights.device),
            checkpoints=checkpoints,
            processes=job.processes,
        )
        if resume:
            watcher.load(resume)
        if start < stage.steps and not watcher.out_of_patience:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        else:
            assert resume is not None
            trainer.take_up(resume)
    _tell_unperturbed(loader.encoder.unperturbed)
    step = max(start, trainer.state.global_step)
    if watcher.stopped and not (stage.last and watcher.finished(step)):
        raise RunError(
            f"stopped by {stop.name or 'a signal'} after {rhythm.place(step)}",
            "A checkpoint is kept: run the same command again and it goes on from there.",
        )
    return watcher, step


def _tell_unperturbed(samples: Mapping[str, str]) -> None:
    """Say it when perturbation was left off: the training is another one than was asked for."""
    if samples:
        id_, reason = next(iter(samples.items()))
        many = f"{len(samples)} training samples were" if len(samples) > 1 else "1 training sample was"
        line = f"{many} learned without perturbation, with which they can't be used; {id_}: {reason}"
        print(line, file=sys.stderr, flush=True)  # noqa: T201


def _loader(job: Job, stage: Stage, start: int) -> Loader:
    train, adapter = stage.train, job.adapter
    perturbs = train.augment.model_copy(update={"spec_augment": None}) != Augment()
    augmenter = Augmenter(train.augment, job.base) if perturbs else None
    encoder = Encoder(adapter, augmenter, train.augment.spec_augment, train.seed)

    def steps(first: int) -> Any:
        cost = adapter.cost if train.group_by_length else None
        return order.steps(
            stage.dataset,
            train.batch,
            train.seed,
            start=first,
            cost=cost,
            workers=job.workers,
            distinct=adapter.coupled,
        )

    return Loader(
        encoder,
        steps,
        start=start,
        micro=train.micro_batch,
        workers=job.workers,
        rank=job.processes.rank,
        world=job.processes.world,
        pin=adapter.weights.device.startswith("cuda"),
    )


def _rhythm(job: Job, stage: Stage) -> Rhythm:
    every = evaluate_every(stage.train, stage.steps)
    return Rhythm(
        steps=stage.steps,
        evaluate_every=every,
        save_every=stage.train.save_every or every,
        metric=job.metric,
        higher_is_better=job.higher_is_better,
        patience=stage.train.patience,
        title=stage.title,
    )


def evaluate_every(train: Train, steps: int) -> int:
    """Steps between evaluations, default filled in."""
    return train.evaluate_every or max(1, round(steps / EVALUATIONS))


def autocasts(train: Train, device: str) -> bool:
    """Whether the forward pass of training runs under bfloat16 autocast."""
    import torch

    if train.precision != "auto":
        return train.precision == "bfloat16"
    return device.startswith("cuda") and torch.cuda.is_bf16_supported()


def _manifest(job: Job, tuning: Tuning, result: FineTuned) -> dict[str, Any]:
    stages = [stage.model_dump(mode="json") for stage in result.stages]
    return {
        **job.manifest,
        "train": {
            "steps": result.steps,
            "best_step": result.best_step,
            "seconds": round(result.seconds, 1),
            "trainable_parameters": result.trainable,
            "total_parameters": result.total,
            "parts": {part.name: part.state for part in tuning.parts},
            **({"stages": stages} if stages else {}),
            "left_out": dict(result.left_out),
            "curve": result.curve.to_json(),
        },
        "scores": dict(result.scores),
    }
