"""Answers and targets as the text that sample rows hold, and back.

What a kind's answers are (text, one class, several labels, ranks) is its form (`harness.spec.kinds`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from rapidfuzz.distance import Levenshtein

from harness.results.record import Record
from harness.spec.kinds import KINDS

NO_ANSWER = "(no answer)"
"""What reports call an answer without any class."""

_as_json = json.JSONEncoder(ensure_ascii=False).encode  # made once: json.dumps makes one for every call


def form_of(record: Record) -> str:
    """What the answers of a stored run are; text where this version doesn't know its kind."""
    kind, classes = KINDS.get(record.kind), record.spec.get("classes") or {}
    return kind.form(multilabel=bool(classes.get("multilabel"))) if kind else "text"


def as_text(value: Any) -> str:
    """An answer or a target as the sample rows hold it: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        value = dict(value)
    elif not isinstance(value, Sequence):
        value = value.tolist()  # an embedding
    return _as_json(value)


def answer_of(text: str, form: str) -> Any:
    """The answer that `as_text` wrote. A class by its name alone stays that name."""
    if form == "text" or not text.startswith("{"):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:  # a name that begins with a bracket
        return text


def first_of(text: str) -> tuple[str, float | None]:
    """The first class of an answer that `as_text` wrote and its probability, without reading the others."""
    if not text.startswith('{"'):
        return text, None
    decoder = json.JSONDecoder()
    try:
        name, end = decoder.raw_decode(text, 1)
        return name, float(decoder.raw_decode(text, end + len(": "))[0])
    except json.JSONDecodeError:  # a name that begins with a bracket
        return text, None


def target_of(text: str, form: str) -> Any:
    """The target that `as_text` wrote: one class, a list of classes, captions, a text or several."""
    if form != "labels" and (form == "class" or not text.startswith('["')):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:  # a text that begins with brackets
        return text


def nearest_reference(target: str, answer: str) -> str:
    """The text that an answer is set against: of several, the one of fewest other words, the commonest first.

    `target` is a text, or several as `as_text` wrote them.
    """
    texts = target_of(target, "text")
    if isinstance(texts, str):
        return texts
    said = answer.split()
    ordered: list[str] = [text for text, _ in Counter(texts).most_common()]
    return min(ordered, key=lambda text: Levenshtein.distance(text.split(), said))


def in_short(answer: Any, form: str) -> str:
    """An answer for a table: the text, the first class, or "text 1, image 3 7 2"."""
    if isinstance(answer, str):
        return answer
    if form == "ranks":
        return ", ".join(f"{name} {_ranks(ranks)}" for name, ranks in answer.items())
    return next(iter(answer), "")


def most_probable(answer: Any, count: int) -> str:
    """The first classes with their probabilities: "cat 71.2%, dog 20.0%"."""
    if isinstance(answer, str):
        return answer
    if not answer:
        return NO_ANSWER
    first = islice(answer.items(), count)
    return ", ".join(f"{name} {probability:.1%}" for name, probability in first)


def _ranks(ranks: int | Sequence[int]) -> str:
    return str(ranks) if isinstance(ranks, int) else " ".join(map(str, ranks))
