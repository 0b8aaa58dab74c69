"""What a training leaves behind: an adapter folder in PEFT's own format, or a whole checkpoint.

    adapter_config.json, adapter_model.safetensors    method lora: any PEFT user can load them
    extra_parameters.safetensors                      what PEFT doesn't know of, if there is anything
    config.json, model.safetensors, tokenizer, ...    method full: a checkpoint like its base
    README.md, harness.json, curve.csv, curve.png     both: model card, manifest, curve

A folder appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from copy import copy
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from harness.models.attach import ADAPTER_NAME
from harness.models.base import Adapter
from harness.models.checkpoint import CONFIG, WEIGHT_SUFFIXES, Checkpoint
from harness.models.trained import ADAPTER_WEIGHTS, EXTRA_PARAMETERS, FORMAT, MANIFEST, TrainedAdapter
from harness.models.weights import quiet
from harness.spec.find import existing
from harness.training.card import card
from harness.training.folders import new_folder
from harness.training.method import PREFIX, Tuning, copied
from harness.training.usage import base_name

if TYPE_CHECKING:
    from torch import Tensor

    from harness.training.curve import Curve

CARD = "README.md"
INDEX_SUFFIX = ".index.json"


def save(
    folder: Path,
    tuning: Tuning,
    adapter: Adapter,
    manifest: Mapping[str, Any],
    curve: Curve,
    *,
    metric: str = "",
    higher_is_better: bool = True,
    unit: str = "",
) -> None:
    """Write what was trained; `folder` appears whole, and replaces one that is there already.

    `metric` is the one that chose the best step, which the curve shows. Raises RunError on a full disk.
    """
    with new_folder(folder) as writing:
        if is_adapter(tuning):
            save_adapter(writing, tuning, adapter.weights.checkpoint)
        else:
            save_checkpoint(writing, tuning.network, adapter)
        curve.write(writing, folder.name, metric, higher_is_better, unit)
        describe(writing, adapter, manifest, whole=not is_adapter(tuning))


def is_adapter(tuning: Tuning) -> bool:
    """Whether an adapter comes out, and not a whole checkpoint."""
    from peft import PeftModel

    return isinstance(tuning.network, PeftModel)


def describe(folder: Path, adapter: Adapter, manifest: Mapping[str, Any], *, whole: bool) -> None:
    """Write the manifest, and the model card last. `whole`: the folder is a checkpoint, not an adapter."""
    weights = Checkpoint("", folder) if whole else TrainedAdapter("", folder)
    head = adapter.weights.head
    known = {"head": head.to_json()} if head else {}
    content = {"format": FORMAT} | _portable(dict(manifest)) | known | {"digest": weights.digest()}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    present = {path.name for path in folder.iterdir()}
    (folder / CARD).write_text(card(content, adapter, present, whole=whole), encoding="utf-8")


def _portable(value: Any) -> Any:
    """The same with absolute paths of this machine cut down to their names: a manifest is meant to travel.

    How to get from the adapter to its base, which export needs, is a relative path and stays.
    """
    if isinstance(value, dict):
        return {key: _portable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(one) for one in value]
    if isinstance(value, str) and (value.startswith("~") or PurePath(value).is_absolute()):
        return (PurePath(value).name or value) if existing(value) else value
    return value


def save_adapter(folder: Path, tuning: Tuning, base: Checkpoint) -> None:
    """Write PEFT's two files, and the sidecar if there is something for it."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    network = tuning.network
    tensors = get_peft_model_state_dict(network, adapter_name=ADAPTER_NAME, save_embedding_layers=False)
    tensors = {name: copied(tensor) for name, tensor in tensors.items()}
    config = copy(network.peft_config[ADAPTER_NAME])
    if tuning.initial:
        tensors = _without_initial(tensors, tuning)
        config.init_lora_weights = True
        config.lora_alpha *= 2**0.5 if config.use_rslora else 2  # the scale stays as it was
        config.r *= 2
    save_file(tensors, folder / ADAPTER_WEIGHTS[0], metadata={"format": "pt"})
    config.inference_mode = True
    config.base_model_name_or_path, config.revision = base_name(base.name, base.revision), base.revision
    for key in ("target_modules", "modules_to_save"):
        names = getattr(config, key)
        setattr(config, key, sorted(names) if names else None)
    model = network.get_base_model()
    config.save_pretrained(
        str(folder),
        auto_mapping_dict={
            "base_model_class": type(model).__name__,
            "parent_library": type(model).__module__,
        },
    )
    if tuning.extra:
        state = tuning.state()
        extra = {name: state[PREFIX + name] for name in tuning.extra}
        save_file(extra, folder / EXTRA_PARAMETERS, metadata={"format": "pt"})


def _without_initial(tensors: Mapping[str, Tensor], tuning: Tuning) -> dict[str, Tensor]:
    """A PiSSA adapter as a plain one of twice the rank on the original weights (Meng et al. 2024).

    Training began at W = R + s B0 A0 and ended at R + s B A = W + s (B A - B0 A0). Done here because PEFT's
    own conversion drops modules that were trained in full.
    """
    import torch

    first = {name.replace(f".{ADAPTER_NAME}.", "."): value for name, value in tuning.initial.items()}
    converted = dict(tensors)
    for name, initial in first.items():
        is_a = ".lora_A." in name
        sides = [tensors[name], initial if is_a else -initial]
        converted[name] = torch.cat(sides, dim=0 if is_a else 1)
    return converted


def save_checkpoint(folder: Path, model: Any, adapter: Adapter) -> None:
    """Write a network's weights with the settings, tokenizer and processor of its base, byte for byte.

    Only config.json differs, in its dtype and in the classes of its head: saving settings anew would
    translate old files into new forms.
    """
    base = adapter.weights
    with quiet():
        model.save_pretrained(folder)
    for path in folder.iterdir():
        if not path.name.endswith((*WEIGHT_SUFFIXES, INDEX_SUFFIX)):
            path.unlink()
    for path in base.checkpoint.settings():
        if not path.name.endswith(INDEX_SUFFIX):
            shutil.copyfile(path, folder / path.name)
    config = {key: value for key, value in base.checkpoint.config().items() if key != "torch_dtype"}
    config |= adapter.new_settings()
    if base.head is not None:
        config = {key: value for key, value in config.items() if key != "num_labels"}
        config |= {**base.head.settings(), "architectures": [type(model).__name__]}
    config["dtype"] = str(model.dtype).removeprefix("torch.")
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
