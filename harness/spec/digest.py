"""The digest that says whether two runs answer the same question."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.errors import Fault, SpecError
from harness.registry import BUILDERS, METRICS
from harness.spec.schema import Task

DIGEST_VERSION = 1
"""Goes up whenever a default that changes scores does."""


def spec_id(task: Task, base: Path) -> str:
    """SHA-256 (hex) over what changes the score: data, generation, metrics, hooks' source.

    Which checkpoint runs, descriptions, workers, batch sizes and comments leave it alone; so does
    writing a default out. `base` is the folder that transforms are imported from.
    """
    scored = _scored(task)
    data = scored["data"]
    data["split"] = getattr(task.data.splits, task.data.split)
    if task.data.path.startswith("synthetic:"):
        builder = BUILDERS.get(task.data.path.removeprefix("synthetic:"))
        data["options"] = builder.options_type(**task.data.options).model_dump(mode="json")
    if task.data.transform:
        data["transform_source"] = hook_source(task.data.transform, base)
    scored["metrics"] = [_metric(spec.name, spec.options) for spec in task.metrics]
    return digest_of({"version": DIGEST_VERSION, **scored})


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
