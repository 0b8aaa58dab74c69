"""Conversations as datasets hold them: the messages of chat models, or LLaVA's JSON.

    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
     {"role": "assistant", "content": "A cat."}]
    [{"from": "human", "value": "<image>\\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]

An image stands in the message itself (a path, a file's bytes, base64), or in the row's column of images, in
the order of the places for them: {"type": "image"} without one, or <image> in a text.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from harness.data.media import encodable
from harness.errors import RowError
from harness.spec.prompting import IMAGE_PLACE
from harness.types import Audio, Image, Media, Turn

Made: TypeAlias = "Callable[[str, Any], Audio | Image]"
"""Media of a kind ("image", "audio") made of a row's value."""
Role: TypeAlias = Literal["system", "user", "assistant"]

_HELD = ("image", "audio", "image_url", "path", "bytes", "url", "base64")
"""Keys of a part that may hold its file."""
_KINDS = {"image": Image, "audio": Audio}
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


def messages_of(value: Any, media: Sequence[Media], made: Made, what: str) -> tuple[Turn, ...]:
    """The turns of a conversation, media in their places.

    `media` are the row's own, `made` makes those that stand in messages, `what` is what messages call the
    column. Raises RowError for what is no conversation, for one that doesn't end with the assistant, and when
    places and media aren't as many.
    """
    if isinstance(value, str):
        value = _parsed(value, what)
    if not isinstance(value, list | tuple) or not value:
        raise RowError(f"{what} holds {type(value).__name__}, not a list of messages")
    waiting = _Waiting(media, what)
    turns = [_turn(message, number, waiting, made, what) for number, message in enumerate(value, start=1)]
    waiting.check_empty()
    _check_order(turns, what)
    return tuple(turns)


def last_answer(messages: Any) -> str:
    """What the assistant says last: the target."""
    return str(messages[-1].text)


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError(f"{what} holds text that is no JSON: {text[:60]!r}") from error


class _Waiting:
    """The row's media, taken one by one."""

    def __init__(self, media: Sequence[Media], what: str) -> None:
        self._media = media
        self._taken = 0
        self._what = what

    def next(self, kind: str = "image", number: int | None = None) -> Any:
        """The next one, which must be of this kind and, where a place says its number, have that."""
        following = self._taken + 1
        if number is not None and number != following:
            raise RowError(f"{self._what} has <image {number}> where image {following} is due")
        if self._taken == len(self._media):
            raise RowError(f"{self._what} has a place for {kind} {following}, the row has {len(self._media)}")
        if not isinstance(self._media[self._taken], _KINDS[kind]):
            raise RowError(f"{self._what} has a place for {kind} {following}, where the row has none")
        self._taken = following
        return self._media[following - 1]

    def check_empty(self) -> None:
        if self._taken < len(self._media):
            raise RowError(
                f"{self._what} has {self._taken} places for images (<image>), the row has {len(self._media)}"
            )


def _turn(message: Any, number: int, waiting: _Waiting, made: Made, what: str) -> Turn:
    where = f"{what}, message {number},"
    if not isinstance(message, Mapping):
        raise RowError(f"{where} is {type(message).__name__}, not a mapping")
    name = message.get("role", message.get("from"))
    role = _ROLES.get(str(name))
    if role is None:
        raise RowError(f"{where} has the role {name!r}: known are {', '.join(_ROLES)}")
    content = message.get("content", message.get("value"))
    parts = [content] if isinstance(content, str) else content
    if not isinstance(parts, list | tuple):
        raise RowError(f"{where} holds {type(content).__name__}, not text or a list of parts")
    found = [piece for part in parts for piece in _pieces(part, waiting, made, where)]
    if role == "assistant" and any(isinstance(piece, Media) for piece in found):
        raise RowError(f"{where} is the assistant's and has an image: only texts can be learned")
    if role == "assistant" and not "".join(map(str, found)).strip():
        raise RowError(f"{where} is the assistant's and is empty: there is nothing to learn")
    return Turn(role, tuple(found))


def _pieces(part: Any, waiting: _Waiting, made: Made, where: str) -> Iterator[Any]:
    if isinstance(part, str):
        part = {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise RowError(f"{where} has a part of type {type(part).__name__}")
    kind = part.get("type")
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise RowError(f"{where} has a text that is {type(part.get('text')).__name__}")
        yield from _with_places(encodable(part["text"], where), waiting)
    elif kind in ("image", "image_url", "audio"):
        medium = "audio" if kind == "audio" else "image"
        held = next(((key, part[key]) for key in _HELD if part.get(key)), None)
        yield waiting.next(medium) if held is None else made(medium, _file(*held, where))
    else:
        raise RowError(f"{where} has a part of type {kind!r}: known are text, image and audio")


def _file(key: str, given: Any, where: str) -> Any:
    """What a part holds, base64 as the bytes that it stands for. Raises RowError for an address on the
    web."""
    if isinstance(given, Mapping) and isinstance(given.get("url"), str):  # as OpenAI nests it
        given = given["url"]
    if not isinstance(given, str):
        return given
    if given.startswith(("http://", "https://")):
        raise RowError(f"{where} names an address on the web, and samples are never fetched: {given[:60]!a}")
    if given.startswith("data:"):
        key, given = "base64", given.partition(",")[2]
    if key != "base64":
        return given
    try:
        return base64.b64decode(given, validate=True)
    except binascii.Error as error:
        raise RowError(f"{where} has base64 that can't be read: {error}") from error


def _with_places(text: str, waiting: _Waiting) -> Iterator[Any]:
    """A text cut at its <image>s; the line break that LLaVA puts after one is the template's business."""
    end = 0
    for place in IMAGE_PLACE.finditer(text):
        if before := text[end : place.start()]:
            yield before
        number = place[0].removeprefix("<image").strip(" >")
        yield waiting.next(number=int(number) if number else None)
        end = place.end() + (text[place.end() : place.end() + 1] == "\n")
    if rest := text[end:]:
        yield rest


def _check_order(turns: Sequence[Turn], what: str) -> None:
    roles = [turn.role for turn in turns]
    spoken = roles[1:] if roles[0] == "system" else roles
    if not spoken or spoken[-1] != "assistant":
        raise RowError(f"{what} doesn't end with the assistant: there is no answer to learn or to score")
    if "system" in spoken:
        raise RowError(f"{what} has a system message that isn't its first")
    if spoken[0] != "user" or any(a == b for a, b in pairwise(spoken)):
        raise RowError(f"{what} doesn't go to and fro between user and assistant")
