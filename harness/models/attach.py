"""Putting a trained adapter into a network, in place, and holding what was trained in float32."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import AdapterError, HarnessError
from harness.models.weights import quiet

ADAPTER_NAME = "default"
"""PEFT's name for the adapter within a network."""
_OTHER_BASE = "Was it trained on this checkpoint? --model names the checkpoint, --adapter the adapter."


def attach(model: Any, folder: Path, name: str, extra: Mapping[str, Any]) -> Any:
    """Put the adapter in `folder` into a transformers model, in place; the PeftModel around it, evaluating.

    `extra` are values of parameters that PEFT doesn't know, by their names in the model; `name` is what
    messages call the adapter. Nothing is trainable afterwards. Raises AdapterError when the adapter doesn't
    fit, down to the last tensor.
    """
    from peft import PeftConfig, PeftModel

    with quiet_peft(), _fitting(model, name):
        config = PeftConfig.from_pretrained(str(folder))
        _refuse_type(config, name)
        config.inference_mode = True
        own = dict(model.named_parameters())
        # Not through PEFT's classes for task types, which break models whose encoder doesn't take text.
        network = PeftModel(model, config, adapter_name=ADAPTER_NAME)
        keep_in_float32(network)
        device = str(next(model.parameters()).device)
        report = network.load_adapter(str(folder), ADAPTER_NAME, torch_device=device)
        _refuse(name, "missing", report.missing_keys)
        _refuse(name, "without a place", report.unexpected_keys)
        _set(own, extra, name)
    return network.requires_grad_(False).eval()


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep advice off the user's screen, such as that on a property of transformers' that PEFT still uses."""
    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        # It finds out itself which way round each layer holds its weight (GPT-2's Conv1D).
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to", UserWarning)
        yield


def keep_in_float32(network: Any) -> None:
    """Hold modules that PEFT trains in full in float32, whatever the network's precision is, in place.

    PEFT does so for LoRA but leaves these in the checkpoint's precision, which small updates would not
    change. Their inputs and outputs are cast, because the rest of the network stays as it is.
    """
    import torch
    from peft.utils import ModulesToSaveWrapper

    for wrapper in [module for module in network.modules() if isinstance(module, ModulesToSaveWrapper)]:
        module = wrapper.modules_to_save[ADAPTER_NAME]
        dtype = next(wrapper.original_module.parameters()).dtype
        if dtype in (torch.bfloat16, torch.float16):
            module.float()
            module.register_forward_pre_hook(partial(_cast_inputs, dtype=torch.float32), with_kwargs=True)
            module.register_forward_hook(partial(_cast_output, dtype=dtype))


def outermost_in_float32(parameters: Mapping[str, Any]) -> None:
    """Hold trained parameters of the network itself, in none of its modules, in float32, in place.

    They act on what comes out (temperatures of contrastive losses), and half precision would round their
    small updates away. `parameters` are by name.
    """
    for name, parameter in parameters.items():
        if "." not in name:
            parameter.data = parameter.data.float()


def _cast_inputs(
    _module: Any, args: Sequence[Any], named: Mapping[str, Any], *, dtype: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(_cast(value, dtype) for value in args), {
        key: _cast(value, dtype) for key, value in named.items()
    }


def _cast_output(_module: Any, _args: Any, output: Any, *, dtype: Any) -> Any:
    return _cast(output, dtype)


def _cast(value: Any, dtype: Any) -> Any:
    """A tensor of numbers in another precision; anything else as it is."""
    import torch

    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


@contextmanager
def _fitting(model: Any, name: str) -> Iterator[None]:
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # PEFT, safetensors and torch each raise what they stumble over
        reason = (str(error).strip() or type(error).__name__).splitlines()
        raise AdapterError(
            f"the adapter {name} doesn't fit {type(model).__name__}: {' '.join(reason[:2])}", _OTHER_BASE
        ) from error


def _refuse_type(config: Any, name: str) -> None:
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    tuner = PEFT_TYPE_TO_TUNER_MAPPING.get(config.peft_type)
    if config.is_prompt_learning or config.is_adaption_prompt or getattr(tuner, "uses_shared_state", True):
        raise AdapterError(
            f"the adapter {name} is of PEFT's type {config.peft_type.value}, which can't be put into a "
            "network in place",
            "LoRA and its relatives can (LORA, ADALORA, IA3, OFT, LOHA, LOKR).",
        )


def _refuse(name: str, what: str, tensors: Sequence[str]) -> None:
    if tensors:
        shown = ", ".join(sorted(tensors)[:3]) + (", ..." if len(tensors) > 3 else "")
        raise AdapterError(
            f"the adapter {name} doesn't fit the network: {len(tensors)} of its tensors are {what} ({shown})",
            _OTHER_BASE,
        )


def _set(own: Mapping[str, Any], values: Mapping[str, Any], name: str) -> None:
    """Overwrite parameters of the network with others of the same names and shapes."""
    import torch

    _refuse(name, "without a place", [key for key in values if key not in own])
    _refuse(name, "of another shape", [key for key in values if own[key].shape != values[key].shape])
    outermost_in_float32({key: own[key] for key in values})
    with torch.no_grad():
        for key, value in values.items():
            own[key].copy_(value)
