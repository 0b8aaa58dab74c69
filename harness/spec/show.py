"""A task as text: every value with where it comes from, and the schema with every field's meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from harness.shipped import shipped
from harness.spec.load import ResolvedTask, flat
from harness.spec.resolve import dotted
from harness.spec.schema import Task
from harness.spec.section import Section


def values(resolved: ResolvedTask) -> Iterator[tuple[str, str, str]]:
    """Key, value and origin of every value of the task; origin is a file:line, a --set, or "default"."""
    for path, value in flat(resolved.task.model_dump(mode="json")):
        origin = resolved.origin(path) or _item_origin(resolved, path)
        where = "default" if origin is None else f"{_short(origin.file)}:{origin.line}".removesuffix(":0")
        yield dotted(path), _text(value), where


def schema() -> Iterator[tuple[str, str, str, str]]:
    """Key, type, default and meaning of every field of a task file."""
    yield "extends", "str", "none", "Another task file that this one is laid over."
    yield from _fields(Task, "")


def _fields(
    section: type[Section], prefix: str, given: Section | None = None
) -> Iterator[tuple[str, str, str, str]]:
    """`given` holds the defaults that the section around this one sets."""
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        default = getattr(given, name) if given else field.get_default(call_default_factory=True)
        if inner:
            yield f"{prefix}{name}", _type(field.annotation), "", field.description or ""
            yield from _fields(inner, f"{prefix}{name}.", default if isinstance(default, Section) else None)
        else:
            shown = "required" if field.is_required() else _text(default)
            yield f"{prefix}{name}", _type(field.annotation), shown, field.description or ""


def _section_of(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Section) else None
    return next((inner for argument in get_args(annotation) if (inner := _section_of(argument))), None)


def _type(annotation: Any) -> str:
    """What may be written, in words: `str | null`, `lora | full`, `list of str`, `[float, float]`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " | ".join(map(_type, arguments))
    if origin is list or (origin is tuple and arguments[1:] == (...,)):
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(map(_type, arguments))}]"
    if annotation is NoneType:
        return "null"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, Section)):
        return "mapping"
    return "any" if annotation is Any else str(annotation.__name__)


def _text(value: Any) -> str:
    """A value as it is written in a task file."""
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value


def _item_origin(resolved: ResolvedTask, path: tuple[str | int, ...]) -> Any:
    """Values inside lists are shown with the origin of the nearest key that was written."""
    while len(path) > 1:
        path = path[:-1]
        if (found := resolved.origin(path)) and not isinstance(_at(resolved, path), dict):
            return found
    return None


def _at(resolved: ResolvedTask, path: tuple[str | int, ...]) -> Any:
    value: Any = resolved.document.data
    for part in path:
        value = value[part]
    return value


def _short(file: Path) -> str:
    """The file relative to where the user stands, or for a shipped one to where the tasks are."""
    for folder in (Path.cwd(), shipped("tasks").parent.resolve()):
        if file.resolve().is_relative_to(folder):
            return str(file.resolve().relative_to(folder))
    return str(file)
