"""Servers that fail, refuse, limit: what is asked again, what a sample's failure is, what ends the run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from harness.errors import AdapterError, RunError
from harness.models.openai_client import Client, Request
from harness.types import Failure, Output
from tests.models.openai_model import KEY, asked, fast, model_of, said
from tests.models.openai_server import ChatServer, Fault, Seen, serving


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as chat:
        yield chat


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


# The server's side fails


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_may_succeed_later_is_asked_again(server: ChatServer, status: int):
    server.faults.extend([Fault(status), Fault(status)])
    [output] = said(fast(model_of(server)), asked())
    assert isinstance(output, Output)
    assert output.extras["retries"] == 2
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "fault",
    [
        Fault(0),
        Fault(200, seconds=0.4),
        Fault(200, raw="{"),
        Fault(200, raw="[]"),
        Fault(200, raw='{"choices": []}'),
    ],
    ids=["connection closed", "timeout", "not JSON", "no object", "no choices"],
)
def test_a_broken_answer_is_asked_for_again(server: ChatServer, fault: Fault):
    server.faults.append(fault)
    [output] = said(fast(model_of(server, api={"timeout_seconds": 0.2})), asked())
    assert isinstance(output, Output)
    assert output.extras["retries"] == 1


def test_a_sample_whose_tries_all_fail_is_a_failure_and_others_are_not_asked_again(server: ChatServer):
    server.fault_for["b"] = Fault(503, "overloaded")
    a, b, c = said(fast(model_of(server, api={"retries": 2})), *map(asked, "abc"))
    assert isinstance(a, Output)
    assert isinstance(c, Output)
    assert b == Failure("PredictionError", "HTTP 503: overloaded (asked 3 times)")
    assert sorted(seen.words for seen in server.seen) == ["a", "b", "b", "b", "c"]


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_waited_for(server: ChatServer, date: bool):
    later = datetime.now(UTC) + timedelta(seconds=30, milliseconds=900)
    value = format_datetime(later, usegmt=True) if date else "30"
    server.faults.append(Fault(429, headers={"Retry-After": value}))
    waits: list[float] = []
    clock = Clock(waits)
    made = model_of(server)
    made._client = Client(made.weights, clock.now, clock.sleep, chance=lambda: 0.9)
    said(made, asked())
    assert sum(waits) == pytest.approx(30, abs=1.5)


def test_a_server_that_asks_for_an_hour_ends_the_run(server: ChatServer):
    server.faults.append(Fault(429, headers={"Retry-After": "3600"}))
    with pytest.raises(RunError, match="asks to wait 3600 s"):
        said(model_of(server), asked())


def test_waits_double_and_are_drawn_at_random(server: ChatServer):
    server.faults.extend([Fault(500)] * 4)
    waits: list[float] = []
    draws = itertools.cycle([1.0, 0.25])
    made = model_of(server)
    made._client = Client(made.weights, sleep=waits.append, chance=lambda: next(draws))
    said(made, asked())
    assert waits == [0.5, 0.25, 2.0, 1.0]  # bounds 0.5, 1, 2, 4


def test_a_server_that_is_down_ends_the_run(server: ChatServer):
    made = fast(model_of(server, api={"retries": 0, "give_up_after": 3, "concurrency": 1}))
    assert isinstance(said(made, asked("fine"))[0], Output)
    server.faults.extend([Fault(502)] * 2)
    assert isinstance(said(made, asked("1"), asked("2"))[1], Failure)
    assert isinstance(said(made, asked("fine"))[0], Output)  # so it starts to count again
    server.faults.extend([Fault(502)] * 9)
    before = len(server.seen)
    with pytest.raises(RunError, match="failed on 3 samples in a row: HTTP 502"):
        said(made, *(asked(f"{n}") for n in range(9)))
    assert len(server.seen) - before == 3
    server.faults.clear()
    server.faults.append(Fault(502))
    assert isinstance(said(made, asked("again"))[0], Failure)  # the same client: one more ends nothing
    assert isinstance(said(made, asked("fine"))[0], Output)


def test_nobody_there_is_said(server: ChatServer):
    made = fast(model_of(server, api={"base_url": "http://127.0.0.1:9/v1", "retries": 1, "give_up_after": 1}))
    with pytest.raises(RunError, match=r"http://127\.0\.0\.1:9/v1 failed .* ConnectError"):
        said(made, asked())


# The request is at fault


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            Fault(400, "This model's maximum context length is 8 tokens", "context_length_exceeded"),
            "longer than",
        ),
        (Fault(400, "flagged", "content_policy_violation"), "content filter"),
        (Fault(400, "image too small"), "refused the request: HTTP 400: image too small"),
        (Fault(422, raw='{"detail": "no such field"}'), "no such field"),
        (Fault(200, raw='{"error": {"message": "bad input", "code": 400}}'), "bad input"),
    ],
)
def test_a_request_that_is_refused_is_the_samples_failure(server: ChatServer, fault: Fault, words: str):
    server.fault_for["b"] = fault
    a, b = said(model_of(server), asked("a"), asked("b"))
    assert isinstance(a, Output)
    assert isinstance(b, Failure)
    assert b.type == "PredictionError"
    assert words in b.message
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("status", "code", "error", "words", "hint"),
    [
        (401, None, AdapterError, "refused the key", "OPENAI_API_KEY"),
        (403, None, AdapterError, "refused access to tiny-chat", "OPENAI_API_KEY"),
        (404, "model_not_found", AdapterError, "has no tiny-chat", "--model"),
        (302, None, AdapterError, "elsewhere", "base_url"),
        (429, "insufficient_quota", RunError, "wants to be paid", "kept"),
    ],
)
def test_what_every_request_would_meet_ends_the_run_at_once(
    server: ChatServer, status: int, code: str | None, error: Any, words: str, hint: str
):
    server.faults.append(Fault(status, "no", code))
    server.seconds = 0.05
    with pytest.raises(error, match=words) as caught:
        said(model_of(server, api={"concurrency": 2}), *(asked(f"{n}") for n in range(40)))
    assert hint in caught.value.hint
    assert len(server.seen) < 10


# Limits


class Clock:
    """Time that passes when somebody sleeps; `waits` are how long."""

    def __init__(self, waits: list[float] | None = None) -> None:
        self.at = 1000.0
        self.waits = [] if waits is None else waits

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.at += seconds


def noting(times: list[float], clock: Clock, answer: str) -> Callable[[Seen], str]:
    """An answer that notes when it was asked for."""

    def say(seen: Seen) -> str:
        times.append(clock.at)
        return answer

    return say


def test_requests_keep_below_their_limit(server: ChatServer):
    clock, times = Clock(), list[float]()
    made = model_of(server, api={"requests_per_minute": 30, "concurrency": 1})
    made._client = Client(made.weights, clock.now, clock.sleep)
    server.answer = noting(times, clock, "yes")
    said(made, *(asked(f"{n}") for n in range(5)))
    assert times == [1000.0, 1002.0, 1004.0, 1006.0, 1008.0]


def test_tokens_keep_below_theirs_by_what_the_server_counted(server: ChatServer):
    clock, times = Clock(), list[float]()
    made = model_of(server, api={"tokens_per_minute": 6000, "concurrency": 1})
    client = Client(made.weights, clock.now, clock.sleep)
    server.answer = noting(times, clock, "word " * 100)  # 200 tokens with the prompt's
    bodies = [{"model": "tiny-chat", "messages": made.messages(asked(f"{n}"))} for n in range(3)]
    client.ask([Request(body, tokens=1000) for body in bodies])
    assert times == [1000.0, 1002.0, 1004.0]


def test_a_failed_request_gives_its_tokens_back(server: ChatServer):
    clock = Clock()
    made = model_of(server, api={"tokens_per_minute": 60, "concurrency": 1})
    client = Client(made.weights, clock.now, clock.sleep, chance=lambda: 0.0)
    server.faults.append(Fault(500))
    client.ask([Request({"model": "tiny-chat", "messages": made.messages(asked())}, tokens=600)])
    assert sum(clock.waits) == 0


def test_those_who_wait_end_with_the_run_and_its_own_error_is_told(server: ChatServer):
    server.fault_for["a"] = Fault(503, headers={"Retry-After": "60"}, seconds=2)  # when b has been asked
    server.fault_for["b"] = Fault(401, "no such key", seconds=3)
    started = time.monotonic()
    with pytest.raises(AdapterError, match="no such key"):
        said(model_of(server, api={"concurrency": 2}), *map(asked, "abcd"))
    assert time.monotonic() - started < 20
    assert sorted(seen.words for seen in server.seen) == ["a", "b"]


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_server_that_repeats_the_key_is_not_repeated(server: ChatServer, status: int):
    server.fault_for["b"] = Fault(status, f"wrong key: {KEY}")
    made = fast(model_of(server, api={"retries": 0}))
    try:
        told = str(said(made, asked("a"), asked("b")))
    except AdapterError as error:
        told = f"{error.message} {error.hint}"
    assert KEY not in told
    assert "wrong key: [key]" in told
