"""The one trainer of every family: transformers' loop, optimizer and trackers, with our batches and our loss.

It knows nothing of audio, images or text. What differs from transformers' Trainer:
- A step's loss is the sum over its items divided by their number in the whole step, over all micro-batches
  and processes, so gradients don't depend on how a step was split (Trainer lets Whisper's go unscaled).
- Batches come from `Loader`, which starts at any step, so nothing is skipped batch by batch on a resume.
- Autocast wraps the loss alone: scoring during training runs just as it does afterwards.
- Checkpoints hold the trained parameters by name, whatever PEFT can or can't hold, and appear whole or not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from harness.errors import AdapterError, UsageError
from harness.models.base import Adapter, Batch
from harness.models.weights import quiet
from harness.processes import Processes
from harness.spec.training import Train
from harness.training.checkpoints import Checkpoints, no_room, step_of
from harness.training.contrastive import CoupledLoss
from harness.training.loader import Loader, MicroBatch
from harness.training.method import Tuning
from harness.training.order import micro_batches
from harness.training.watcher import Watcher

WEIGHTS = "trained.safetensors"
OPTIMIZERS = {"adamw": "adamw_torch", "adafactor": "adafactor"}
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
LOGGED_POINTS = 200
"""Losses in the curve, about."""


class HarnessTrainer(Trainer):
    """Fine-tunes `tuning.network`. `watcher` decides when to evaluate, save and stop."""

    def __init__(
        self,
        adapter: Adapter,
        tuning: Tuning,
        loader: Loader,
        arguments: TrainingArguments,
        watcher: Watcher,
        *,
        autocast: bool,
        checkpoints: Checkpoints,
        processes: Processes,
    ) -> None:
        self._adapter = adapter
        self._tuning = tuning
        self._loader = loader
        self._watcher = watcher
        self._autocast = autocast
        self._checkpoints = checkpoints
        self._processes = processes
        self._coupled = CoupledLoss(adapter, processes) if adapter.coupled else None
        self._ahead: Sequence[MicroBatch] = ()
        with quiet():
            super().__init__(model=tuning.network, args=arguments, callbacks=[watcher])
        self.remove_callback(PrinterCallback)
        watcher.log = self.log
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    # What a step learns from

    def get_train_dataloader(self) -> Any:
        """Our own batches."""
        return self._loader

    def _get_num_items_in_batch(self, batch_samples: Sequence[MicroBatch], device: torch.device) -> Any:
        """Items of the whole step, over all its micro-batches and processes."""
        self._ahead = batch_samples
        items = torch.tensor(sum(self._adapter.items(micro.batch) for micro in batch_samples), device=device)
        return self.accelerator.reduce(items, reduction="sum") if self._processes.world > 1 else items

    def _prepare_inputs(self, inputs: Any) -> Any:
        tensors = {
            name: tensor.to(self.args.device, non_blocking=True)
            for name, tensor in inputs.batch.tensors.items()
        }
        return replace(inputs, batch=replace(inputs.batch, tensors=tensors))

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This micro-batch's share of the step's loss; times the processes, which average their gradients."""
        if self._coupled:
            loss = self._of_pairs(self._coupled, model, inputs.batch) / num_items_in_batch
        else:
            loss = self._of_items(model, inputs.batch) / num_items_in_batch * self._processes.world
        self._watcher.saw(loss.detach(), inputs)
        return loss

    def _of_items(self, model: Any, batch: Batch) -> Any:
        """The family's loss. Where it doesn't reach all that is trained, the gradient of the rest is zero:
        processes wait for each other's gradients of everything."""
        loss = self._adapter.loss(model, batch)
        return loss + self._tuning.nothing() if self._adapter.partial(batch) else loss

    def _of_pairs(self, coupled: CoupledLoss, model: Any, batch: Batch) -> Any:
        """This micro-batch's share of a coupled loss; before the first of several, all are looked at."""
        if len(self._ahead) > 1:
            coupled.begin(model, (self._prepare_inputs(micro).batch for micro in self._ahead))
        self._ahead = ()
        return coupled.of(model, batch)

    def compute_loss_context_manager(self) -> AbstractContextManager[Any]:
        """Autocast, when the task's precision asks for it."""
        return torch.autocast(self.args.device.type, torch.bfloat16) if self._autocast else nullcontext()

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """As transformers has them (no biases, no norms), without single numbers: temperatures, gates."""
        single = {name for name, parameter in model.named_parameters() if parameter.numel() == 1}
        return [name for name in super().get_decay_parameter_names(model) if name not in single]

    def create_optimizer(self, model: Any = None) -> Any:
        """Parameters are brought back to where they may be after each of its steps."""
        optimizer = super().create_optimizer(model)
        optimizer.register_step_post_hook(lambda *_: self._adapter.constrain(self._tuning.network))
        return optimizer

    def _clip_grad_norm(self, model: Any) -> Any:
        self._watcher.gradient_norm = super()._clip_grad_norm(model)
        return self._watcher.gradient_norm

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted here."""
        return 0

    # Evaluation and checkpoints

    def _evaluate(
        self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False
    ) -> dict[str, float]:
        self.control.should_evaluate = False
        scores = self._watcher.evaluate(self.state.global_step)
        if self._watcher.stopped or self._watcher.out_of_patience:
            self.control.should_save = self.control.should_training_stop = True
        return scores

    def take_up(self, checkpoint: Path) -> None:
        """Load a checkpoint that no step is left to do from, and score it if that is missing."""
        self._load_from_checkpoint(str(checkpoint))
        self._watcher.catch_up(step_of(checkpoint))

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._checkpoints.writing)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint aside, every process its random numbers, and publish it when all is on disk."""
        step, writing = self.state.global_step, self._checkpoints.writing
        with no_room(f"the checkpoint of step {step}", self._checkpoints.folder):
            if self._processes.main:
                self._checkpoints.sweep()
                writing.mkdir(parents=True)
            self._processes.wait()
            super()._save_checkpoint(model, trial)
            left_out = self._watcher.left_out
            if self._processes.main:
                self._watcher.save(writing, left_out)
                inner = writing / f"checkpoint-{step}"
                for path in inner.iterdir():
                    path.rename(writing / path.name)
                inner.rmdir()
                self._checkpoints.publish(step, self._watcher.best_step)
            self._processes.wait()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The trained parameters alone."""
        from safetensors.torch import save_file

        assert output_dir is not None
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._tuning.state(), folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        from safetensors.torch import load_file

        self._tuning.load(load_file(Path(resume_from_checkpoint) / WEIGHTS))


def arguments(
    train: Train,
    steps: int,
    *,
    work: Path,
    device: str,
    processes: Processes,
    name: str,
    trackers: Sequence[str] = (),
) -> TrainingArguments:
    """transformers' settings for this training. Raises AdapterError for a tracker that isn't there."""
    if train.report_to:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(work.parent / "logs" / name))
    with quiet():
        found = TrainingArguments(
            output_dir=str(work),
            max_steps=steps,
            gradient_accumulation_steps=micro_batches(train.batch, processes.world, train.micro_batch),
            learning_rate=train.peak_learning_rate,
            lr_scheduler_type=SCHEDULES[train.schedule],
            warmup_steps=warmup_steps(train, steps),
            optim=OPTIMIZERS[train.optimizer],
            weight_decay=train.weight_decay,
            max_grad_norm=train.max_grad_norm,
            seed=train.seed,
            logging_steps=max(1, steps // LOGGED_POINTS),
            logging_first_step=True,
            logging_nan_inf_filter=False,
            disable_tqdm=True,
            save_strategy="no",
            eval_strategy="no",
            ignore_data_skip=True,
            ddp_find_unused_parameters=False,
            ddp_broadcast_buffers=False,  # a family's loss may call the network more often in one process
            use_cpu=device == "cpu",
            report_to=list(trackers) or "none",
            run_name=name,
            project="mm-harness",
            trackio_static_space_id=False,  # nothing is uploaded unless somebody asks for it
            accelerator_config={"use_configured_state": processes.world > 1},
        )
    _use_device(found, device)
    return found


def warmup_steps(train: Train, steps: int) -> int:
    """Steps until the learning rate's peak. Raises UsageError when that lies beyond what epochs come to."""
    if train.warmup >= max(steps, 1):
        raise UsageError(
            f"train.warmup: {train.warmup:g} steps of warm-up leave none of {steps} to learn at the peak",
            "Lower it, or raise train.epochs.",
        )
    return round(train.warmup * steps) if train.warmup < 1 else int(train.warmup)


def _use_device(found: TrainingArguments, device: str) -> None:
    """This device and no other: left alone, Trainer takes the first GPU and splits batches over all."""
    chosen = torch.device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    _ = found.device
    found.__dict__["_setup_devices"] = chosen
    found._n_gpu = 1 if chosen.type == "cuda" else 0


def check_trackers(names: Sequence[str]) -> None:
    """Raises AdapterError for a tracker that transformers doesn't know or that isn't installed."""
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    from harness.registry import near

    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise AdapterError(
                f"train.report_to: there is no tracker '{name}'",
                near(name, INTEGRATION_TO_CALLBACK) or f"Known: {known}.",
            )
        if name not in get_available_reporting_integrations():
            raise AdapterError(
                f"train.report_to: {name} isn't installed",
                f"pip install {name}; trackio and tensorboard come with pip install 'mm-harness[tracking]'",
            )
