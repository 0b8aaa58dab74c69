"""What watches over a training: when to score, what is best, when to save, when to stop, what to show.

Its state travels in every checkpoint, so that a resumed training knows its curve, its best step and how long
it has waited for a better one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from harness.errors import RunError
from harness.processes import Processes
from harness.progress import Progress
from harness.training.checkpoints import Checkpoints
from harness.training.curve import Curve
from harness.training.loader import Loader, MicroBatch
from harness.training.method import Tuning
from harness.training.stop import StopNow, StopRequest

STATE = "watcher.json"
NAMED_IDS = 8

Evaluate = Callable[[int], Mapping[str, float]]


@dataclass(frozen=True)
class Rhythm:
    """When things happen, in steps; `patience` in evaluations. `metric` selects; None keeps the last step.

    `title` names a stage of several, of which these are the steps.
    """

    steps: int
    evaluate_every: int
    save_every: int
    metric: str | None = None
    higher_is_better: bool = False
    patience: int | None = None
    title: str = ""

    def place(self, step: int) -> str:
        """Where a step is, in words."""
        return f"step {step} of {self.steps}" + (f" of {self.title}" if self.title else "")


class Watcher(TrainerCallback):
    """Follows one training. `evaluate` scores the network as it is now, on the validation split."""

    def __init__(
        self,
        rhythm: Rhythm,
        tuning: Tuning,
        loader: Loader,
        evaluate: Evaluate | None,
        checkpoints: Checkpoints,
        stop: StopRequest,
        processes: Processes,
        bar: Progress,
    ) -> None:
        self.curve = Curve()
        self.best_step: int | None = None
        self.best_value: float | None = None
        self.stopped = False
        """Whether it ended because somebody asked for it."""
        self.gradient_norm: Any = 0.0
        """Norm of the step's gradient before clipping."""
        self.log: Callable[[dict[str, float]], None] | None = None
        """Tells the trackers."""
        self._rhythm = rhythm
        self._tuning = tuning
        self._loader = loader
        self._score = evaluate if rhythm.metric else None
        self._checkpoints = checkpoints
        self._stop = stop
        self._processes = processes
        self._bar = bar
        self._since_best = 0
        self._seconds_before = 0.0
        self._started = time.perf_counter()
        self._step: list[tuple[torch.Tensor, MicroBatch]] = []
        self._media_seconds = 0.0
        self._samples = 0
        self._speed_since = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, interruptions left out."""
        return self._seconds_before + time.perf_counter() - self._started

    @property
    def left_out(self) -> dict[str, str]:
        """Samples that could not be used, in all processes: id to reason."""
        found = self._processes.collect(self._loader.encoder.left_out)
        return {id_: reason for own in found for id_, reason in own.items()}

    # State

    def save(self, folder: Path, left_out: Mapping[str, str]) -> None:
        """Write the state into a checkpoint that is being written."""
        state = {
            "curve": self.curve.to_json(),
            "best_step": self.best_step,
            "best_value": self.best_value,
            "since_best": self._since_best,
            "seconds": self.seconds,
            "left_out": left_out,
        }
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take the state of a checkpoint up."""
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        self.curve = Curve.from_json(state["curve"])
        self.best_step, self.best_value = state["best_step"], state["best_value"]
        self._since_best = state["since_best"]
        self._seconds_before = state["seconds"]
        self._loader.encoder.left_out.update(state["left_out"])

    # What happens when

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Score the starting point: the base, or where an interruption came before the evaluation.

        Raises RunError when that is interrupted: after another step it could not be made up for.
        """
        step = state.global_step
        self._bar.advance(step)
        self.catch_up(step)
        if self.stopped:
            raise RunError(
                f"stopped by {self._stop.name} after {self._rhythm.place(step)}",
                "Run the same command again: it goes on from there.",
            )

    def catch_up(self, step: int) -> None:
        """Score this step if it is due and hasn't been."""
        if self._due(step):
            self.evaluate(step)

    def saw(self, loss: torch.Tensor, micro: MicroBatch) -> None:
        """A micro-batch's part of the step's loss."""
        self._step.append((loss, micro))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before weights change: raises RunError when the step's loss or gradient isn't a finite number."""
        losses = torch.stack([loss for loss, _ in self._step])
        finite = torch.isfinite(losses).all() & torch.isfinite(torch.as_tensor(self.gradient_norm))
        if not bool(self._everywhere(finite)):
            raise self._not_finite(state.global_step + 1, losses)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for an evaluation or a checkpoint when one is due, and for the end when somebody wants it."""
        step = state.global_step
        self._count()
        self._bar.advance()
        asked = torch.tensor(self._stop.name is not None, device=args.device)
        self.stopped = bool(self._anywhere(asked))
        last = step >= self._rhythm.steps
        control.should_evaluate = self._due(step) and not self.stopped
        control.should_save = self.stopped or last or step % self._rhythm.save_every == 0
        control.should_training_stop = self.stopped or last

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Add to the curve, and show loss, learning rate, speed and memory."""
        if "loss" not in logs:
            return
        loss, rate = logs["loss"], logs["learning_rate"]
        self.curve.add_loss(state.global_step, loss, rate, logs.get("grad_norm", math.nan))
        self._bar.note(f"loss {loss:.3f}, lr {rate:.1e}", self._speed(), _memory(args.device))

    # Evaluation

    def evaluate(self, step: int) -> dict[str, float]:
        """Score the network as it is; keep its weights when they are the best so far."""
        assert self._score is not None
        metric = self._rhythm.metric
        assert metric is not None
        self._tuning.network.eval()
        try:
            with self._bar.paused(), self._stop.at_once(), self._tuning.whole():
                scores = dict(self._score(step))
        except StopNow:
            self.stopped = True
            return {}
        finally:
            self._speed_since = time.perf_counter()
            self._media_seconds, self._samples = 0.0, 0
        self.curve.add_scores(step, scores)
        if self.log is not None:
            self.log({f"eval_{name}": value for name, value in scores.items()})
        value = scores[metric]
        if self._is_better(value):
            self.best_step, self.best_value, self._since_best = step, value, 0
            if self._processes.main:
                self._checkpoints.keep_best(step, self._tuning.state())
        else:
            self._since_best += 1
        self.curve.best_step = self.best_step
        self._bar.say(self._score_text(step, value))
        return scores

    @property
    def out_of_patience(self) -> bool:
        """Whether the best score is too many evaluations ago."""
        patience = self._rhythm.patience
        return patience is not None and self._since_best >= patience

    def finished(self, step: int) -> bool:
        """Whether nothing is left to do after this step."""
        return (step >= self._rhythm.steps or self.out_of_patience) and not self._due(step)

    def _is_better(self, value: float) -> bool:
        if self.best_value is None:
            return True
        return value > self.best_value if self._rhythm.higher_is_better else value < self.best_value

    def _score_text(self, step: int, value: float) -> str:
        best = "best so far" if step == self.best_step else f"best {self.best_value:.2f} at {self.best_step}"
        return f"step {step} of {self._rhythm.steps}: {self._rhythm.metric} {value:.2f} ({best})"

    def _due(self, step: int) -> bool:
        """Whether this step is to be scored and hasn't been."""
        if self._score is None or any(done == step for done, _ in self.curve.scores):
            return False
        return step % self._rhythm.evaluate_every == 0 or step >= self._rhythm.steps

    # Helpers

    def _everywhere(self, flag: torch.Tensor) -> torch.Tensor:
        """Whether it holds in every process."""
        return ~self._anywhere(~flag)

    def _anywhere(self, flag: torch.Tensor) -> torch.Tensor:
        """Whether it holds in some process."""
        if self._processes.world == 1:
            return flag
        total = flag.to(torch.int32)
        torch.distributed.all_reduce(total, op=torch.distributed.ReduceOp.MAX)
        return total > 0

    def _not_finite(self, step: int, losses: torch.Tensor) -> RunError:
        all_micros = [micro for _, micro in self._step]
        bad = [
            micro for loss, micro in zip(losses.tolist(), all_micros, strict=True) if not math.isfinite(loss)
        ]
        what = "loss" if bad else "gradient"
        ids = [id_ for micro in bad or all_micros for id_ in micro.ids]
        more = f" and {len(ids) - NAMED_IDS} more" if len(ids) > NAMED_IDS else ""
        kept = self._checkpoints.latest()
        since = f"; the last checkpoint ({kept.name}) is good" if kept else ""
        return RunError(
            f"the {what} of step {step} is not a finite number; the weights were not changed{since}. "
            f"Samples: {', '.join(ids[:NAMED_IDS])}{more}",
            "Try a lower train.learning_rate, a longer train.warmup or train.precision float32; see whether "
            "these samples' media and targets are sound.",
        )

    def _count(self) -> None:
        for _, micro in self._step:
            self._media_seconds += micro.media_seconds
            self._samples += len(micro.ids)
        self._step.clear()

    def _speed(self) -> str:
        """Since the last time it was shown, over all processes."""
        now = time.perf_counter()
        spent = max(now - self._speed_since, 1e-9) / self._processes.world
        media, samples = self._media_seconds / spent, self._samples / spent
        self._speed_since, self._media_seconds, self._samples = now, 0.0, 0
        return f"{media:.0f} s of audio/s" if media else f"{samples:.1f} samples/s"


def _memory(device: torch.device) -> str:
    """Peak memory: the accelerator's, or what the process has now on a CPU."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB"
    import psutil

    return f"{psutil.Process().memory_info().rss / 1e9:.1f} GB"
