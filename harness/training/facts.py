"""The tables of a model card: what was scored before and after, and with which settings it was trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from harness.errors import UsageError
from harness.metrics.base import Metric, build
from harness.models.base import Adapter
from harness.results.record import TrainedOnPart, TrainStagePart
from harness.spec.schema import MetricSpec, metric_keys
from harness.spec.training import Augment, Train

SHOWN = 3
"""How many of the samples that were left out are named."""


def scores(manifest: Mapping[str, Any]) -> str:
    """Every metric with its settings, of the base and of the step that was kept."""
    train, kept = manifest.get("train") or {}, manifest.get("scores") or {}
    if not kept:
        return "Nothing was scored during training."
    best = train.get("best_step")
    before = dict((train.get("curve") or {}).get("scores") or []).get(0)
    described = _metrics(manifest)
    head = ["metric", "settings", *(["base"] if before else []), f"fine-tuned (step {best})"]
    rows = []
    for name, value in kept.items():
        unit, settings = described.get(name, ("", ""))
        values = [*([before.get(name)] if before else []), value]
        rows.append([name, settings, *(_score(one, unit) for one in values)])
    return "\n".join([f"On the validation data; step {best} was kept.", "", *_table(head, rows)])


def settings(manifest: Mapping[str, Any], adapter: Adapter) -> str:
    """How it was trained, and with which libraries."""
    rows = [[key, str(value)] for key, value in _settings(manifest, adapter) if value not in (None, "")]
    versions = [f"- {library} {version}" for library, version in (manifest.get("versions") or {}).items()]
    parts = ["\n".join(_table(["setting", "value"], rows)), *_stages(manifest)]
    parts.append("`harness.json` has all of them.")
    if versions:
        parts += ["Libraries:", "\n".join(versions)]
    return "\n\n".join(parts)


def _settings(manifest: Mapping[str, Any], adapter: Adapter) -> Iterator[tuple[str, Any]]:
    found, written = manifest.get("train") or {}, (manifest.get("spec") or {}).get("train")
    yield "method", manifest.get("method")
    trainable, total = found.get("trainable_parameters"), found.get("total_parameters")
    yield "trained parameters", f"{trainable:,} of {total:,}" if total else None
    if not found.get("stages"):
        yield "training samples", (manifest.get("data") or {}).get("n")
    yield "left out of them", _left_out(found.get("left_out") or {})
    yield "steps", found.get("steps")
    if written:
        yield from _chosen(Train.model_validate(written), adapter, found.get("parts"))
    yield "precision of the weights", manifest.get("dtype")


def _chosen(
    train: Train, adapter: Adapter, parts: Mapping[str, str] | None = None
) -> Iterator[tuple[str, Any]]:
    """`parts` are the states that the network's parts had; the task names only some of them."""
    if not train.stages:
        yield "samples per step", train.batch
        yield "peak learning rate", train.peak_learning_rate
        yield "schedule", train.schedule
    yield "optimizer", train.optimizer
    if train.method == "lora" or "lora" in train.named_parts.values():
        yield "LoRA rank", train.lora.rank
        yield "LoRA alpha", f"{train.lora.scale:g}"
        yield "LoRA targets", ", ".join(train.lora.targets or adapter.info.lora_targets)
        yield "LoRA dropout", f"{train.lora.dropout:g}"
    named = train.named_parts
    states = named if parts is None else parts
    different = [name for name, state in states.items() if name in named or state != train.method]
    yield "parts", ", ".join(f"{name}: {states[name]}" for name in different)
    yield "augmentation", _augmentation(train.augment)
    yield "seed", train.seed


def _stages(manifest: Mapping[str, Any]) -> list[str]:
    """A table of the stages, none where there were none."""
    found = (manifest.get("train") or {}).get("stages") or []
    written = (manifest.get("spec") or {}).get("train")
    schedules = [own.schedule for own in Train.model_validate(written).staged.values()] if written else []
    rows = []
    for number, stage in enumerate(map(TrainStagePart.model_validate, found)):
        trained = [f"{part}: {state}" for part, state in stage.parts.items() if state != "frozen"]
        rows.append(
            [
                stage.name,
                ", ".join(trained),
                f"{stage.trainable_parameters:,}",
                str(stage.steps),
                str(stage.batch),
                f"{stage.learning_rate:g}, {schedules[number]}" if schedules else f"{stage.learning_rate:g}",
                _learned_from(stage.data),
            ]
        )
    head = ["stage", "trained", "parameters", "steps", "samples per step", "learning rate", "data"]
    return ["In stages, all other parts frozen:", "\n".join(_table(head, rows))] if rows else []


def _learned_from(data: TrainedOnPart | None) -> str:
    if data is None:
        return ""
    path = data.path if data.revision or data.path.startswith("synthetic:") else PurePath(data.path).name
    return f"{path}, {data.n} samples" if data.n is not None else path


def _augmentation(augment: Augment) -> str:
    """What differs from no augmentation at all, in the task file's words."""
    written = augment.model_dump(mode="json", exclude_none=True)
    kinds = {kind: options for kind, options in written.items() if options}
    return "; ".join(f"{kind} {_options(options)}" for kind, options in kinds.items()) or "none"


def _options(options: Any) -> str:
    if isinstance(options, Mapping):
        return ", ".join(f"{name} {_options(value)}" for name, value in options.items())
    return " to ".join(map(str, options)) if isinstance(options, list) and len(options) == 2 else str(options)


def _left_out(reasons: Mapping[str, str]) -> str:
    named = [f"{id_}: {reason}" for id_, reason in list(reasons.items())[:SHOWN]]
    more = ["..."] if len(reasons) > SHOWN else []
    return f"{len(reasons)} ({'; '.join([*named, *more])})" if reasons else "0"


def _metrics(manifest: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Unit and settings of the task's metrics, by the name that scores have."""
    written = (manifest.get("spec") or {}).get("metrics") or []
    specs = [MetricSpec.model_validate(one) for one in written]
    return {key: _metric(spec) for key, spec in metric_keys(specs)}


def _metric(spec: MetricSpec) -> tuple[str, str]:
    options = ", ".join(f"{name}: {value}" for name, value in spec.options.items())
    try:
        metric = build(spec.name, spec.options)
    except UsageError:  # the card is made where nobody has this metric: an export of somebody's adapter
        return "", options
    return metric.unit, metric.signature.replace("|", ", ") if isinstance(metric, Metric) else options


def _score(value: float | None, unit: str) -> str:
    if value is None or not math.isfinite(value):
        return "undefined"
    return f"{value:.2f} {unit}".rstrip()


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_cell(text) for text in line) + " |" for line in lines]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
