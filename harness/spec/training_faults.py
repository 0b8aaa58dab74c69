"""Faults of a `train:` section that its own schema can't see: what doesn't fit the rest of the task."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.registry import FAMILIES, FAMILY_OF_TYPE, near
from harness.spec.document import KeyPath
from harness.spec.find import existing
from harness.spec.kinds import KINDS
from harness.spec.options import Found
from harness.spec.overlay import overlaid
from harness.spec.resolve import dotted
from harness.spec.schema import Data, MetricSpec, metric_keys
from harness.spec.training import Augment, Train


def faults(data: Mapping[str, Any], base: Path, *, training: bool = True) -> Iterator[Found]:
    """Path, message and suggestion of each fault; what has the wrong shape is left to the schema.

    `base` is the folder that ./ paths are relative to. `training` false passes over data that can be scored
    but not learned from.
    """
    try:
        train = Train.model_validate(data.get("train"))
    except ValidationError:
        return
    yield from _selection_faults(train, data)
    if training:
        yield from _validation_faults(train, data)
    for at, own in _stages(train):
        if training:
            yield from _split_faults(own, at, data)
        yield from _overlap_faults(own, at, data, base)
        yield from _length_faults(own, at)
    yield from _part_faults(train, data, base)
    yield from _augment_faults(train, data)
    yield from _keep_faults(train, data)


def _stages(train: Train) -> Iterator[tuple[KeyPath, Train]]:
    """Where each stage stands, and the train section as it has it."""
    for place, own in enumerate(train.staged.values()):
        yield ("train", "stages", place) if train.stages else ("train",), own


def _selection_faults(train: Train, data: Mapping[str, Any]) -> Iterator[Found]:
    try:
        metrics = TypeAdapter(tuple[MetricSpec, ...]).validate_python(data.get("metrics"))
    except ValidationError:
        return
    known = [*dict(metric_keys(metrics)), "last"]
    if train.select_by is not None and train.select_by not in known:
        hint = near(train.select_by, known) or f"Known: {', '.join(known)}."
        yield ("train", "select_by"), f"the task has no metric '{train.select_by}'.", hint


def _sections(train: Train, data: Mapping[str, Any]) -> tuple[Data, Data] | None:
    """What is scored and what is learned from; None where the schema has something to say of them."""
    try:
        own = Data.model_validate(data.get("data"))
        return own, Data.model_validate(overlaid(data["data"], train.data))
    except ValidationError:
        return None


def _validation_faults(train: Train, data: Mapping[str, Any]) -> Iterator[Found]:
    found = _sections(list(train.staged.values())[-1], data)
    if found is None or train.select_by == "last":
        return
    if all(section.splits.validation is None for section in found):
        hint = "Name data.splits.validation, or set train.select_by to last."
        yield ("train",), "there is no validation split to choose the best step on.", hint


def _split_faults(train: Train, at: KeyPath, data: Mapping[str, Any]) -> Iterator[Found]:
    """Splits that are needed and not named, and streams that epochs can't count."""
    found = _sections(train, data)
    if found is None:
        return
    if found[1].splits.train is None:
        yield at, "there is no train split to learn from.", "Name data.splits.train."
    if found[1].streaming and train.epochs is not None:
        hint = f"Give {dotted((*at, 'steps'))} instead."
        yield (*at, "epochs"), "a stream's length isn't known.", hint


def _overlap_faults(train: Train, at: KeyPath, data: Mapping[str, Any], base: Path) -> Iterator[Found]:
    """A training that would learn the very rows that it is scored on."""
    found = _sections(train, data)
    if found is None:
        return
    scored, training = found
    for purpose in ("test", "validation"):
        split = getattr(scored.splits, scored.split if purpose == "test" else purpose)
        if purpose == "validation" and train.select_by == "last":
            continue
        if split is None or not _same_source(training, scored):
            continue
        if _is_file(training.path, base):
            message = f"{training.path} is one file, which serves every split: what is learned is scored."
            hint = "Point data.path at a folder with train.jsonl, validation.jsonl and test.jsonl (or .csv)."
            yield at, message, hint
            return
        if split == training.splits.train:
            hint = "Name another under data.splits."
            yield at, f"split '{split}' is learned from and scored ({purpose}).", hint


def _same_source(a: Data, b: Data) -> bool:
    """Whether two data sections read the same files; how their columns are called doesn't matter."""
    parts = ("path", "name", "revision", "options")
    return all(getattr(a, part) == getattr(b, part) for part in parts)


def _is_file(path: str, base: Path) -> bool:
    found = existing(base / path if path.startswith(".") else path)
    return found is not None and found.is_file()


def _length_faults(train: Train, at: KeyPath) -> Iterator[Found]:
    if train.steps is not None and train.warmup >= train.steps:
        message = f"{train.warmup:g} steps of warm-up leave none of {train.steps} to learn at the peak."
        yield (*at, "warmup"), message, ""


def _part_faults(train: Train, data: Mapping[str, Any], base: Path) -> Iterator[Found]:
    """Parts that the family doesn't have, where the family is known without a download."""
    family = _family(data.get("model"), base) if train.named_parts else None
    if family is None or family not in FAMILIES:
        return
    parts = FAMILIES.get(family).info.parts
    named: list[tuple[KeyPath, Iterable[str]]] = [(("train",), train.parts)]
    named += [
        (("train", "stages", place), stage.parts or ()) for place, stage in enumerate(train.stages or ())
    ]
    for at, names in named:
        for name in names:
            if name not in parts:
                hint = near(name, parts) or f"Known: {', '.join(parts) or 'none'}."
                yield (*at, "parts", name), f"family '{family}' has no part '{name}'.", hint


def _family(model: Any, base: Path) -> str | None:
    if not isinstance(model, dict):
        return None
    if isinstance(model.get("family"), str):
        return str(model["family"])
    name = model.get("checkpoint")
    folder = existing(base / name if name.startswith(".") else name) if isinstance(name, str) else None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder else {}
    except (OSError, ValueError):  # told where it is loaded
        return None
    return FAMILY_OF_TYPE.get(str(config.get("model_type"))) if isinstance(config, dict) else None


def _augment_faults(train: Train, data: Mapping[str, Any]) -> Iterator[Found]:
    kind, section = KINDS.get(str(data.get("kind"))), data.get("data")
    columns = section.get("columns") if isinstance(section, dict) else None
    mapped = columns if isinstance(columns, dict) else {}
    if kind is None or "audio" in kind.columns(mapped) or train.augment == Augment():
        return
    for key in train.augment.model_fields_set:
        yield ("train", "augment", key), f"kind '{data['kind']}' has no audio to perturb.", ""


def _keep_faults(train: Train, data: Mapping[str, Any]) -> Iterator[Found]:
    params = data.get("params")
    known = params if isinstance(params, dict) else {}
    for place, keep in enumerate(train.keep):
        for name in keep.params:
            if name not in known:
                hint = near(name, known) or f"Its parameters: {', '.join(known) or 'none'}."
                yield ("train", "keep", place, "params", name), "is not a parameter of this task.", hint
