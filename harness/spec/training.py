"""The `train:` section: how a checkpoint is fine-tuned.

A step learns from exactly `batch` samples, whatever the hardware: `micro_batch` and the number of processes
split it, and the loss is the mean over all its tokens (or pairs), so they change memory and speed, not the
result.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, model_validator

from harness.spec.overlay import overlaid
from harness.spec.section import UNSCORED, Section
from harness.spec.stages import Stage
from harness.spec.values import Count, Decibels, Positive, Schedule, Share
from harness.spec.values import PartState as PartState

LEARNING_RATES = {"lora": 1e-3, "full": 1e-5}


class Lora(Section):
    """Low-rank adaptation (Hu et al. 2021) and its variants, through PEFT."""

    r: Count | None = None
    """Rank; 32 when not given."""
    alpha: Positive | None = None
    """Scale: an update is multiplied by alpha / r; twice the rank when not given."""
    dropout: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.0
    """Dropout in front of the adapter."""
    targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of modules that get an adapter (q_proj), or one regular expression over full names; the
    family's own when not given."""
    rslora: bool = False
    """Scale by alpha / sqrt(r) (Kalajdzievski 2023)."""
    dora: bool = False
    """Learn magnitude and direction apart (Liu et al. 2024)."""
    init: Literal["default", "pissa"] = "default"
    """Start from zero, or from the largest singular vectors (PiSSA, Meng et al. 2024)."""

    @property
    def rank(self) -> int:
        """The rank, default filled in."""
        return self.r or 32

    @property
    def scale(self) -> float:
        """Alpha, default filled in."""
        return self.alpha or 2 * self.rank


class Noise(Section):
    """Noise that is added to training audio."""

    snr_db: tuple[Decibels, Decibels] = (10.0, 30.0)
    """Lowest and highest ratio of speech to noise in dB, drawn per clip."""
    probability: Share = 0.5
    """Share of clips that get noise."""
    folder: str | None = None
    """Folder of noise recordings (./ is relative to the task file); white noise when not given."""

    @model_validator(mode="after")
    def _in_order(self) -> Noise:
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db: {list(self.snr_db)} is not a range: the smaller number comes first")
        return self


class SpecAugment(Section):
    """Masks on the spectrogram (Park et al. 2019), set to the clip's mean."""

    time_masks: int = Field(default=2, ge=0)
    """How many stretches of time."""
    time_share: Share = 0.05
    """Longest stretch as a share of the clip."""
    frequency_masks: int = Field(default=2, ge=0)
    """How many bands."""
    frequency_bins: int = Field(default=27, ge=0)
    """Widest band in mel bins."""


class Augment(Section):
    """Perturbation of training data, drawn anew for each sample each time; never of data that is scored."""

    speed: tuple[Positive, ...] = ()
    """Factors of which one is drawn, such as [0.9, 1.0, 1.1]: tempo and pitch (Ko et al. 2015)."""
    gain_db: tuple[Decibels, Decibels] | None = None
    """Lowest and highest change of loudness in dB."""
    noise: Noise | None = None
    """Added noise."""
    spec_augment: SpecAugment | None = None
    """Masks on the features."""

    @model_validator(mode="after")
    def _in_order(self) -> Augment:
        if self.gain_db is not None and self.gain_db[0] > self.gain_db[1]:
            raise ValueError(f"gain_db: {list(self.gain_db)} is not a range: the smaller number comes first")
        return self


class Keep(Section):
    """A check against forgetting: the task with other parameters, scored before and after."""

    name: str
    """What the table calls it."""
    params: dict[str, Any] = Field(min_length=1)
    """Parameters that differ from the task's."""
    tolerance: FiniteFloat = Field(default=0.0, ge=0)
    """How much worse the first metric may get, in its own unit (points for %)."""


class Train(Section):
    """How the checkpoint is fine-tuned; without this section it is only scored."""

    method: Literal["lora", "full"] = "lora"
    """What is trained: adapters beside frozen weights, or the weights themselves."""
    lora: Lora = Lora()
    """Settings of LoRA."""
    parts: dict[str, PartState] = Field(default={})
    """Parts of the network (encoder, decoder; the family names them) that are treated otherwise than the
    method says: frozen, lora or full."""
    stages: tuple[Stage, ...] | None = Field(default=None, min_length=1)
    """Trainings of the same network one after the other, each with parts, data and steps of its own. One
    fine-tune comes out; the last stage's best step is kept, and the last step of those before."""
    steps: Count | None = None
    """Optimiser steps; give this or epochs, or stages that do."""
    epochs: Positive | None = None
    """Passes over the training data; give this or steps."""
    batch: Count = 32
    """Samples that each optimiser step learns from, over all processes."""
    micro_batch: Count | None = Field(default=None, json_schema_extra=UNSCORED)
    """Most samples of a forward pass on one device; the whole share of a step when not given. Less memory,
    same result. A contrastive loss is still over the whole step: each micro-batch is then embedded twice,
    once without and once with gradient (Gao et al. 2021)."""
    learning_rate: Positive | None = None
    """Peak learning rate; 1e-3 for lora and 1e-5 for full when not given."""
    warmup: Annotated[FiniteFloat, Field(ge=0)] = 0.1
    """Steps until the peak, or a share of all steps when below 1."""
    schedule: Schedule = "linear"
    """How the learning rate falls after the peak."""
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    """Update rule."""
    weight_decay: FiniteFloat = Field(default=0.0, ge=0)
    """Decay of weights (not of biases, norms and temperatures)."""
    max_grad_norm: Positive = 1.0
    """Norm that gradients are clipped to."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward pass; auto is bfloat16 on a GPU that has it, else float32."""
    gradient_checkpointing: bool = Field(default=False, json_schema_extra=UNSCORED)
    """Compute activations again in the backward pass instead of keeping them."""
    group_by_length: bool = False
    """Put samples of similar cost into one batch: seconds of audio, tokens of a prompt with its images.
    Nothing is gained where all cost the same (a classifier's images)."""
    seed: int = Field(default=0, ge=0)
    """Seed of order, dropout, augmentation and new parameters."""
    data: dict[str, Any] = Field(default={})
    """Keys of the data section that differ for training (path, options, ...). Where the task's own data have
    no validation split, the best step is chosen on these data's."""
    limit: Count | None = None
    """A seeded subset of the training samples."""
    augment: Augment = Augment()
    """Perturbation of training data."""
    evaluate_every: Count | None = None
    """Steps between evaluations on the validation split; a tenth of all steps when not given."""
    validation_limit: Count | None = None
    """A seeded subset of the validation samples."""
    select_by: str | None = None
    """Metric that chooses the best checkpoint; the task's first when not given. "last" evaluates nothing
    and keeps the last."""
    patience: Count | None = None
    """Stop after so many evaluations without a better score; never when not given."""
    save_every: Count | None = Field(default=None, json_schema_extra=UNSCORED)
    """Steps between checkpoints to resume from; as evaluate_every when not given."""
    keep: tuple[Keep, ...] = Field(default=(), json_schema_extra=UNSCORED)
    """Checks against forgetting."""
    report_to: tuple[str, ...] = Field(default=(), json_schema_extra=UNSCORED)
    """Trackers that follow the run: trackio, tensorboard, wandb, ..."""

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate, default filled in."""
        return self.learning_rate or LEARNING_RATES[self.method]

    @property
    def staged(self) -> dict[str, Train]:
        """This section as each of its stages has it, by the stage's name, in order; without stages itself,
        called ""."""
        if self.stages is None:
            return {"": self}
        return {stage.name: self._in(stage) for stage in self.stages}

    def _in(self, stage: Stage) -> Train:
        own = {"stages": None, "data": overlaid(self.data, stage.data)}
        return self.model_copy(update=stage.given() | own)

    @property
    def named_parts(self) -> dict[str, PartState]:
        """What is done with the parts that the section or a stage of it names, over all stages: frozen is
        what no stage trains."""
        stages = [own.parts for own in self.staged.values()]
        trained = {name: state for parts in stages for name, state in parts.items() if state != "frozen"}
        return {name: trained.get(name, "frozen") for parts in stages for name in parts}

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        if self.stages is not None and (self.steps, self.epochs) != (None, None):
            raise ValueError("give steps or epochs in each of the stages, not beside them")
        if self.stages is None and (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self

    @model_validator(mode="after")
    def _stages_fit(self) -> Train:
        stages = self.stages or ()
        for name, times in Counter(stage.name for stage in stages).items():
            if times > 1:
                raise ValueError(f"stages: {times} are called '{name}'")
        if stages and self.parts and all(stage.parts for stage in stages):
            raise ValueError("parts: every stage names its own, so these would be those of none")
        for name in self.named_parts:
            states = {own.parts.get(name, "frozen") for own in self.staged.values()}
            if states >= {"lora", "full"}:
                raise ValueError(f"stages: part '{name}' can't be lora in one and full in another")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Train:
        if self.patience is not None and self.select_by == "last":
            raise ValueError("patience: nothing is evaluated when select_by is 'last'")
        return self
