"""The stages of a training: `train.stages`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, FiniteFloat, field_validator, model_validator

from harness.spec.section import UNSCORED, Section
from harness.spec.values import Count, PartState, Positive, Schedule


class Stage(Section):
    """One of several trainings of the same network, one after the other (LLaVA: the projector alone, then
    the projector and LoRA). What it doesn't say is as the train section says it."""

    name: str = Field(min_length=1, json_schema_extra=UNSCORED)
    """What progress, tables and records call it."""
    parts: dict[str, PartState] | None = Field(default=None, min_length=1)
    """What it trains: all other parts are frozen. What the train section says when not given."""
    steps: Count | None = None
    """Optimiser steps; give this or epochs."""
    epochs: Positive | None = None
    """Passes over its training data; give this or steps."""
    batch: Count | None = None
    """Samples that each optimiser step learns from."""
    micro_batch: Count | None = Field(default=None, json_schema_extra=UNSCORED)
    """Most samples of a forward pass on one device."""
    learning_rate: Positive | None = None
    """Peak learning rate."""
    warmup: Annotated[FiniteFloat, Field(ge=0)] | None = None
    """Steps until the peak, or a share of its steps when below 1."""
    schedule: Schedule | None = None
    """How the learning rate falls after the peak."""
    weight_decay: Annotated[FiniteFloat, Field(ge=0)] | None = None
    """Decay of weights."""
    group_by_length: bool | None = None
    """Put samples of similar cost into one batch."""
    data: dict[str, Any] = Field(default={})
    """Keys of the data section that differ for this stage; they lie over train.data."""
    limit: Count | None = None
    """A seeded subset of its training samples."""

    @field_validator("parts")
    @classmethod
    def _trains_something(cls, parts: dict[str, PartState] | None) -> dict[str, PartState] | None:
        if parts is not None and all(state == "frozen" for state in parts.values()):
            raise ValueError("nothing would be trained: every part is frozen")
        return parts

    @model_validator(mode="after")
    def _one_length(self) -> Stage:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self

    def given(self) -> dict[str, Any]:
        """What it says otherwise than the train section, by the section's keys; data left out."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        others = ("name", "data")
        return {name: value for name, value in values.items() if value is not None and name not in others}
