"""What an OpenAI-compatible server answers: text and counts, or why there is none and whose fault that is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import AdapterError, HarnessError, PredictionError, RunError

RETRIED = frozenset({408, 409, 429})
"""And everything from 500 on."""
NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached")
TOO_LONG = (
    "context_length_exceeded",
    "context length",
    "context size",
    "context window",
    "maximum model length",
    "too many tokens",
)
FILTERED = ("content_filter", "content_policy", "content management policy", "moderation")
LONGEST_MESSAGE = 500


class ServerError(Exception):
    """The server's side failed: the same request may succeed later.

    `wait` is how many seconds the server asks to wait.
    """

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True)
class Reply:
    """One answer. Counts are None where the server tells none."""

    text: str
    truncated: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    model: str | None = None
    fingerprint: str | None = None


def read_reply(content: str) -> Reply:
    """The answer in a response's body.

    Raises PredictionError when the model refused or said nothing, ServerError for what isn't an answer.
    """
    body = _json_object(content)
    if isinstance(body.get("error"), Mapping | str) and not body.get("choices"):
        raise _in_spite_of_200(body["error"])
    choice = _first_choice(body)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise ServerError(f"the server's answer has no message: {_short(content)}")
    text, finish = _text(message.get("content")), choice.get("finish_reason")
    _refuse_no_answer(text, finish, message.get("refusal"))
    counts = body.get("usage") or {}
    return Reply(
        text,
        truncated=finish == "length",
        input_tokens=_count(counts, "prompt_tokens"),
        output_tokens=_count(counts, "completion_tokens"),
        model=_words(body.get("model")),
        fingerprint=_words(body.get("system_fingerprint")),
    )


def read_events(lines: Iterator[str]) -> Iterator[str]:
    """The pieces of text in a stream of server-sent events; raises what `read_reply` does."""
    text, finish, refusal = "", None, ""
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            break
        body = _json_object(data)
        if body.get("error"):
            raise _in_spite_of_200(body["error"])
        if not body.get("choices"):  # the last event may hold counts alone
            continue
        choice = _first_choice(body)
        delta = choice.get("delta") or {}
        finish = choice.get("finish_reason") or finish
        refusal += _text(delta.get("refusal"))
        if piece := _text(delta.get("content")):
            text += piece
            yield piece
    if finish is None:
        raise ServerError("the stream ended before the answer did")
    _refuse_no_answer(text, finish, refusal)


def _refuse_no_answer(text: str, finish: Any, refusal: Any) -> None:
    if refusal:
        raise PredictionError(f"the model refused: {_short(str(refusal))}")
    if finish == "content_filter":
        raise PredictionError("the server's content filter stopped the answer")
    if text.strip():
        return
    if finish == "length":
        raise PredictionError("all tokens went before the answer began: raise generate.max_new_tokens")
    raise PredictionError(f"the server sent an empty answer (finish_reason '{finish}')")


def fault_of(status: int, content: str, wait: float, model: str, where: str, key: str) -> Exception:
    """The error that a response other than 200 stands for; `key` is the variable that holds the key.

    A ServerError is worth another try, a PredictionError is of this sample alone, and a HarnessError ends
    the run, because every other request would meet it.
    """
    message, code = _message(content)
    said = f"HTTP {status}: {message}"
    if status == 402 or code in NO_MONEY:
        return RunError(f"{where} wants to be paid: {said}", "What was answered is kept: run again then.")
    if status in RETRIED or status >= 500:
        return ServerError(said, wait)
    return _for_all(status, said, model, where, key) or _for_one(message, code, said)


def _for_all(status: int, said: str, model: str, where: str, key: str) -> HarnessError | None:
    if status == 401:
        return AdapterError(
            f"{where} refused the key: {said}", f"It is read from the environment variable {key}."
        )
    if status == 403:
        return AdapterError(
            f"{where} refused access to {model}: {said}", f"Is the key in {key} allowed to use that model?"
        )
    if status in (404, 405):
        return AdapterError(
            f"{where} has no {model}: {said}",
            "--model takes a name that the server knows (GET /models lists them); model.api.base_url mostly "
            "ends with /v1.",
        )
    if 300 <= status < 400:
        return AdapterError(f"{where} sends requests elsewhere: {said}", "Give that as model.api.base_url.")
    return None


def _for_one(message: str, code: str, said: str) -> PredictionError:
    words = f"{code} {message}".lower()
    if any(sign in words for sign in TOO_LONG):
        return PredictionError(f"longer than the model's context: {said}")
    if any(sign in words for sign in FILTERED):
        return PredictionError(f"stopped by the server's content filter: {said}")
    return PredictionError(f"the server refused the request: {said}")


def _in_spite_of_200(error: Any) -> Exception:
    """Routers answer with 200 and report what happened behind them in the body."""
    said, code = _message(json.dumps({"error": error}))
    if isinstance(error, Mapping) and isinstance(error.get("code"), int) and 400 <= error["code"] < 500:
        return PredictionError(f"the server refused the request: {said} (code {code})")
    return ServerError(said)


def _message(content: str) -> tuple[str, str]:
    """The words and the code of an error; the beginning of whatever came where it isn't JSON."""
    try:
        body = json.loads(content)
    except ValueError:
        return _short(content) or "no message", ""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if isinstance(error, Mapping):
        words = error.get("message") or body.get("detail") or error
        return _short(str(words)), str(error.get("code") or error.get("type") or "")
    return _short(str(error)), ""


def _json_object(content: str) -> Mapping[str, Any]:
    try:
        body = json.loads(content)
    except ValueError as error:
        raise ServerError(f"the server's answer isn't JSON: {_short(content)}") from error
    if not isinstance(body, Mapping):
        raise ServerError(f"the server's answer isn't a JSON object: {_short(content)}")
    return body


def _first_choice(body: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise ServerError(f"the server's answer has no choices: {_short(json.dumps(body))}")
    return choices[0]


def _text(content: Any) -> str:
    """A message's content: a text, or parts of which some are."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _count(counts: Any, name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _words(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:LONGEST_MESSAGE]}..."
