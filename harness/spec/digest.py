"""The digests that say whether two runs answer the same question, and two trainings are the same one."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.errors import Fault, SpecError
from harness.registry import BUILDERS, METRICS
from harness.spec.schema import Data, Task, metric_keys
from harness.spec.training import Lora, Train
from harness.spec.training_data import selecting_metric, training_data, validation_data

DIGEST_VERSION = 1
"""Goes up whenever a default that changes scores does."""


def spec_id(task: Task, base: Path) -> str:
    """SHA-256 (hex) over what changes the score: data, generation, metrics, hooks' source.

    Which checkpoint runs, descriptions, workers, batch sizes and comments leave it alone; so does
    writing a default out. `base` is the folder that transforms are imported from.
    """
    scored = _scored(task)
    scored["data"] = _data(task.data, task.data.split, base)
    scored["metrics"] = [_metric(spec.name, spec.options) for spec in task.metrics]
    return digest_of({"version": DIGEST_VERSION, **scored})


def train_id(task: Task, base: Path, *, start: Mapping[str, Any], fingerprints: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over what decides the weights that a training ends with.

    `start` is what it starts from besides the task: digest of the checkpoint, precision, family.
    `fingerprints` are those of the data it learns from and of those that choose the best step; they stand for
    a builder's options, which may also say how much is tested. How the work is split, where checkpoints go
    and what is shown leave it alone.
    """
    train = task.train
    assert train is not None
    settings = [_settings(own) for own in train.staged.values()]
    data = [_learned_from(learned, "train", base) for learned in training_data(task).values()]
    for own, stage in zip(settings, train.stages or (), strict=False):
        own["others"] = "as the section says" if stage.parts is None else "frozen"
    decided = {
        "version": DIGEST_VERSION,
        "kind": task.kind,
        "generate": _scored(task.generate),
        "train": settings if train.stages else settings[0],
        "data": data if train.stages else data[0],
        "start": dict(start),
        "fingerprints": dict(fingerprints),
    }
    for name in ("classes", "choice"):
        section = getattr(task, name)
        if section is not None and (given := _scored(section)):
            decided[name] = given
    if task.words:
        decided["prompt"] = task.words
    selecting, validation = selecting_metric(task), validation_data(task)
    if selecting is not None and validation is not None:
        spec = dict(metric_keys(task.metrics))[selecting]
        decided["selection"] = {
            "metric": _metric(spec.name, spec.options),
            "data": _learned_from(validation, "validation", base),
        }
    return digest_of(decided)


def _settings(train: Train) -> dict[str, Any]:
    """What of a train section, or of one stage of it, decides the weights besides its data."""
    settings = _scored(train) | {"learning_rate": train.peak_learning_rate, "lora": _lora(train.lora)}
    return {key: value for key, value in settings.items() if key not in ("data", "select_by")}


def _lora(lora: Lora) -> dict[str, Any]:
    """Its settings with the defaults that depend on each other filled in."""
    return _scored(lora) | {"r": lora.rank, "alpha": float(lora.scale)}


def _learned_from(data: Data, purpose: str, base: Path) -> dict[str, Any]:
    found = _data(data, purpose, base)
    found.pop("options", None)
    return found


def _data(data: Data, purpose: str, base: Path) -> dict[str, Any]:
    """What decides the samples of one of the splits, a builder's options and a hook's source included."""
    scored = _scored(data) | {"split": getattr(data.splits, purpose)}
    if data.path.startswith("synthetic:"):
        builder = BUILDERS.get(data.path.removeprefix("synthetic:"))
        scored["options"] = builder.options_type(**data.options).model_dump(mode="json")
    if data.transform:
        scored["transform_source"] = hook_source(data.transform, base)
    return scored


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hook_source(reference: str, base: Path) -> str:
    """Source of the module that a `package.module:function` hook lives in."""
    module, _, function = reference.partition(":")
    with importable(base):
        try:
            found = import_module(module)
            getattr(found, function)
            return Path(inspect.getfile(found)).read_text(encoding="utf-8")
        except (Exception, SystemExit) as error:  # a user's module: whatever its import raises is a fault
            message = f"'{reference}' can't be imported: {error}"
            raise SpecError([Fault(base, 0, "data.transform", message)]) from error


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let modules beside the task file be imported; the usual places are searched first."""
    entry = str(folder.resolve())
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _scored(section: BaseModel) -> dict[str, Any]:
    """Fields that change the score and differ from their defaults, recursively."""
    scored: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("scored") is False:
            continue
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            if inner := _scored(value):
                scored[name] = inner
        elif field.is_required() or value != field.get_default(call_default_factory=True):
            scored[name] = section.model_dump(mode="json", include={name})[name]
    return scored


def _metric(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """A metric with all its options, defaults included, so that spelling one out changes nothing."""
    from pydantic import TypeAdapter

    kind = METRICS.get(name)
    options = TypeAdapter(kind).dump_python(kind(**given), mode="json")
    if name == "evaluate" and (script := Path(options["path"])).is_file():
        # What the script says counts, not where it lies.
        options["path"] = f"{script.name}@{hashlib.sha256(script.read_bytes()).hexdigest()}"
    return {"name": name, "options": options}
