"""The settings of a training that matter to who reads of its result: what was chosen, what differs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.results.record import Record
from harness.spec.load import flat
from harness.spec.resolve import dotted
from harness.spec.section import UNSCORED
from harness.spec.training import LEARNING_RATES, Lora, Train

MAIN = ("learning_rate", "batch", "lora.r", "lora.alpha")


def settings(record: Record) -> dict[str, str]:
    """Dotted key and value of the train section that made a fine-tune, without what changes no weights.

    Learning rate, rank and alpha are those in effect. Empty for a base, and for a fine-tune whose record
    doesn't tell.
    """
    if record.train is None or not record.train.settings:
        return {}
    return _leaves(record.train.settings)


def chosen(record: Record) -> dict[str, str]:
    """Learning rate, batch, rank and alpha, then what else isn't as it is when a task file says nothing."""
    own = settings(record)
    defaults = _leaves(_defaults() | {"method": own.get("method", "lora")})
    told = {"method", "steps"}
    main = {key: own[key] for key in MAIN if key in own}
    return main | {key: value for key, value in own.items() if key not in told and defaults.get(key) != value}


def differing(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """The keys in which these fine-tunes were made differently, with the value of each.

    Empty where one of them is a base or doesn't tell.
    """
    found = [settings(record) for record in records]
    if not all(found):
        return {}
    keys = dict.fromkeys(key for own in found for key in own)
    values = {key: tuple(own.get(key, "not given") for own in found) for key in keys}
    return {key: each for key, each in values.items() if len(set(each)) > 1}


def _leaves(train: Mapping[str, Any]) -> dict[str, str]:
    method, stages = train.get("method", "lora"), train.get("stages") or ()
    named = [train.get("parts"), *(stage.get("parts") for stage in stages)]
    parts = {state for own in named for state in (own or {}).values()}
    known = {key: value for key, value in train.items() if not _unscored(key) and key != "lora"}
    known["stages"] = {stage.get("name", ""): _given(stage) for stage in stages}
    known["learning_rate"] = train.get("learning_rate") or LEARNING_RATES.get(method)
    if "lora" in (method, *parts):
        known["lora"] = _lora(train.get("lora") or {})
    if not stages:
        del known["stages"]
    return {dotted(path): _text(value) for path, value in flat(known)}


def _given(stage: Mapping[str, Any]) -> dict[str, Any]:
    """What a stage says otherwise than the section, without its name."""
    told = {key: value for key, value in stage.items() if value not in (None, {}) and key != "name"}
    return {key: value for key, value in told.items() if not _unscored(key)}


def _lora(given: Mapping[str, Any]) -> dict[str, Any]:
    """With rank and alpha filled in; of a version with other settings too, so nothing is validated."""
    lora = Lora.model_construct(r=given.get("r"), alpha=given.get("alpha"))
    return {**given, "r": lora.rank, "alpha": lora.scale}


def _defaults() -> dict[str, Any]:
    return Train(steps=1).model_dump(mode="json")


def _unscored(key: str) -> bool:
    field = Train.model_fields.get(key)
    return field is not None and field.json_schema_extra == UNSCORED


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
