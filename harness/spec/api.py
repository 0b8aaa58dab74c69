"""The `model.api:` keys: how a model that runs on a server is reached, asked and paid.

The key itself never stands in a task file, in a record or in a message: `key_variable` names the variable of
the environment that holds it, and values that look like keys are refused without being repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, FiniteFloat, field_validator, model_validator

from harness.spec.section import Section

KEY_VARIABLE = "OPENAI_API_KEY"
URL_VARIABLE = "OPENAI_BASE_URL"
DEFAULT_URL = "https://api.openai.com/v1"
LOOKS_LIKE_KEY = re.compile(
    r"\b(?:sk|gsk|xai|nvapi|pplx)-[\w-]{12,}|\b(?:gsk|hf|ghp)_[A-Za-z0-9]{16,}"
    r"|\bAIza[\w-]{20,}|\bAKIA[0-9A-Z]{12,}|\bBearer\s+\S+"
    r"|^[0-9a-f]{32,}$|^(?=.*[0-9])(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9+/=]{32,}$"
)
"""The beginnings that providers give their keys; and long runs of mixed letters and digits."""
SECRETS = re.compile(r"api[-_]?key|authori[sz]ation|secret|password|access[-_]?token|^token$", re.IGNORECASE)
"""Names of body parameters that would hold one."""
ASKED_OTHERWISE = {
    "messages": "the task's prompt",
    "model": "model.checkpoint",
    "stream": "the command",
    "n": "one answer to each sample",
    "temperature": "generate.temperature",
    "seed": "generate.seed",
    "max_tokens": "generate.max_new_tokens",
    "max_completion_tokens": "generate.max_new_tokens",
}
"""Body parameters that something else decides."""


class Price(Section):
    """What tokens cost."""

    input: FiniteFloat = Field(ge=0)
    """Price of a million input tokens."""
    output: FiniteFloat = Field(ge=0)
    """Price of a million output tokens."""
    currency: str = "USD"
    """What the prices are in."""

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Cost of so many tokens, in the currency."""
        return (input_tokens * self.input + output_tokens * self.output) / 1_000_000


class Api(Section):
    """How a model is reached that runs on an OpenAI-compatible server (vLLM, SGLang, llama.cpp, hosted)."""

    base_url: str | None = None
    """Address of the API, up to /v1; $OPENAI_BASE_URL, else OpenAI's, when not given."""
    key_variable: str = KEY_VARIABLE
    """Name of the environment variable that holds the key; servers of one's own often need none."""
    concurrency: int = Field(default=8, ge=1, le=1024)
    """Requests under way at a time, at most as many as run.batch_size."""
    timeout_seconds: FiniteFloat = Field(default=120.0, gt=0)
    """How long the server may be silent before a request counts as failed."""
    retries: int = Field(default=5, ge=0)
    """How often a request is tried again that failed on the server's side."""
    give_up_after: int = Field(default=10, ge=1)
    """Samples in a row that fail on the server's side, retries included, before the run ends. What is
    finished is kept, and the same command goes on."""
    requests_per_minute: FiniteFloat | None = Field(default=None, gt=0)
    """Limit on requests, evenly spaced, for each process."""
    tokens_per_minute: FiniteFloat | None = Field(default=None, gt=0)
    """Limit on tokens (input and output), for each process; estimated, then corrected by what is reported."""
    price: Price | None = None
    """What a million tokens cost, for the record: {input: 0.15, output: 0.60}."""
    image_format: Literal["original", "png", "jpeg"] = "original"
    """How images are sent: the file itself where it is an upright, opaque PNG, JPEG or WebP, else as PNG; or
    always encoded anew."""
    image_detail: Literal["auto", "low", "high"] | None = None
    """The API's own setting of how closely the model looks; not sent when not given."""
    max_image_pixels: int | None = Field(default=None, ge=1)
    """Width times height above which images are made smaller before they are sent."""
    length_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls generate.max_new_tokens; OpenAI's reasoning models know the longer name only."""
    body: dict[str, Any] = Field(default={})
    """Further parameters of each request: {top_p: 0.9, reasoning_effort: low}."""

    @model_validator(mode="before")
    @classmethod
    def _holds_no_key(cls, given: Any) -> Any:
        if any(looks_like_key(text) for text in _texts(given)):
            raise ValueError(
                "one of its values looks like a key, and task files are shared. Put the key into an "
                f"environment variable ({KEY_VARIABLE}), and that variable's name into key_variable"
            )
        return given

    @field_validator("key_variable")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name):  # not repeated: it may be a key
            raise ValueError("not the name of an environment variable (capital letters, digits, underscores)")
        return name

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        return None if url is None else checked_url(url)

    @field_validator("body")
    @classmethod
    def _decides_nothing_twice(cls, body: dict[str, Any]) -> dict[str, Any]:
        for name in body:
            if name in ASKED_OTHERWISE:
                raise ValueError(f"'{name}' is decided by {ASKED_OTHERWISE[name]}")
            if SECRETS.search(name):
                raise ValueError(f"'{name}' would hold a secret: key_variable names the variable that does")
        return body

    @property
    def shaping(self) -> dict[str, Any]:
        """What decides answers besides the model and where it runs."""
        names = {"image_format", "image_detail", "max_image_pixels", "length_key", "body"}
        return self.model_dump(mode="json", include=names)

    @staticmethod
    def is_local(url: str) -> bool:
        """Whether an address is on this machine, where --offline may go."""
        host = urlsplit(url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")


def looks_like_key(text: str) -> bool:
    """Whether a text may be a secret that gives access to an API."""
    return LOOKS_LIKE_KEY.search(text) is not None


def checked_url(url: str) -> str:
    """The address without a slash at its end. Raises ValueError, which doesn't repeat secrets in it."""
    wrong = ValueError("not an address such as http://localhost:8000/v1")
    try:
        parts = urlsplit(url)
        port = parts.port  # raises for one that isn't a number
    except ValueError as error:
        raise wrong from error
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an address has no user, password or parameters: keys come from key_variable")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise wrong
    return url.rstrip("/")


def _texts(value: Any) -> Iterator[str]:
    """Every text in a section as it was written, names of keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from (*_texts(name), *_texts(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
