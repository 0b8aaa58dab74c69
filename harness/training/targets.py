"""Which modules get a LoRA adapter: names as in PEFT, or one regular expression over full names.

PEFT counts a target that matches nothing, or only in part, as fine; here it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from harness.errors import AdapterError
from harness.registry import near
from harness.training.parts import Parts

NAME = re.compile(r"[\w.-]+")
TAKING = ("Linear", "Embedding", "Conv1d", "Conv2d", "Conv3d")
"""Classes of torch.nn whose modules can take LoRA; quantised linear layers are subclasses."""


def match(model: Any, targets: Sequence[str], parts: Parts) -> dict[str, list[str]]:
    """Target to the full names of the modules that get LoRA through it, each under one target only.

    A name means every module of that name ("q_proj", "self_attn.q_proj"); a single target that is no name is
    a regular expression for full names. Modules in parts that are frozen or full stay out. Raises
    AdapterError when a target matches no module.
    """
    taking = _able(model)
    found: dict[str, list[str]] = {}
    taken: set[str] = set()
    for target in targets:
        wanted = _test(target, alone=len(targets) == 1)
        matched = [name for name in taking if wanted(name)]
        free = [name for name in matched if parts.state(name) == "lora"]
        if not free:
            raise _no_module(target, matched, taking, parts)
        found[target] = [name for name in free if name not in taken]
        taken.update(free)
    return found


def _able(model: Any) -> list[str]:
    """Full names of the modules that can take LoRA."""
    from torch import nn

    kinds = tuple(getattr(nn, kind) for kind in TAKING)
    return [name for name, module in model.named_modules() if isinstance(module, kinds)]


def _test(target: str, *, alone: bool) -> Callable[[str], bool]:
    if NAME.fullmatch(target):
        return lambda name: name == target or name.endswith(f".{target}")
    if not alone:
        raise AdapterError(
            f"train.lora.targets: '{target}' is not a module's name",
            "Give names of modules, or one regular expression over full names and nothing else.",
        )
    try:
        pattern = re.compile(target)
    except re.error as error:
        raise AdapterError(
            f"train.lora.targets: '{target}' is not a regular expression: {error}",
            r"An example: model\.decoder\..*\.(q|v)_proj",
        ) from error
    return lambda name: pattern.fullmatch(name) is not None


def _no_module(target: str, matched: Sequence[str], taking: Sequence[str], parts: Parts) -> AdapterError:
    if matched:
        where = sorted({f"{parts.part(name)} ({parts.state(name)})" for name in matched})
        return AdapterError(
            f"train.lora.targets: all {len(matched)} modules that '{target}' matches are in parts without "
            f"LoRA: {', '.join(where)}",
            "Change train.parts, or the targets.",
        )
    names = sorted({name.rpartition(".")[2] for name in taking})
    return AdapterError(
        f"train.lora.targets: '{target}' matches no module that can take LoRA",
        f"{near(target, names)} Names of such modules: {', '.join(names)}.".strip(),
    )
