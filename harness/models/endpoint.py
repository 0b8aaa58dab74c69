"""A model that runs on a server: what stands where others have weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from harness.errors import AdapterError
from harness.models.checkpoint import Checkpoint
from harness.models.weights import Weights
from harness.spec.api import DEFAULT_URL, KEY_VARIABLE, URL_VARIABLE, Api, checked_url
from harness.spec.digest import digest_of

if TYPE_CHECKING:
    from harness.spec.schema import Model

NOWHERE = Path(os.devnull)
"""The folder of what has none: whoever looks for a file there finds nothing."""


class Endpoint(Weights):
    """A model known by its name and its server's address; nothing of it is on this machine.

    A hosted model can change under its name, which nobody outside can see: the digest is over what is asked
    of the server, and what the server says of itself stands in each sample's extras.
    """

    def __init__(
        self, name: str, api: Api, *, offline: bool = False, environment: Mapping[str, str] = os.environ
    ) -> None:
        super().__init__(Checkpoint(name, NOWHERE))
        self.name = name
        self.api = api
        self.base_url = api.base_url or _url_of(environment)
        self._offline = offline
        self._environment = environment

    @classmethod
    def of(cls, model: Model, *, offline: bool = False) -> Endpoint:
        """The endpoint that a model section names. Raises AdapterError for keys that mean nothing there."""
        given = {"revision": model.revision, "attention": model.attention}
        if model.dtype != "auto":
            given["dtype"] = model.dtype
        for key, value in given.items():
            if value is not None:
                raise AdapterError(
                    f"{model.checkpoint} runs on a server, which decides by itself: model.{key} is '{value}'",
                    f"Remove model.{key}.",
                )
        return cls(model.checkpoint, model.api or Api(), offline=offline)

    @cached_property
    def device(self) -> str:
        """The server's name and port."""
        return urlsplit(self.base_url).netloc

    @cached_property
    def dtype(self) -> str:
        """Empty: the server doesn't tell."""
        return ""

    @property
    def warms_up(self) -> bool:
        """Never: every request is paid."""
        return False

    def digest(self) -> str:
        """SHA-256 (hex) over the model's name, the address, and how requests are made there."""
        return digest_of({"model": self.name, "base_url": self.base_url, **self.api.shaping})

    def parameters(self) -> int:
        """0: the server doesn't tell."""
        return 0

    def release(self) -> None:
        """There is nothing to forget."""

    def key(self) -> str | None:
        """The key, to be sent and never to be shown; None for a server that needs none.

        Raises AdapterError when it is missing or no header can hold it, and for a server elsewhere when
        the run is offline.
        """
        self._refuse_offline()
        variable = self.api.key_variable
        key = self._environment.get(variable, "").strip()
        if not key and (variable != KEY_VARIABLE or self.base_url == DEFAULT_URL):
            raise AdapterError(
                f"{self.base_url} needs a key: the environment variable {variable} is not set",
                f"export {variable}=..., or name another variable in model.api.key_variable.",
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise AdapterError(f"what the environment variable {variable} holds can't be a key")
        return key or None

    def _refuse_offline(self) -> None:
        if self._offline and not self.api.is_local(self.base_url):
            raise AdapterError(
                f"{self.name} runs at {self.base_url}, where --offline forbids to ask",
                "Leave out --offline. What was asked before is in the cache, and needs no server.",
            )


def _url_of(environment: Mapping[str, str]) -> str:
    try:
        return checked_url(environment.get(URL_VARIABLE) or DEFAULT_URL)
    except ValueError as error:
        raise AdapterError(f"the environment variable {URL_VARIABLE}: {error}") from error
