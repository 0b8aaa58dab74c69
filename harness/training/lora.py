"""LoRA beside a network, and modules of it in full, through PEFT.

LoRA: Hu et al. 2021; rsLoRA: Kalajdzievski 2023; DoRA: Liu et al. 2024; PiSSA: Meng et al. 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.errors import AdapterError
from harness.models.attach import ADAPTER_NAME, keep_in_float32, outermost_in_float32, quiet_peft
from harness.models.base import AdapterInfo
from harness.spec.training import Train
from harness.training import targets
from harness.training.parts import Parts


@dataclass(frozen=True)
class Injected:
    """The PeftModel around a network; target to the layers that it matched; names of trained parameters that
    PEFT doesn't save; whether LoRA began as PiSSA."""

    network: Any
    matched: Mapping[str, Sequence[str]]
    extra: Sequence[str]
    pissa: bool


def inject(model: Any, parts: Parts, info: AdapterInfo, train: Train) -> Injected:
    """Put LoRA into the parts that take it, in place, and make trainable what is to be trained in full.

    On a network without values nothing is drawn. Raises AdapterError for targets without a layer, tied
    weights in a part that is trained in full, and settings that could not be saved.
    """
    from peft import LoraConfig, get_peft_model

    wanted = train.lora.targets or info.lora_targets
    if not wanted:
        raise AdapterError(
            f"family '{info.family}' names no layers for LoRA", "Name them in train.lora.targets."
        )
    matched = _matched(model, wanted, parts, given=train.lora.targets is not None)
    _check_reached(matched, parts, train)
    modules, extra = _in_full(model, parts)
    _check_pissa(model, matched, train)
    empty = next(model.parameters()).is_meta
    pissa = train.lora.init == "pissa" and not empty
    config = LoraConfig(
        r=train.lora.rank,
        lora_alpha=train.lora.scale,
        lora_dropout=train.lora.dropout,
        use_rslora=train.lora.rslora,
        use_dora=train.lora.dora,
        init_lora_weights="pissa" if pissa else True,
        target_modules=[name for names in matched.values() for name in names],
        modules_to_save=modules or None,
    )
    with quiet_peft(), _seeded(train.seed):
        network = get_peft_model(model, config, adapter_name=ADAPTER_NAME, low_cpu_mem_usage=empty)
    keep_in_float32(network)
    _check_copies(model, modules)
    bare = {name: model.get_parameter(name).requires_grad_(True) for name in extra}
    outermost_in_float32(bare)
    return Injected(network, matched, extra, pissa)


def _matched(model: Any, wanted: Sequence[str], parts: Parts, *, given: bool) -> dict[str, list[str]]:
    """Target to layers. Raises AdapterError, which says so where the task didn't name the targets itself."""
    try:
        return targets.match(model, wanted, parts)
    except AdapterError as error:
        if not given:
            own = f"The task names no targets, so they are the family's own: {', '.join(wanted)}."
            error.hint = f"{own} {error.hint}"
        raise


def _check_reached(matched: Mapping[str, Sequence[str]], parts: Parts, train: Train) -> None:
    """A part that is told to take LoRA would stay as it is, where none of the targets lies in it."""
    reached = {parts.part(name) for names in matched.values() for name in names}
    for name, state in train.named_parts.items():
        if state == "lora" and name not in reached:
            raise AdapterError(
                f"train.parts.{name}: none of its layers is a target of LoRA, so it would not be trained",
                "Set it to full or frozen, or name layers of it in train.lora.targets.",
            )


def _in_full(model: Any, parts: Parts) -> tuple[list[str], list[str]]:
    """Names of what is trained in full beside LoRA: leaf modules, and parameters that no leaf module has."""
    from torch import nn

    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    modules: list[str] = []
    bare: list[str] = []
    for name, module in model.named_modules():
        own = {
            key: value
            for key, value in module.named_parameters(name, False)
            if value.requires_grad and parts.state(key) == "full"
        }
        if not own:
            continue
        for parameter in own.values():
            _refuse_tied(names[id(parameter)], parts)
        if any(True for _ in module.children()) or isinstance(module, nn.ParameterList | nn.ParameterDict):
            bare.extend(own)
        else:
            modules.append(name)
    return modules, bare


def _refuse_tied(names: Sequence[str], parts: Parts) -> None:
    if len(names) > 1:
        part = next(parts.part(name) for name in names if parts.state(name) == "full")
        raise AdapterError(
            f"train.parts.{part}: can't be trained in full beside LoRA, because its weights are tied: "
            f"{' is '.join(names)}",
            "PEFT would untie them. Give this part LoRA, or set train.method to full and freeze other parts.",
        )


def _check_copies(model: Any, wanted: Sequence[str]) -> None:
    """PEFT compares the ends of names, so a short one could hit more than is meant."""
    from peft.utils import ModulesToSaveWrapper

    made = {name for name, module in model.named_modules() if isinstance(module, ModulesToSaveWrapper)}
    if made != set(wanted):
        raise AdapterError(
            f"PEFT can't train these modules in full without others: {sorted(made - set(wanted))}",
            "Give that part LoRA, or set train.method to full.",
        )


def _check_pissa(model: Any, matched: Mapping[str, Sequence[str]], train: Train) -> None:
    """PiSSA as it can be saved: float32 weights, a rank that every layer has, no DoRA."""
    import torch

    if train.lora.init != "pissa":
        return
    if model.dtype != torch.float32:
        dtype = str(model.dtype).removeprefix("torch.")
        raise AdapterError(
            f"train.lora.init: PiSSA takes its first values out of the weights; {dtype} would round the rest",
            "Set model.dtype to float32, or leave out init: pissa.",
        )
    if train.lora.dora:
        raise AdapterError(
            "train.lora: PiSSA with DoRA can't be saved as an adapter of the original weights",
            "Leave out init: pissa, or dora.",
        )
    for name in (name for names in matched.values() for name in names):
        module = model.get_submodule(name)
        largest = min(module.weight.shape)
        if train.lora.rank > largest:
            raise AdapterError(
                f"train.lora.r: PiSSA can't have rank {train.lora.rank}: {name} has only {largest}",
                "Lower train.lora.r.",
            )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Adapters are drawn on the CPU; nobody else's random numbers change."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
