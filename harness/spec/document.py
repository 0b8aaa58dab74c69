"""A YAML file as plain data, with the file and line that every key came from."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

from harness.errors import Fault, SpecError

KeyPath: TypeAlias = tuple[str | int, ...]
DEEPEST = 50
TOO_DEEP = "is nested too deep"
NOT_PLAIN = (
    "should be made of plain mappings, lists and values: YAML's tags (!!omap, !!pairs, !!set) can't be used"
)


@dataclass(frozen=True)
class Origin:
    """Where a value was written. `line` counts from 1; 0 means not in a file (`--set`)."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else str(self.file)


@dataclass
class Document:
    """Plain data and the origin of each of its keys."""

    data: dict[str, Any]
    origins: dict[KeyPath, Origin] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> Origin:
        """Origin of the key, or of the nearest key around it."""
        while path not in self.origins and path:
            path = path[:-1]
        return self.origins[path]

    def merged(self, over: Document) -> Document:
        """This document with `over` laid on top: mappings merge deep, everything else is replaced."""
        result = Document(deepcopy(self.data), dict(self.origins))
        result.origins[()] = over.origins[()]
        for key, value in over.data.items():
            result._lay((key,), value, over)
        return result

    def put(self, path: KeyPath, value: Any, origin: Origin) -> None:
        """Set one value, making the mappings on the way."""
        target: dict[Any, Any] = self.data
        for depth, key in enumerate(path[:-1], start=1):
            if not isinstance(target.get(key), dict):
                target[key] = {}
                self.origins[path[:depth]] = origin
            target = target[key]
        self._forget(path)
        target[path[-1]] = value
        self.origins[path] = origin

    def _lay(self, path: KeyPath, value: Any, over: Document) -> None:
        parent: Any = self.data
        for key in path[:-1]:
            parent = parent[key]
        if isinstance(value, Mapping) and isinstance(parent.get(path[-1]), dict):
            self.origins[path] = over.origins[path]
            for key, inner in value.items():
                self._lay((*path, key), inner, over)
            return
        self._forget(path)
        parent[path[-1]] = deepcopy(value)
        self.origins.update({key: at for key, at in over.origins.items() if key[: len(path)] == path})

    def _forget(self, path: KeyPath) -> None:
        for key in [key for key in self.origins if key[: len(path)] == path]:
            del self.origins[key]


def read(file: Path) -> Document:
    """The document in a YAML 1.2 file. Raises SpecError for bad syntax, with file and line."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        loaded = YAML(typ="rt").load(file.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError([Fault(file, line, "", f"not valid YAML: {error.problem}")]) from error
    except RecursionError as error:
        raise SpecError([Fault(file, 1, "", TOO_DEEP)]) from error
    except (YAMLError, ValueError) as error:  # ValueError: bytes that are no text, or `!!int x`
        raise SpecError([Fault(file, 1, "", f"not valid YAML: {error}")]) from error
    except OSError as error:
        raise SpecError([Fault(file, 0, "", f"can't be read: {error.strerror}")]) from error
    if not isinstance(loaded, Mapping):
        raise SpecError([Fault(file, 1, "", "a task file is a mapping of keys to values")])
    document = Document({}, {(): Origin(file, 1)})
    document.data = _plain(loaded, (), file, document.origins)
    return document


def is_plain(node: Any) -> bool:
    """Whether YAML gave a mapping, list or value, rather than !!omap, !!pairs, !!set or a tag of its own."""
    from ruamel.yaml.comments import CommentedMap

    if isinstance(node, dict):
        return type(node) in (dict, CommentedMap) and not str(getattr(node, "tag", "")).startswith("!")
    return node is None or isinstance(node, bool | int | float | str | date | list)


def _plain(node: Any, path: KeyPath, file: Path, origins: dict[KeyPath, Origin]) -> Any:
    """Plain copies of ruamel's annotated values; scalars lose their YAML styles. Raises SpecError."""
    if len(path) > DEEPEST:
        raise SpecError([Fault(file, origins[path].line, str(path[0]), TOO_DEEP)])
    if not is_plain(node):
        raise SpecError([Fault(file, origins[path].line, str(path[0]) if path else "", NOT_PLAIN)])
    if isinstance(node, Mapping):
        plain = {}
        for key, value in node.items():
            origins[(*path, str(key))] = Origin(file, _line(node, key, origins[path].line))
            plain[str(key)] = _plain(value, (*path, str(key)), file, origins)
        return plain
    if isinstance(node, list):
        items = []
        for index, value in enumerate(node):
            origins[(*path, index)] = Origin(file, _line(node, index, origins[path].line))
            items.append(_plain(value, (*path, index), file, origins))
        return items
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _line(node: Any, key: Any, fallback: int) -> int:
    """Line of a mapping's key or a list's item; values merged by `<<` carry the line of their mapping."""
    try:
        lines: Any = node.lc
        position = lines.item(key) if isinstance(node, list) else lines.key(key)
    except (AttributeError, KeyError, TypeError):
        return fallback
    return int(position[0]) + 1
