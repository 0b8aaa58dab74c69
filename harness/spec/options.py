"""Faults in the parts of a task file that registries own: metrics, normalizers, builders, families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from pydantic import TypeAdapter, ValidationError

from harness.errors import HarnessError
from harness.registry import BUILDERS, FAMILIES, METRICS, NORMALIZERS, Registry, near
from harness.spec.corruption import corruption_faults
from harness.spec.document import KeyPath
from harness.spec.kinds import KINDS
from harness.spec.schema import MetricSpec

Found: TypeAlias = tuple[KeyPath, str, str]

_FORMS = {"text": "texts", "class": "classes", "labels": "lists of classes", "ranks": "ranks"}


def faults(data: Mapping[str, Any]) -> Iterator[Found]:
    """Path, message and suggestion of each fault; whatever has the wrong shape is left to the schema."""
    metrics = data.get("metrics")
    for index, value in enumerate(metrics if isinstance(metrics, list) else []):
        yield from _metric_faults(value, ("metrics", index))
    model = data.get("model")
    if isinstance(model, dict) and isinstance(model.get("family"), str):
        yield from _unknown(FAMILIES, model["family"], ("model", "family"))
    yield from builder_faults(data.get("data"), ("data",))
    yield from corruption_faults(data)
    yield from _unscorable(data)


def _unscorable(data: Mapping[str, Any]) -> Iterator[Found]:
    """Metrics that can't score what a kind answers: words of a class, ranks of a text."""
    kind, classes, metrics = KINDS.get(str(data.get("kind"))), data.get("classes"), data.get("metrics")
    if kind is None or not isinstance(metrics, list):
        return
    form = kind.form(multilabel=isinstance(classes, dict) and classes.get("multilabel") is True)
    for index, value in enumerate(metrics):
        with suppress(ValidationError):
            name = MetricSpec.model_validate(value).name
            if name in METRICS and form not in METRICS.get(name).takes:
                fitting = sorted(other for other in METRICS if form in METRICS.get(other).takes)
                message = f"'{name}' can't score kind '{data['kind']}', whose answers are {_FORMS[form]}."
                yield ("metrics", index), message, f"These can: {', '.join(fitting)}."


def _metric_faults(value: Any, path: KeyPath) -> Iterator[Found]:
    try:
        metric = MetricSpec.model_validate(value)
    except ValidationError:
        return
    unknown = list(_unknown(METRICS, metric.name, path))
    yield from unknown
    normalizer = metric.options.get("normalizer")
    if isinstance(normalizer, str) and normalizer != "whisper" and normalizer not in NORMALIZERS:
        hint = near(normalizer, [*NORMALIZERS, "whisper"]) or f"Known: {', '.join(NORMALIZERS)}, whisper."
        yield (*path, metric.name, "normalizer"), f"there is no normalizer '{normalizer}'.", hint
    if not unknown:
        yield from _option_faults(METRICS.get(metric.name), metric.options, (*path, metric.name))


def builder_faults(section: Any, at: KeyPath) -> Iterator[Found]:
    """Faults of a data section's options; `at` is where the section stands."""
    if not isinstance(section, dict) or not isinstance(section.get("path"), str):
        return
    path, given = section["path"], section.get("options", {})
    if not path.startswith("synthetic:"):
        if given:
            yield (*at, "options"), "only synthetic datasets take options.", ""
        return
    name = path.removeprefix("synthetic:")
    unknown = list(_unknown(BUILDERS, name, (*at, "path")))
    yield from unknown
    if not unknown and isinstance(given, dict):
        yield from _option_faults(BUILDERS.get(name).options_type, given, (*at, "options"))


def _unknown(registry: Registry[Any], name: str, path: KeyPath) -> Iterator[Found]:
    if name not in registry:
        hint = near(name, registry) or f"Known: {', '.join(sorted(registry))}."
        yield path, f"there is no {registry.what} '{name}'.", hint


def _option_faults(kind: Any, given: Mapping[str, Any], path: KeyPath) -> Iterator[Found]:
    """What `kind` (a pydantic model or dataclass) says of these options."""
    try:
        TypeAdapter(kind).validate_python(dict(given))
    except ValidationError as error:
        for detail in error.errors():
            where = (*path, *detail["loc"])
            if detail["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
                yield where, "unknown option.", near(str(detail["loc"][-1]), _names(kind))
            else:
                message = detail["msg"].replace("Input should be", "should be").removeprefix("Value error, ")
                yield where, message if message.endswith((".", "?")) else f"{message}.", ""
    except HarnessError as error:
        yield path, error.message, error.hint


def _names(kind: Any) -> list[str]:
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__pydantic_fields__", {})
    return list(fields)
