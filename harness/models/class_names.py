"""Which outputs of a classifier stand for a task's classes: by name, by number, or none of them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from harness.errors import AdapterError
from harness.models.head import Head
from harness.spec.classes import told_apart

if TYPE_CHECKING:
    from harness.models.checkpoint import Checkpoint
    from harness.models.weights import Weights

GENERIC = re.compile(r"LABEL_\d+")
"""What transformers calls a class that nobody named."""
BY_NUMBER = "by number"


@dataclass(frozen=True)
class Match:
    """`outputs` are the numbers of the outputs that stand for the classes, in the order of the classes.

    `how` says it in words; `doubt` is what a user should know, where names and numbers disagree.
    """

    outputs: tuple[int, ...]
    how: str
    doubt: str = ""


def match(labels: Sequence[str], classes: Sequence[str]) -> Match | None:
    """The outputs called `labels` that stand for `classes`; None when they are of something else.

    By name where every class has a label of its own, letter case aside, or a name among the synonyms of one
    ("tabby, tabby cat"); what has more labels is then asked about these classes only. Else by number, where
    there are as many.
    """
    named = _by_name(labels, classes)
    if named is not None:
        return Match(named, "by name")
    if len(labels) != len(classes):
        return None
    numbers = tuple(range(len(classes)))
    if all(GENERIC.fullmatch(label) for label in labels):
        return Match(numbers, BY_NUMBER)
    pairs = zip(labels, classes, strict=True)
    label, name = next(
        (pair for pair in pairs if _plain(pair[0]) != _plain(pair[1])), (labels[0], classes[0])
    )
    return Match(numbers, BY_NUMBER, f"its '{label}' is taken for '{name}'")


def _by_name(labels: Sequence[str], classes: Sequence[str]) -> tuple[int, ...] | None:
    whole, synonyms = _table([[label] for label in labels]), _table([label.split(",") for label in labels])
    found: list[int] = []
    for name in classes:
        candidates = whole.get(_plain(name)) or synonyms.get(_plain(name)) or []
        if len(candidates) != 1:
            return None
        found += candidates
    return tuple(found) if len(set(found)) == len(classes) else None


def _table(names: Sequence[Sequence[str]]) -> Mapping[str, Sequence[int]]:
    """Every name to the numbers of the labels that have it."""
    table: dict[str, list[int]] = {}
    for number, own in enumerate(names):
        for name in {_plain(one) for one in own}:
            table.setdefault(name, []).append(number)
    return table


def _plain(name: str) -> str:
    return name.strip().casefold()


@dataclass(frozen=True)
class Fitted:
    """Weights whose head answers with `classes`: which `outputs` stand for them (None: all, in order), and
    `how` that was found, in words."""

    weights: Weights
    classes: tuple[str, ...]
    outputs: tuple[int, ...] | None
    how: str

    @classmethod
    def of(cls, weights: Weights, classes: Sequence[str] | None, *, multilabel: bool) -> Fitted:
        """The head that there is, where it knows the classes, else a new one; said where a user may wonder.

        Raises AdapterError for an adapter that was trained with a head for other classes.
        """
        if classes is None:
            labels = weights.head.labels if weights.head else _labels(weights)
            return cls(weights, labels, None, "the checkpoint's own")
        trained, name = weights.adapter.head() if weights.adapter else None, weights.checkpoint.name
        weights, found = weights.with_head(trained), None
        if trained is not None or _has_head(weights.checkpoint):
            found = match(trained.labels if trained else _labels(weights), classes)
        if found is not None:
            if found.doubt:
                _tell(f"{name} names its {len(classes)} classes otherwise, so numbers decide: {found.doubt}.")
            return cls(weights, tuple(classes), found.outputs, found.how)
        if trained is not None:
            raise AdapterError(
                f"the adapter {weights.adapter.name if weights.adapter else ''} was trained for "
                f"{len(trained.labels)} other classes than the task's {len(classes)}",
                "Score it on a task with the classes that it was trained for.",
            )
        if weights.adapter is None:
            _tell(
                f"{name} has no head for these {len(classes)} classes: a new one says chance until trained."
            )
        return cls(weights.with_head(Head(tuple(classes), multilabel)), tuple(classes), None, "a new head")


def _has_head(checkpoint: Checkpoint) -> bool:
    """Whether its weights are a classifier's; a config that doesn't say what they are is believed."""
    architectures = checkpoint.config().get("architectures") or ("Classification",)
    return any("Classification" in str(name) for name in architectures)


def _labels(weights: Weights) -> tuple[str, ...]:
    """The checkpoint's own classes, in the order of its outputs."""
    labels = weights.with_head(None).config.id2label or {}
    return told_apart([str(label) for _, label in sorted(labels.items())])


@cache
def _tell(line: str) -> None:
    """Say it once, in one process."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr, flush=True)  # noqa: T201
