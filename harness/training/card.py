"""The model card of a fine-tune: front matter as the Hub wants it, then what was done and how to load it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path, PurePath
from typing import Any

from harness.models.base import Adapter
from harness.models.checkpoint import HUB_ID
from harness.models.languages import language_code
from harness.models.trained import EXTRA_PARAMETERS
from harness.spec.training import Lora, Train
from harness.training.curve import PNG

PIPELINE_TAGS = {
    "asr": "automatic-speech-recognition",
    "speech_translation": "automatic-speech-recognition",  # the Hub has no tag of its own for it
}
ISO_CODES = {"jw": "jv"}
"""Whisper's codes that ISO 639 spells differently."""


def card(manifest: Mapping[str, Any], adapter: Adapter, present: Collection[str], *, whole: bool) -> str:
    """README.md of a fine-tune that has the files `present`. `whole`: it is a checkpoint, not an adapter.

    The base model is named in the front matter only when it is on the Hub; a local path never is.
    """
    base, spec, train = (manifest.get(key) or {} for key in ("base", "spec", "train"))
    task = str(manifest.get("task") or spec.get("name") or "a task")
    name = base_name(str(base.get("checkpoint", "")), base.get("revision"))
    sections = [
        f"---\n{_front_matter(manifest, name, whole=whole)}\n---",
        f"# {name.rpartition('/')[2]} fine-tuned for {task}",
        _summary(task, name, manifest, whole=whole),
        "## Scores\n\n" + _scores(manifest, train),
        "## Training\n\n" + _training(spec.get("train") or {}, train, manifest),
        f"![Loss and score over the steps]({PNG})" if PNG in present else "",
        "## How to load it\n\n" + _loading(name, adapter, whole=whole, extra=EXTRA_PARAMETERS in present),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def base_name(checkpoint: str, revision: str | None) -> str:
    """A base checkpoint's Hub id, or the name of its folder: paths say something about one machine only."""
    return checkpoint if revision is not None else PurePath(checkpoint).name or "checkpoint"


def _front_matter(manifest: Mapping[str, Any], name: str, *, whole: bool) -> str:
    from huggingface_hub import ModelCardData

    spec, base = manifest.get("spec") or {}, manifest.get("base") or {}
    on_hub = base.get("revision") is not None
    kind = str(spec.get("kind", ""))
    data = ModelCardData(
        base_model=name if on_hub else None,
        base_model_relation=("finetune" if whole else "adapter") if on_hub else None,
        library_name="transformers" if whole else "peft",
        pipeline_tag=PIPELINE_TAGS.get(kind),
        language=_language(spec),
        datasets=_dataset(spec),
        metrics=[metric for metric in manifest.get("scores", {}) if metric.isidentifier()] or None,
        tags=["mm-harness", *([] if whole else ["lora"]), *([kind.replace("_", "-")] if kind else [])],
    )
    return str(data.to_yaml()).strip()


def _language(spec: Mapping[str, Any]) -> str | None:
    """The ISO code of the task's language, when it has one."""
    wanted = (spec.get("generate") or {}).get("language")
    code = language_code(str(wanted)) if wanted else None
    return ISO_CODES.get(code, code) if code else None


def _dataset(spec: Mapping[str, Any]) -> str | None:
    """The training data's Hub id, None for data from elsewhere."""
    path = _data_path(spec)
    on_hub = "/" in path and HUB_ID.fullmatch(path) and not path.startswith(".") and not Path(path).exists()
    return path if on_hub else None


def _data_path(spec: Mapping[str, Any]) -> str:
    data = (spec.get("data") or {}) | ((spec.get("train") or {}).get("data") or {})
    return str(data.get("path", ""))


def _summary(task: str, name: str, manifest: Mapping[str, Any], *, whole: bool) -> str:
    spec = manifest.get("spec") or {}
    merged = "A LoRA fine-tune, merged into the weights," if "merged" in manifest else "A full fine-tune"
    what = merged if whole else "A LoRA adapter"
    path = _data_path(spec)
    data = path if _dataset(spec) or path.startswith("synthetic:") else PurePath(path).name
    lines = [f"{what} of `{name}` for the task `{task}`" + (f", trained on `{data}`." if data else ".")]
    if spec.get("description"):
        lines.append(str(spec["description"]))
    return " ".join(lines)


def _scores(manifest: Mapping[str, Any], train: Mapping[str, Any]) -> str:
    scores = manifest.get("scores") or {}
    if not scores:
        return "Nothing was scored during training."
    rows = [f"| {metric} | {value:.6g} |" for metric, value in scores.items()]
    where = f"On the validation data, at step {train.get('best_step')}, which was kept:"
    return "\n".join([where, "", "| metric | value |", "|---|---|", *rows])


def _training(settings: Mapping[str, Any], train: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    chosen = Train.model_construct(**settings)
    rank = Lora.model_construct(**settings.get("lora") or {}).rank
    trainable, total = train.get("trainable_parameters", 0), train.get("total_parameters", 0)
    rows = {
        "method": manifest.get("method"),
        "trained parameters": f"{trainable:,} of {total:,}" if total else None,
        "steps": train.get("steps"),
        "samples per step": chosen.batch if settings else None,
        "peak learning rate": chosen.peak_learning_rate if settings else None,
        "schedule": chosen.schedule if settings else None,
        "optimizer": chosen.optimizer if settings else None,
        "LoRA rank": rank if settings and chosen.method == "lora" else None,
        "seed": chosen.seed if settings else None,
        "precision of the weights": manifest.get("dtype"),
        "libraries": ", ".join(f"{key} {value}" for key, value in (manifest.get("versions") or {}).items()),
    }
    shown = [f"| {key} | {value} |" for key, value in rows.items() if value not in (None, "")]
    return "\n".join(["| setting | value |", "|---|---|", *shown, "", "`harness.json` has all of them."])


def _loading(name: str, adapter: Adapter, *, whole: bool, extra: bool) -> str:
    auto = getattr(adapter, "auto_class", "AutoModel")
    code = [f"from transformers import AutoProcessor, {auto}", ""]
    if whole:
        code += [f'model = {auto}.from_pretrained("THIS_REPOSITORY")']
        code += ['processor = AutoProcessor.from_pretrained("THIS_REPOSITORY")']
        command = "harness eval TASK --model THIS_REPOSITORY"
    else:
        code.insert(0, "from peft import PeftModel")
        code += [f'model = {auto}.from_pretrained("{name}")']
        if extra:
            code.insert(1, "from safetensors.torch import load_file")
            code += [f'model.load_state_dict(load_file("{EXTRA_PARAMETERS}"), strict=False)']
        code += ['model = PeftModel.from_pretrained(model, "THIS_REPOSITORY")']
        code += [f'processor = AutoProcessor.from_pretrained("{name}")']
        command = f"harness eval TASK --model {name} --adapter THIS_REPOSITORY"
    note = (
        f"\n`{EXTRA_PARAMETERS}` holds trained parameters that PEFT doesn't load by itself.\n"
        if extra
        else ""
    )
    with_library = "transformers" if whole else "PEFT"
    return (
        f"With {with_library}:\n\n```python\n" + "\n".join(code) + f"\n```\n{note}\n"
        f"With mm-harness:\n\n```\n{command}\n```"
    )
