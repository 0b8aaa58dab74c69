"""Model families: which one runs a checkpoint, and how to load it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import AdapterError
from harness.models.base import Adapter, AdapterInfo
from harness.models.checkpoint import Checkpoint, resolve
from harness.models.endpoint import Endpoint
from harness.models.trained import TrainedAdapter, resolve_adapter
from harness.models.weights import Weights
from harness.registry import FAMILIES, FAMILY_OF_TYPE, near
from harness.spec.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.spec.schema import Model, Task


CLASSIFIES = ("ForImageClassification", "ForAudioClassification", "ForImageClassificationWithTeacher")
"""How the names of classes end whose checkpoints have a head, whatever tower is below it."""


def family_of(checkpoint: Checkpoint, forced: str | None = None) -> str:
    """The family that runs this checkpoint unless forced: by its config's `model_type`.

    A CLIP that was given a classification head is a classifier, as its config's `architectures` say.

    Raises AdapterError for a type no family knows, UsageError for a family that doesn't exist.
    """
    if forced is not None:
        FAMILIES.get(forced)
        return forced
    config = checkpoint.config()
    if any(str(name).endswith(CLASSIFIES) for name in config.get("architectures") or ()):
        return "classifier"
    model_type = str(config.get("model_type", ""))
    if model_type not in FAMILY_OF_TYPE:
        known = ", ".join(sorted(FAMILY_OF_TYPE))
        raise AdapterError(
            f"no model family runs {checkpoint.name}: its model_type is '{model_type}'",
            f"{near(model_type, FAMILY_OF_TYPE)} Known types: {known}. model.family forces a family.".strip(),
        )
    return FAMILY_OF_TYPE[model_type]


def info(family: str) -> AdapterInfo:
    """What a family can do; neither loads weights nor imports torch. Raises UsageError for an unknown one."""
    found: AdapterInfo = FAMILIES.get(family).info
    return found


def is_hosted(model: Model) -> bool:
    """Whether a model section names one that runs on a server. Raises UsageError for an unknown family."""
    return model.family is not None and info(model.family).hosted


def check_kind(family: str, kind: str, mode: str | None = None) -> None:
    """Raises AdapterError when the family can't answer in the way that this kind of task needs.

    `mode` is that way where the task has a choice, the kind's own when not given.
    """
    mode = mode or KINDS[kind].mode
    modes = info(family).modes
    if mode not in modes:
        hint = "Choose another checkpoint with --model."
        if mode == "choose" and "generate" in modes:
            hint = f"Let it write the option's letter, choice: {{by: letter}}. {hint}"
        raise AdapterError(
            f"kind '{kind}' needs a model that can {mode}; family '{family}' can {', '.join(sorted(modes))}",
            hint,
        )


def load(
    task: Task,
    *,
    base: Path,
    classes: Sequence[str] | None = None,
    device: str = "auto",
    offline: bool = False,
    weights: Weights | None = None,
    adapter: TrainedAdapter | None = None,
) -> Adapter:
    """The family's adapter for a task's model, ready to encode; the network loads at the first prediction.

    `classes` are those of the dataset, where it is known. `adapter` is a trained one (LoRA) to put into the
    network. `weights` are those of an earlier cell of the
    same matrix, used again with what they hold. Raises AdapterError when the checkpoint can't do what the
    task asks, RemoteError when it can't be fetched.
    """
    model = task.model
    if weights is None and is_hosted(model):
        weights = Endpoint.of(model, offline=offline)
    checkpoint = (
        weights.checkpoint
        if weights
        else resolve(model.checkpoint, model.revision, base=base, offline=offline)
    )
    family = family_of(checkpoint, model.family)
    check_kind(family, task.kind, task.mode)
    weights = weights or Weights(checkpoint, model.dtype, device, model.attention, adapter)
    ready: Adapter = FAMILIES.get(family).for_task(weights, task, classes)
    return ready


__all__ = [
    "FAMILY_OF_TYPE",
    "Adapter",
    "AdapterInfo",
    "Checkpoint",
    "Endpoint",
    "TrainedAdapter",
    "Weights",
    "check_kind",
    "family_of",
    "info",
    "is_hosted",
    "load",
    "resolve",
    "resolve_adapter",
]
