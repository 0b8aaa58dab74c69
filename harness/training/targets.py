"""Which linear layers get a LoRA adapter: names as in PEFT, or one regular expression over full names.

PEFT takes a target that matches nothing for fine as long as another one does; here it is an error. It also
puts LoRA into convolutions and embeddings, but speech models read their strides and weights past it. GPT-2's
Conv1D is a linear layer that holds its weight the other way round, which PEFT knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from harness.errors import AdapterError
from harness.registry import near
from harness.training.parts import Parts

NAME = re.compile(r"[\w.-]+")


def match(model: Any, targets: Sequence[str], parts: Parts) -> dict[str, list[str]]:
    """Target to the full names of the layers that get LoRA through it, each under one target only.

    A name means every linear layer of that name ("q_proj", "self_attn.q_proj"); a single target that is no
    name is a regular expression for full names. Layers in parts that are frozen or full stay out. Raises
    AdapterError when a target matches none.
    """
    linear = _linear(model)
    found: dict[str, list[str]] = {}
    taken: set[str] = set()
    for target in dict.fromkeys(targets):
        wanted = _test(target, alone=len(targets) == 1)
        matched = [name for name in linear if wanted(name)]
        free = [name for name in matched if parts.state(name) == "lora"]
        if not free:
            raise _no_module(target, matched, linear, parts)
        found[target] = [name for name in free if name not in taken]
        taken.update(free)
    return found


def _linear(model: Any) -> list[str]:
    """Full names of the linear layers, quantised ones and GPT-2's included.

    The one of torch's own multi-head attention (SigLIP's pooling head) isn't: it is read past LoRA.
    """
    from torch import nn
    from torch.nn.modules.linear import NonDynamicallyQuantizableLinear as ReadPast
    from transformers.pytorch_utils import Conv1D

    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    return [name for name in linear if not isinstance(model.get_submodule(name), ReadPast)]


def _test(target: str, *, alone: bool) -> Callable[[str], bool]:
    if NAME.fullmatch(target):
        return lambda name: name == target or name.endswith(f".{target}")
    if not alone:
        raise AdapterError(
            f"train.lora.targets: '{target}' is not a layer's name",
            "Give names of layers, or one regular expression over full names and nothing else.",
        )
    try:
        pattern = re.compile(target)
    except re.error as error:
        raise AdapterError(
            f"train.lora.targets: '{target}' is not a regular expression: {error}",
            r"An example: model\.decoder\..*\.(q|v)_proj",
        ) from error
    return lambda name: pattern.fullmatch(name) is not None


def _no_module(target: str, matched: Sequence[str], linear: Sequence[str], parts: Parts) -> AdapterError:
    if matched:
        where = sorted({f"{parts.part(name)} ({parts.state(name)})" for name in matched})
        return AdapterError(
            f"train.lora.targets: all {len(matched)} layers that '{target}' matches are in parts without "
            f"LoRA: {', '.join(where)}",
            "Change train.parts, or the targets.",
        )
    names = sorted({name.rpartition(".")[2] for name in linear})
    return AdapterError(
        f"train.lora.targets: '{target}' matches no linear layer",
        f"{near(target, names)} The network has: {', '.join(names)}. train.method: full needs none.".strip(),
    )
