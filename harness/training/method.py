"""What of a network is trained: everything, parts of it, or LoRA beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, RunError
from harness.models.base import AdapterInfo
from harness.models.weights import Weights, quiet
from harness.spec.training import Train
from harness.spec.values import PartState
from harness.training import lora
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
    """One LoRA target: how many layers it matched, and how many parameters their adapters have."""

    target: str
    modules: int
    parameters: int


@dataclass
class Tuning:
    """A network that is ready to be trained.

    `network` is the PeftModel around the transformers model, or that itself when the method is full. `parts`
    add up to `trainable` and `total`: the parameters in use, LoRA included. `stages` has the states of the
    parts in each stage, by its name; `parts` and all else are over all stages. `extra` are the names (in the
    transformers model) of trained parameters that PEFT doesn't save. `initial` holds PiSSA's first adapters
    by name in `network`; they are subtracted when the adapter is saved.
    """

    network: Any
    parts: Sequence[PartRow]
    targets: Sequence[TargetRow]
    trainable: int
    total: int
    stages: Mapping[str, Parts]
    extra: Sequence[str] = ()
    initial: Mapping[str, Tensor] = field(default_factory=dict)
    names: Sequence[str] = field(init=False)
    """Names in `network` of everything that some stage trains."""

    def __post_init__(self) -> None:
        named = self.network.named_parameters()
        self.names = tuple(name for name, parameter in named if parameter.requires_grad)

    def rows(self, stage: str) -> list[PartRow]:
        """The parts as this stage trains them."""
        states = self.stages[stage].states
        return [
            replace(row, state="frozen", trained=0) if states[row.name] == "frozen" else row
            for row in self.parts
        ]

    def narrow(self, stage: str) -> None:
        """Let gradients reach what this stage trains, and nothing else."""
        for name, parameter in self._trained():
            state = self.stages[stage].state(name.removeprefix(PREFIX))
            parameter.requires_grad_(state != "frozen")
            parameter.grad = None

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within this block what any stage trains counts as trained, for whoever looks at `requires_grad`."""
        before = {name: parameter.requires_grad for name, parameter in self._trained()}
        try:
            for _, parameter in self._trained():
                parameter.requires_grad_(True)
            yield
        finally:
            for name, parameter in self._trained():
                parameter.requires_grad_(before[name])

    def nothing(self) -> Tensor:
        """Zero, with a gradient of zero for everything that is being trained."""
        import torch

        trained = [parameter for _, parameter in self._trained() if parameter.requires_grad]
        return torch.stack([parameter.flatten()[:0].sum().float() for parameter in trained]).sum()

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
        parameters = dict(self.network.named_parameters())
        return ((name, parameters[name]) for name in self.names)


def prepare(
    model: Any,
    info: AdapterInfo,
    train: Train,
    defaults: Mapping[str, PartState] = MappingProxyType({}),
) -> Tuning:
    """Make a freshly loaded network trainable as the task says, in place; LoRA is drawn from `train.seed`.

    `defaults` are the states of parts of which the task says nothing; the network may lack such a part.
    Parameters that the network itself keeps fixed (sinusoidal positions) are not trained by any method, and
    batch norms keep the checkpoint's statistics. Of a training in stages it is what any of them trains;
    `Tuning.narrow` begins one.
    Raises AdapterError for an unknown part, a target that matches no layer, weights that are tied beyond a
    part trained in full beside LoRA, and when nothing would be trained, over all or in one stage.
    """
    parts, stages = Parts.of(info, train, defaults), Parts.staged(info, train, defaults)
    _check_prefixes(model, parts, train)
    _fix_what_the_family_fixes(model)
    _keep_statistics(model)
    if train.method == "lora":
        tuning = _with_lora(model, parts, stages, info, train)
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and parts.state(name) == "full")
        tuning = _counted(model, model, parts, stages, {})
    if not tuning.trainable:
        raise AdapterError("nothing would be trained: every part is frozen", "Change train.parts.")
    for name in stages:
        if not any(row.trained for row in tuning.rows(name)):
            raise AdapterError(
                f"train.stages ({name}): nothing would be trained in it",
                "Change its parts; what LoRA trains of a part is said by train.lora.targets.",
            )
    if train.gradient_checkpointing:
        _checkpoint_activations(model)
    return tuning


def preview(
    weights: Weights,
    auto_class: str,
    info: AdapterInfo,
    train: Train,
    defaults: Mapping[str, PartState] = MappingProxyType({}),
) -> Tuning:
    """What `prepare` would train, found on a network without values: neither weights nor time are needed.

    Raises AdapterError like `prepare`.
    """
    import torch
    import transformers

    dtype = getattr(torch, weights.dtype)
    with quiet(), torch.device("meta"):
        made = getattr(transformers, auto_class)  # a network of its own, where no Auto class has it
        make = getattr(made, "from_config", None) or made._from_config
        model = make(deepcopy(weights.config), dtype=dtype)
    return prepare(model, info, train, defaults)


def copied(tensor: Any) -> Tensor:
    """A contiguous copy on the CPU that shares no memory."""
    import torch

    copy: Tensor = tensor.detach().to("cpu", copy=True).clone(memory_format=torch.contiguous_format)
    return copy


def _check_prefixes(model: Any, parts: Parts, train: Train) -> None:
    present = {parts.part(name) for name, _ in model.named_parameters()}
    for name in train.named_parts:
        if name not in present:
            raise AdapterError(
                f"train.parts: this network has no part '{name}'",
                f"Its modules would begin with {' or '.join(parts.prefixes[name])}.",
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
            if name in fixed:
                parameter.requires_grad_(False)


def _keep_statistics(model: Any) -> None:
    """Have batch norms evaluate in training too.

    Their statistics are no parameters: neither an adapter nor the best step would hold what they became. And
    those of a micro-batch or of one process are not the step's.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(_evaluate)


def _evaluate(module: Any, _inputs: Any) -> None:
    module.eval()


def _with_lora(
    model: Any, parts: Parts, stages: Mapping[str, Parts], info: AdapterInfo, train: Train
) -> Tuning:
    injected = lora.inject(model, parts, info, train)
    tuning = _counted(injected.network, model, parts, stages, injected.matched)
    tuning.extra = injected.extra
    if injected.pissa:
        tuning.initial = {name: value for name, value in tuning.state().items() if ".lora_" in name}
    return tuning


def _checkpoint_activations(model: Any) -> None:
    """Non-reentrant, and after LoRA is in: gradients then equal those without it."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as error:
        raise AdapterError(
            f"train.gradient_checkpointing: {error}", "Leave it out, and lower train.micro_batch instead."
        ) from error


def _counted(
    network: Any,
    model: Any,
    parts: Parts,
    stages: Mapping[str, Parts],
    matched: Mapping[str, Sequence[str]],
) -> Tuning:
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
    return Tuning(network, rows, found, sum(trained.values()), sum(total.values()), stages)


def _adapter_size(model: Any, name: str) -> int:
    """Parameters of a module's LoRA adapter."""
    named = model.get_submodule(name).named_parameters()
    return sum(parameter.numel() for inner, parameter in named if not inner.startswith("base_layer."))
