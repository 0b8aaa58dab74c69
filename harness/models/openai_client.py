"""Requests to an OpenAI-compatible server: many at a time, paced, made again when the server's side fails."""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import HarnessError, PredictionError, RunError
from harness.models.endpoint import Endpoint
from harness.models.openai_replies import Reply, ServerError, fault_of, read_events, read_reply
from harness.models.pace import Pace, backoff_seconds, retry_after_seconds

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

CONNECT_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 600.0
"""A server that asks to wait longer ends the run: it can be resumed then."""


@dataclass(frozen=True)
class Request:
    """The body of a request, and the tokens that it may cost (input and output)."""

    body: Mapping[str, Any]
    tokens: float


@dataclass(frozen=True)
class Answered:
    """A reply, and how many requests failed before it."""

    reply: Reply
    retries: int


class Client:
    """One server's client. `clock`, `sleep` and `chance` (a number in [0, 1)) can be replaced by tests."""

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._endpoint = endpoint
        self._api = endpoint.api
        self._stopping = threading.Event()
        self._sleep = sleep or self._stopping.wait
        self._chance = chance
        self._requests = Pace(self._api.requests_per_minute, clock)
        self._tokens = Pace(self._api.tokens_per_minute, clock)
        self._failed_in_a_row = 0
        self._ended_by: HarnessError | None = None
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """See that there is a key where one is needed, and open the client. Raises AdapterError."""
        _ = self._http

    def ask(self, requests: Sequence[Request]) -> list[Answered | PredictionError]:
        """An answer to each request, in order, or why it has none.

        Raises AdapterError or RunError for what would happen to every other request, too: a refused key,
        a server that is down.
        """
        self._begin()
        pool = ThreadPoolExecutor(min(self._api.concurrency, len(requests)), "ask")
        futures = [pool.submit(self._answered, request) for request in requests]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            if self._ended_by is not None:  # and not by what others raised because of it
                raise self._ended_by
            return [future.result() for future in futures]
        except BaseException:  # a person's interruption, too: nobody waits or begins any more
            self._stopping.set()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def stream(self, request: Request) -> Iterator[str]:
        """The answer in pieces as they arrive; only its beginning is tried again."""
        self._begin()
        response, _ = self._tried(request, lambda: self._sent(request, stream=True))
        try:
            yield from read_events(response.iter_lines())
        except (ServerError, PredictionError) as error:
            raise PredictionError(self._hidden(str(error))) from None
        except _transport_errors() as error:
            raise PredictionError(f"the stream broke: {_named(error)}") from error
        finally:
            response.close()

    def _answered(self, request: Request) -> Answered | PredictionError:
        try:
            reply, retries = self._tried(request, lambda: self._reply(request))
        except PredictionError as error:
            return error
        except HarnessError as error:
            self._end(error)
            raise
        counted = (reply.input_tokens or 0) + (reply.output_tokens or 0)
        self._tokens.correct(counted - request.tokens if counted else 0)
        return Answered(reply, retries)

    def _tried(self, request: Request, attempt: Callable[[], T]) -> tuple[T, int]:
        """What an attempt returns once the server doesn't fail, and how many attempts failed before.

        Raises PredictionError when all did, RunError when that happened to many samples in a row.
        """
        for number in range(self._api.retries + 1):
            self._wait(max(self._requests.take(1), self._tokens.take(request.tokens)))
            try:
                found = attempt()
            except ServerError as error:
                failure = error
                self._tokens.correct(-request.tokens)
                self._pause(error.wait)
                if number < self._api.retries:
                    self._wait(max(error.wait, backoff_seconds(number, self._chance)))
            except PredictionError:
                self._count(failed=False)  # the server is well
                raise
            else:
                self._count(failed=False)
                return found, number
        self._count(failed=True, failure=failure)
        raise PredictionError(f"{failure} (asked {self._api.retries + 1} times)")

    def _begin(self) -> None:
        self.prepare()
        self._stopping.clear()
        self._ended_by = None

    def _end(self, error: HarnessError) -> None:
        """Let nobody ask any more, because of the first error that says so."""
        with self._lock:
            self._ended_by = self._ended_by or error
            self._failed_in_a_row = 0  # whoever asks again, a demo, begins anew
        self._stopping.set()

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._sleep(seconds)
        if self._stopping.is_set():
            raise RunError("the run is ending")

    def _pause(self, seconds: float) -> None:
        """What the server asked one to do, all do."""
        if seconds > LONGEST_WAIT_SECONDS:
            raise RunError(
                f"{self._endpoint.base_url} asks to wait {seconds:.0f} s",
                "What was answered is kept: run the same command then.",
            )
        self._requests.hold(seconds)

    def _count(self, *, failed: bool, failure: ServerError | None = None) -> None:
        with self._lock:
            self._failed_in_a_row = self._failed_in_a_row + 1 if failed else 0
            if self._failed_in_a_row < self._api.give_up_after:
                return
        raise RunError(
            f"{self._endpoint.base_url} failed on {self._failed_in_a_row} samples in a row: {failure}",
            "What was answered before is kept: run the same command once the server is well again.",
        )

    def _reply(self, request: Request) -> Reply:
        content = self._sent(request).text
        try:
            return read_reply(content)
        except (ServerError, PredictionError):
            return read_reply(self._hidden(content))  # raises the same, without the key in its words

    def _sent(self, request: Request, *, stream: bool = False) -> httpx.Response:
        """The response with status 200; with `stream`, its content is still to come, and to be closed."""
        body = {**request.body, **({"stream": True} if stream else {})}
        with _server_errors():
            url = f"{self._endpoint.base_url}/chat/completions"
            response = self._http.send(self._http.build_request("POST", url, json=body), stream=stream)
            if response.status_code == 200:
                return response
            response.read()
        raise fault_of(
            response.status_code,
            self._hidden(response.text),
            retry_after_seconds(response.headers.get("retry-after")),
            self._endpoint.name,
            self._endpoint.base_url,
            self._api.key_variable + ("" if self._key else ", which is not set"),
        )

    def _hidden(self, text: str) -> str:
        """A server's words without the key, should it repeat it."""
        return text.replace(self._key, "[key]") if self._key else text

    @cached_property
    def _key(self) -> str | None:
        return self._endpoint.key()

    @cached_property
    def _http(self) -> httpx.Client:
        import httpx

        client = httpx.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(self._api.timeout_seconds, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=self._api.concurrency),
        )
        weakref.finalize(self, client.close)
        return client


@contextmanager
def _server_errors() -> Iterator[None]:
    """Turn what happens on the way into a ServerError."""
    try:
        yield
    except _transport_errors() as error:
        raise ServerError(_named(error)) from error


def _transport_errors() -> tuple[type[Exception], ...]:
    import httpx

    return (httpx.TransportError, httpx.DecodingError)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
