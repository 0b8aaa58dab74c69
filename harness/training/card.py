"""The model card of a fine-tune: front matter as the Hub wants it, then what was done and how to load it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any

from harness.models.base import Adapter
from harness.models.languages import language_code
from harness.models.trained import EXTRA_PARAMETERS
from harness.training.curve import PNG
from harness.training.facts import scores, settings
from harness.training.usage import base_name, usage

PIPELINE_TAGS = {
    "asr": "automatic-speech-recognition",
    "speech_translation": "automatic-speech-recognition",  # the Hub has no tag of its own for it
    "classification": "{}-classification",
    "zero_shot_classification": "zero-shot-{}-classification",
    "retrieval": "zero-shot-{}-classification",  # what its model can do, too
}
"""By kind; {} is what the task gives the model."""
ISO_CODES = {"jw": "jv"}
"""Whisper's codes that ISO 639 spells differently."""


def card(manifest: Mapping[str, Any], adapter: Adapter, present: Collection[str], *, whole: bool) -> str:
    """README.md of a fine-tune that has the files `present`. `whole`: it is a checkpoint, not an adapter.

    The base model is named in the front matter only when it is on the Hub; a local path never is.
    """
    base, spec = (manifest.get(key) or {} for key in ("base", "spec"))
    dtype = str(manifest.get("dtype") or "float32")
    task = str(manifest.get("task") or spec.get("name") or "a task")
    name = base_name(str(base.get("checkpoint", "")), base.get("revision"))
    sections = [
        f"---\n{_front_matter(manifest, name, whole=whole)}\n---",
        f"# {name.rpartition('/')[2]} fine-tuned for {task}",
        _summary(task, name, manifest, whole=whole),
        "The licence of the base model applies.",
        "## Scores\n\n" + scores(manifest),
        "They are the fine-tune's, before the interpolation." if "interpolate" in manifest else "",
        "## Training\n\n" + settings(manifest, adapter),
        f"![Loss and score over the steps]({PNG})" if PNG in present else "",
        "## How to load it\n\n" + usage(base, dtype, adapter, whole=whole, extra=EXTRA_PARAMETERS in present),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _front_matter(manifest: Mapping[str, Any], name: str, *, whole: bool) -> str:
    from huggingface_hub import ModelCardData

    spec, base = manifest.get("spec") or {}, manifest.get("base") or {}
    on_hub, datasets = base.get("revision") is not None, _datasets(manifest)
    kind = str(spec.get("kind", ""))
    data = ModelCardData(
        base_model=name if on_hub else None,
        base_model_relation=("finetune" if whole else "adapter") if on_hub else None,
        library_name="transformers" if whole else "peft",
        pipeline_tag=_pipeline_tag(kind, spec),
        language=_language(spec),
        datasets=datasets[0] if len(datasets) == 1 else datasets or None,
        metrics=[metric for metric in manifest.get("scores", {}) if metric.isidentifier()] or None,
        tags=["mm-harness", *([] if whole else ["lora"]), *([kind.replace("_", "-")] if kind else [])],
    )
    return str(data.to_yaml()).strip()


def _pipeline_tag(kind: str, spec: Mapping[str, Any]) -> str | None:
    columns = (spec.get("data") or {}).get("columns") or {}
    medium = next((column for column in ("image", "audio") if column in columns), None)
    tag = PIPELINE_TAGS.get(kind)
    return tag.format(medium) if tag and (medium or "{}" not in tag) else None


def _language(spec: Mapping[str, Any]) -> str | None:
    """The ISO code of the task's language, when it has one."""
    wanted = (spec.get("generate") or {}).get("language")
    code = language_code(str(wanted)) if wanted else None
    return ISO_CODES.get(code, code) if code else None


def _datasets(manifest: Mapping[str, Any]) -> list[str]:
    """Hub ids of the training data, of every stage; only what is on the Hub has a commit."""
    found = [stage.get("data") or {} for stage in (manifest.get("train") or {}).get("stages") or ()]
    named = [str(one["path"]) for one in found or [manifest.get("data") or {}] if one.get("revision")]
    return list(dict.fromkeys(named))


def _data_path(spec: Mapping[str, Any]) -> str:
    data = (spec.get("data") or {}) | ((spec.get("train") or {}).get("data") or {})
    return str(data.get("path", ""))


def _summary(task: str, name: str, manifest: Mapping[str, Any], *, whole: bool) -> str:
    spec = manifest.get("spec") or {}
    merged = "A LoRA fine-tune, merged into the weights," if "merged" in manifest else "A full fine-tune"
    what = merged if whole else "A LoRA adapter"
    share = manifest.get("interpolate")
    path = _data_path(spec)
    data = path if _datasets(manifest) or path.startswith("synthetic:") else PurePath(path).name
    staged = (manifest.get("train") or {}).get("stages")
    on = " in stages (see below)" if staged else f" on `{data}`" if data else ""
    lines = [f"{what} of `{name}` for the task `{task}`" + (f", trained{on}." if on else ".")]
    if share is not None:
        lines.append(
            f"The weights are {share:g} of the way from the base's weights to the fine-tune's (WiSE-FT, "
            "Wortsman et al. 2022)."
        )
    if spec.get("description"):
        lines.append(str(spec["description"]))
    return " ".join(lines)
