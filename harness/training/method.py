"""What of a network is trained: everything, parts of it, or LoRA adapters beside it (through PEFT).

LoRA: Hu et al. 2021; rsLoRA: Kalajdzievski 2023; DoRA: Liu et al. 2024; PiSSA: Meng et al. 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, RunError
from harness.models.attach import ADAPTER_NAME, keep_in_float32, quiet_peft
from harness.models.base import AdapterInfo
from harness.models.weights import Weights, quiet
from harness.spec.training import Train
from harness.training import targets
from harness.training.parts import Parts

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "base_model.model."
"""What PEFT puts before the names of a network's parameters."""
REPLACED = ".original_module."
"""In the names of parameters that a trained copy stands in for."""


@dataclass(frozen=True)
class PartRow:
    """One part of the network: its `state` (frozen, lora, full) and its parameters, adapters included."""

    name: str
    state: str
    trained: int
    total: int


@dataclass(frozen=True)
class TargetRow:
    """One LoRA target: how many modules it matched, and how many parameters their adapters have."""

    target: str
    modules: int
    parameters: int


@dataclass
class Tuning:
    """A network that is ready to be trained.

    `network` is the PeftModel around the transformers model, or that itself when the method is full. `parts`
    add up to `trainable` and `total`: the parameters in use, LoRA included. `extra` are the names (in the
    transformers model) of trained parameters that PEFT doesn't save. `initial` holds PiSSA's first adapters
    by name in `network`; they are subtracted when the adapter is saved.
    """

    network: Any
    parts: Sequence[PartRow]
    targets: Sequence[TargetRow]
    trainable: int
    total: int
    extra: Sequence[str] = ()
    initial: Mapping[str, Tensor] = field(default_factory=dict)

    def state(self) -> dict[str, Tensor]:
        """Every trained parameter by its name in `network`: a copy on the CPU; shared ones once."""
        return {name: copied(parameter) for name, parameter in self._trained()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Set the trained parameters to what `state` returned. Raises RunError when they are not the same."""
        import torch

        trained = dict(self._trained())
        wrong = [name for name in trained if name not in state or state[name].shape != trained[name].shape]
        wrong += [name for name in state if name not in trained]
        if wrong:
            raise RunError(
                f"a saved state doesn't fit what is trained now: {len(wrong)} parameters differ ({wrong[0]})",
                "It belongs to another network or another train section.",
            )
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(state[name])

    def _trained(self) -> Iterator[tuple[str, Any]]:
        return ((name, value) for name, value in self.network.named_parameters() if value.requires_grad)


def prepare(model: Any, info: AdapterInfo, train: Train) -> Tuning:
    """Make a freshly loaded network trainable as the task says, in place; LoRA is drawn from `train.seed`.

    Parameters that the network itself keeps fixed (sinusoidal positions) are not trained by any method.
    Raises AdapterError for an unknown part, a target that matches no module, weights that are tied beyond a
    part trained in full beside LoRA, and when nothing would be trained.
    """
    parts = Parts.of(info, train)
    _check_prefixes(model, parts, train)
    _fix_what_the_family_fixes(model)
    if train.method == "lora":
        tuning = _with_lora(model, parts, info, train)
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and parts.state(name) == "full")
        tuning = _counted(model, model, parts, {})
    if not tuning.trainable:
        raise AdapterError("nothing would be trained: every part is frozen", "Change train.parts.")
    if train.gradient_checkpointing:
        _checkpoint_activations(model)
    return tuning


def preview(weights: Weights, auto_class: str, info: AdapterInfo, train: Train) -> Tuning:
    """What `prepare` would train, found on a network without values: neither weights nor time are needed.

    Raises AdapterError like `prepare`.
    """
    import torch
    import transformers

    with quiet(), torch.device("meta"):
        model = getattr(transformers, auto_class).from_config(deepcopy(weights.config))
    return prepare(model, info, train)


def copied(tensor: Any) -> Tensor:
    """A contiguous copy on the CPU that shares no memory."""
    import torch

    copy: Tensor = tensor.detach().to("cpu", copy=True).clone(memory_format=torch.contiguous_format)
    return copy


def _check_prefixes(model: Any, parts: Parts, train: Train) -> None:
    present = {parts.part(name) for name, _ in model.named_parameters()}
    for name in train.parts:
        if name not in present:
            raise AdapterError(
                f"train.parts: this network has no part '{name}'",
                f"Its modules would begin with {parts.prefixes[name]}.",
            )


def _fix_what_the_family_fixes(model: Any) -> None:
    """Freeze what the network's own code freezes (Whisper's sinusoids): loading weights forgets that."""
    import torch
    from transformers import PreTrainedModel

    if isinstance(model, PreTrainedModel):
        with quiet(), torch.device("meta"):
            blueprint = type(model)(deepcopy(model.config))
        fixed = {name for name, value in blueprint.named_parameters() if not value.requires_grad}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in fixed)


def _with_lora(model: Any, parts: Parts, info: AdapterInfo, train: Train) -> Tuning:
    from peft import LoraConfig, get_peft_model

    wanted = train.lora.targets or info.lora_targets
    if not wanted:
        raise AdapterError(
            f"family '{info.family}' names no modules for LoRA", "Name them in train.lora.targets."
        )
    matched = targets.match(model, wanted, parts)
    modules, bare = _in_full(model, parts)
    on_meta = next(model.parameters()).is_meta
    pissa = train.lora.init == "pissa" and not on_meta
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
    _check_pissa(model, matched, train)
    with quiet_peft(), _seeded(train.seed):
        network = get_peft_model(model, config, adapter_name=ADAPTER_NAME, low_cpu_mem_usage=on_meta)
    keep_in_float32(network)
    _check_copies(model, modules)
    for name in bare:
        model.get_parameter(name).requires_grad_(True)
    tuning = _counted(network, model, parts, matched)
    tuning.extra = bare
    if pissa:
        tuning.initial = {name: value for name, value in tuning.state().items() if ".lora_" in name}
    return tuning


def _in_full(model: Any, parts: Parts) -> tuple[list[str], list[str]]:
    """Names of what is trained in full beside LoRA: leaf modules, and parameters that no leaf module has."""
    from torch import nn

    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    modules: list[str] = []
    bare: list[str] = []
    for name, module in model.named_modules():
        own = {key: value for key, value in module.named_parameters(name, False) if value.requires_grad}
        if not own or parts.state(name) != "full":
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
    """PiSSA as it can be saved: linear layers, a rank that each of them has, no DoRA."""
    from torch import nn

    if train.lora.init != "pissa":
        return
    if train.lora.dora:
        raise AdapterError(
            "train.lora: PiSSA with DoRA can't be saved as an adapter of the original weights",
            "Leave out init: pissa, or dora.",
        )
    for name in (name for names in matched.values() for name in names):
        module = model.get_submodule(name)
        if not isinstance(module, nn.Linear):
            raise AdapterError(
                f"train.lora.init: PiSSA needs linear layers; {name} is {type(module).__name__}",
                "Choose other targets, or leave out init: pissa.",
            )
        largest = min(module.in_features, module.out_features)
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


def _checkpoint_activations(model: Any) -> None:
    """Non-reentrant, and after LoRA is in: gradients then equal those without it."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as error:
        raise AdapterError(
            f"train.gradient_checkpointing: {error}", "Leave it out, and lower train.micro_batch instead."
        ) from error


def _counted(network: Any, model: Any, parts: Parts, matched: Mapping[str, Sequence[str]]) -> Tuning:
    trained, total = dict.fromkeys(parts.states, 0), dict.fromkeys(parts.states, 0)
    for name, parameter in model.named_parameters():
        if REPLACED not in name:
            total[parts.part(name)] += parameter.numel()
            trained[parts.part(name)] += parameter.numel() * parameter.requires_grad
    rows = [
        PartRow(name, state if trained[name] else "frozen", trained[name], total[name])
        for name, state in parts.states.items()
        if total[name]
    ]
    found = [
        TargetRow(target, len(names), sum(_adapter_size(model, name) for name in names))
        for target, names in matched.items()
    ]
    return Tuning(network, rows, found, sum(trained.values()), sum(total.values()))


def _adapter_size(model: Any, name: str) -> int:
    """Parameters of a module's LoRA adapter."""
    named = model.get_submodule(name).named_parameters()
    return sum(parameter.numel() for inner, parameter in named if not inner.startswith("base_layer."))
