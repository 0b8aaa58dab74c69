"""Answers that somebody else's file gives: whether they are what a kind's metrics can read.

class    "cat", or {"cat": 0.7, "dog": 0.2}: probabilities in any order
         of options the letters, "B" or {"B": 0.7, "A": 0.3}, or {} where none could be parsed; and any text,
         which is parsed, where the task chooses by letter
labels   {"cat": 0.9, "dog": 0.8}, or ["cat", "dog"]: these and no others
ranks    {"text": 1, "image": [3, 7, 2]}, or of clips {"text": 1, "audio": [3, 7, 2]}
text     "any text"
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from harness.data.labels import labels
from harness.data.targets import Targets, open_targets
from harness.errors import RowError
from harness.metrics.ranks import MEDIA, TEXT
from harness.registry import near
from harness.spec.kinds import KINDS
from harness.spec.prompting import LETTERS
from harness.spec.schema import Task
from harness.types import Answer, Failure

_SHOULD_BE = {
    "class": 'a class\'s name, or {"name": probability, ...}',
    "labels": 'a mapping {"name": probability, ...}, or a list of names',
    "ranks": '{"text": rank, "image": [rank, ...]}',
    "text": "text",
}


def targets_of(task: Task) -> Targets:
    """Reads a file's own targets, by the names that the task gives to its classes."""
    classes = task.classes
    if KINDS[task.kind].options:
        return labels(tuple(LETTERS), None, "the file")
    if task.form in ("class", "labels"):
        multilabel = task.form == "labels"
        return labels(classes.names if classes else None, None, "the file", multilabel=multilabel)
    return open_targets(task.kind)


def answer_from(value: Any, form: str, *, empty: bool = False) -> Answer | None:
    """The answer that a row's `prediction` is, None for a failure; `empty` says that one may have no class.

    Raises RowError for anything else.
    """
    if value is None or (isinstance(value, str) and form in ("text", "class")):
        return value
    if form == "labels" and isinstance(value, list) and all(isinstance(name, str) for name in value):
        return dict.fromkeys(value, 1.0)
    if form in ("class", "labels") and isinstance(value, dict) and (value or empty or form == "labels"):
        return _probabilities(value)
    if form == "ranks" and isinstance(value, dict):
        return _ranks(value)
    raise RowError(f"prediction should be {_SHOULD_BE[form]} (or null for a failure)")


def refusal(answer: Answer, form: str, target: Any, names: Sequence[str] | None) -> Failure | None:
    """Why a readable answer can't be scored: it names no class of the list, or ranks other captions."""
    if form in ("class", "labels") and names is not None:
        return _unknown([answer] if isinstance(answer, str) else answer, names)
    if form == "ranks" and isinstance(answer, Mapping) and isinstance(target, list):
        ranked = next(
            len(ranks) for name, ranks in answer.items() if name in MEDIA and isinstance(ranks, list)
        )
        if ranked != len(target):
            return Failure("WrongRanks", f"it has ranks for {ranked} captions, and there are {len(target)}")
    return None


def _unknown(named: Any, names: Sequence[str]) -> Failure | None:
    known: Container[str] = frozenset(names)
    name = next((name for name in named if name not in known), None)
    if name is None:
        return None
    message = f"'{name}' is none of the {len(names)} classes. {near(name, names)}"
    return Failure("UnknownClass", message.rstrip())


def _probabilities(value: Mapping[str, Any]) -> dict[str, Any]:
    """The most probable first; equal ones in the order of the file."""
    for name, probability in value.items():
        number = isinstance(probability, int | float) and not isinstance(probability, bool)
        if not number or not 0 <= probability <= 1:  # NaN is in no range
            raise RowError(f"prediction gives '{name}' {probability!r}: a probability is between 0 and 1")
    return dict(sorted(value.items(), key=lambda item: -item[1]))


def _ranks(value: Mapping[str, Any]) -> dict[str, Any]:
    media = [name for name in MEDIA if name in value]
    fitting = len(media) == 1 and set(value) == {TEXT, *media} and isinstance(value[media[0]], list)
    ranks = [value[TEXT], *value[media[0]]] if fitting else []
    if len(ranks) < 2 or not all(type(rank) is int and rank >= 1 for rank in ranks):
        raise RowError(f"prediction should be {_SHOULD_BE['ranks']}, of which 1 is the best")
    return {TEXT: value[TEXT], media[0]: value[media[0]]}
