"""An OpenAI-compatible server on the loopback interface: it answers, and fails when it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What a request meets instead of an answer: a status with these words, after so many seconds.

    `raw` is sent as it is; a status of 0 closes the connection without a word.
    """

    status: int = 500
    message: str = "something broke"
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    raw: str | None = None

    @property
    def content(self) -> str:
        error = {"message": self.message, "type": "error", "code": self.code}
        return self.raw if self.raw is not None else json.dumps({"error": error})


@dataclass
class Seen:
    """A request that came in."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    at: float

    @property
    def words(self) -> str:
        """The text of its last turn."""
        content = self.body["messages"][-1]["content"]
        if isinstance(content, str):
            return content
        return "".join(part["text"] for part in content if part["type"] == "text")


def echo(seen: Seen) -> str:
    """An answer that tells who was asked what."""
    return f"answer to {seen.words}"


class ChatServer:
    """What came in (`seen`) and what goes out: `faults` first, one for each request; then `fault_for` words;
    then `answer`, with `finish` and counts of 100 input tokens and as many output tokens as it has words.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faults: deque[Fault] = deque()
        self.fault_for: dict[str, Fault] = {}
        self.answer: Callable[[Seen], str | None] = echo
        self.reply: Callable[[Seen], dict[str, Any]] | None = None
        self.seconds = 0.0
        self.finish = "stop"
        self.at_once = self.most_at_once = 0
        self.gate: threading.Barrier | None = None
        self.lock = threading.Lock()
        self.url = ""

    def fault(self, seen: Seen) -> Fault | None:
        with self.lock:
            if self.faults:
                return self.faults.popleft()
        return self.fault_for.get(seen.words)

    def whole(self, seen: Seen) -> dict[str, Any]:
        """The body of an answer."""
        if self.reply is not None:
            return self.reply(seen)
        text = self.answer(seen)
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": f"{seen.body['model']}-2026-01-01",
            "system_fingerprint": "fp_44",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": self.finish,
                }
            ],
            "usage": {"prompt_tokens": 100, "completion_tokens": len((text or "").split())},
        }

    def events(self, seen: Seen) -> Iterator[str]:
        """The same as server-sent events, a word each."""
        words = (self.answer(seen) or "").split(" ")
        for place, word in enumerate(words):
            delta = {"content": word if place == 0 else f" {word}"}
            yield json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        yield json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": self.finish}]})
        yield json.dumps({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": len(words)}})
        yield "[DONE]"

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            with self.lock:
                self.at_once -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    chat: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seen = Seen(self.path, dict(self.headers), body, time.monotonic())
        with self.chat.lock:
            self.chat.seen.append(seen)
        with self.chat.counted():
            self._answer(seen)

    def _answer(self, seen: Seen) -> None:
        if self.chat.gate is not None:
            self.chat.gate.wait(timeout=10)
        fault = self.chat.fault(seen)
        if fault is not None:
            time.sleep(fault.seconds)
            if fault.status == 0:
                self.close_connection = True
                return
            self._send(fault.status, fault.content.encode(), fault.headers)
        elif seen.body.get("stream"):
            events = "".join(f"data: {event}\n\n" for event in self.chat.events(seen))
            self._send(200, events.encode(), {"Content-Type": "text/event-stream"})
        else:
            time.sleep(self.chat.seconds)
            self._send(200, json.dumps(self.chat.whole(seen)).encode(), {})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing on the screen."""


@contextmanager
def serving() -> Iterator[ChatServer]:
    """A server of its own, listening at its `url`."""
    chat = ChatServer()
    handler = type("Handler", (_Handler,), {"chat": chat})
    with _Quiet(("127.0.0.1", 0), handler) as server:
        chat.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield chat
        finally:
            server.shutdown()
            thread.join()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away (killed, out of patience) is no news."""
