"""Labels as names out of a closed list of classes, whatever the dataset holds: numbers, names, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.data.targets import Targets, class_number, text_of
from harness.errors import DataError, RowError
from harness.registry import near
from harness.spec.classes import told_apart

_SHORTEST_VECTOR = 3  # of zeros and ones: two of them could be the numbers of both classes


@dataclass(frozen=True)
class Labels(Targets):
    """A class's name, or with `multilabel` a list of names, possibly empty.

    Numbers (or text of such, as in CSV files and WebDataset's .cls) are places in `numbered`; names that the
    dataset has for its classes become the task's by `renamed`. A multilabel target may also be a vector with
    a one or a zero for each class. Without `class_names` every name is taken as it is.
    """

    class_names: tuple[str, ...] | None = None
    numbered: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    multilabel: bool = False

    def read(self, value: Any, what: str) -> str | list[str]:
        value = value.tolist() if hasattr(value, "tolist") else value  # of NumPy
        values = value if isinstance(value, list | tuple) else [value]
        if self.multilabel:
            return list(dict.fromkeys(self._name(one, what) for one in self._set(values)))
        if len(values) != 1:
            raise RowError(f"{what} lists {len(values)} classes; classes.multilabel: true allows for several")
        return self._name(values[0], what)

    def _set(self, values: Sequence[Any]) -> Sequence[Any]:
        """Numbers of the classes that a vector of zeros and ones has set; any other list as it is."""
        is_vector = len(values) == len(self.numbered) >= _SHORTEST_VECTOR
        if is_vector and all(not isinstance(value, str) and value in (0, 1) for value in values):
            return [number for number, value in enumerate(values) if value]
        return values

    def _name(self, value: Any, what: str) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            return self._numbered(value, what)
        if isinstance(value, float | bool):
            raise RowError(f"{what} holds {value}, neither a class's number nor its name")
        text = text_of(value, what).strip()
        if text in self.renamed:
            return self.renamed[text]
        if text.removeprefix("-").isdecimal():
            return self._numbered(int(text), what)
        return self._open(text, what)

    def _numbered(self, number: int, what: str) -> str:
        if self.class_names is None:
            return str(number)
        return self.numbered[class_number(number, what, len(self.numbered))]

    def _open(self, text: str, what: str) -> str:
        """A text that is no name of a class: right only where there is no list. Raises RowError."""
        if not text:
            raise RowError(f"{what} is empty")
        if self.class_names is None:
            return text
        same = [name for name in self.class_names if name.rpartition(" [")[0] == text]
        if same:
            raise RowError(f"{what} holds '{text}', which {len(same)} classes are called: {', '.join(same)}")
        message = f"{what} holds '{text}', which is none of the {len(self.class_names)} classes."
        raise RowError(f"{message} {near(text, self.class_names)}".rstrip())


def labels(
    given: Sequence[str] | None,
    dataset: Sequence[str] | None,
    where: str,
    *,
    multilabel: bool = False,
) -> Labels:
    """Reads labels by the task's names (`given`), by those that the `dataset` itself has, or by both.

    Where both name the same set, numbers are the dataset's and go by name; else they pair by number. Raises
    DataError when there aren't as many of the ones as of the others; `where` is the dataset in messages.
    """
    task, own = (None if names is None else told_apart(names) for names in (given, dataset))
    if task is None or own is None:
        names = task or own
        return Labels(names, names or (), {name: name for name in names or ()}, multilabel)
    renamed = {name: name for name in task}
    if set(task) == set(own):
        return Labels(task, own, renamed, multilabel)
    if len(task) != len(own):
        raise DataError(
            f"the task names {len(task)} classes, and {where} has {len(own)}",
            f"The dataset's: {_some(own)}. The task's: {_some(task)}. "
            "Leave classes.names out to take the dataset's, or name as many, in the order of its numbers.",
        )
    return Labels(task, task, dict(zip(own, task, strict=True)) | renamed, multilabel)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
