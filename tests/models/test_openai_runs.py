"""Whole commands against a server: records, cost, cache, kill -9, and a key that is written nowhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from harness.cli import main
from tests.conftest import Finished
from tests.models.openai_model import KEY
from tests.models.openai_server import ChatServer, Fault, Seen, serving

Write = Callable[..., Path]
Harness = Callable[..., Finished]


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as chat:
        chat.answer = answer
        yield chat


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """With a key, and no proxy or server of the machine's."""
    kept = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    return {**kept, "OPENAI_API_KEY": KEY}


def answer(seen: Seen) -> str:
    """The number in the question."""
    return seen.words.split()[-1].rstrip("?")


@pytest.fixture
def here(
    tmp_path: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Harness:
    """Like `harness`, in this process: the command line without waiting for imports each time."""
    for name in os.environ.keys() - environment.keys():
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Finished:
        code = main(arguments)
        told = capsys.readouterr()
        return Finished(code, told.out, told.err)

    return run


@pytest.fixture
def write(tmp_path: Path, server: ChatServer) -> Write:
    """Writes task.yaml: so many questions about pictures, each with a picture of its own."""

    def write(n: int = 6, model: Any = None, api: Any = None, run: Any = None, **sections: Any) -> Path:
        rows = []
        for number in range(n):
            Pillow.fromarray(np.full((4, 5, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
            rows.append({"image": f"{number}.png", "question": f"Is it {number}?", "answer": str(number)})
        (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
        task = {
            "name": "asking",
            "kind": "vqa",
            "data": {
                "path": "./test.jsonl",
                "columns": {"image": "image", "question": "question", "target": "answer"},
            },
            "model": {
                "checkpoint": "tiny-chat",
                "family": "openai",
                "api": {"base_url": server.url, "retries": 1, **(api or {})},
                **(model or {}),
            },
            "metrics": ["wer"],
            "run": run or {},
            **sections,
        }
        file = tmp_path / "task.yaml"
        file.write_text(json.dumps(task))  # JSON is YAML
        return file

    return write


def words(server: ChatServer) -> Counter[str]:
    """How often each question came in."""
    return Counter(seen.words for seen in server.seen)


def test_a_run_is_recorded_with_what_it_cost(tmp_path: Path, server: ChatServer, write: Write, here: Harness):
    write(api={"price": {"input": 2.0, "output": 5.0, "currency": "EUR"}}, run={"batch_size": 4})
    server.faults.append(Fault(503))
    server.fault_for["Is it 4?"] = Fault(400, f"too long for {KEY}", "context_length_exceeded")
    done = here("eval", "task.yaml", "--json")
    assert done.code == 4, done.err
    [record] = done.json()["runs"]
    # Five answers of 100 tokens in and 1 out: 500 * 2 / 10^6 + 5 * 5 / 10^6.
    assert record["usage"] == {
        "requests": 6,
        "retries": 1,
        "input_tokens": 500,
        "output_tokens": 5,
        "cost": pytest.approx(0.001025),
        "currency": "EUR",
        "cached": 0,
        "served": ["tiny-chat-2026-01-01 fp_44"],
    }
    assert record["model"] == record["model"] | {
        "checkpoint": "tiny-chat", "revision": None, "parameters": None, "dtype": None,
    }  # fmt: skip
    assert record["family"] == "openai"
    assert record["speed"]["device"] == server.url.removeprefix("http://").removesuffix("/v1")
    assert record["failures"]["by_type"] == {"PredictionError": 1}
    assert record["metrics"]["wer"]["value"] == 0
    assert record["metrics"]["wer"]["n"] == 5

    shown = here("show", record["run_id"][:12])
    assert "6 requests (1 retry), 500 tokens in, 5 out, 0.0010 EUR" in " ".join(shown.out.split())

    del server.fault_for["Is it 4?"]
    before = words(server)
    [again] = here("eval", "task.yaml", "--json").json()["runs"]
    assert words(server) - before == Counter({"Is it 4?": 1})  # the rest comes from the cache
    usage = again["usage"]
    assert (usage["requests"], usage["cached"], usage["cost"]) == (1, 5, pytest.approx(0.000205))
    assert again["metrics"]["wer"]["n"] == 6

    told = done.out + done.err + shown.out + shown.err
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 10
    assert KEY not in told
    assert not any(KEY.encode() in content for content in written)


def test_nothing_is_asked_twice_and_a_finished_run_needs_no_server(
    server: ChatServer, write: Write, here: Harness, harness: Harness
):
    write()
    assert here("eval", "task.yaml").code == 0
    assert set(words(server).values()) == {1}
    server.fault = lambda seen: Fault(401)  # type: ignore[method-assign]
    done = harness("eval", "task.yaml", "--offline", OPENAI_API_KEY="")
    assert done.code == 0, done.err
    assert "6 answers from the cache" in done.out
    assert len(server.seen) == 6


def test_a_killed_run_asks_only_for_the_rest(
    tmp_path: Path, server: ChatServer, write: Write, harness: Harness, environment: dict[str, str]
):
    write(n=24, run={"batch_size": 2})
    server.seconds = 0.1
    running = subprocess.Popen(
        [sys.executable, "-m", "harness", "eval", "task.yaml"],
        cwd=tmp_path, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(server.seen) < 10:
        assert time.monotonic() < deadline, "the run did not get that far"
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait(timeout=30)
    server.seconds = 0.0
    assert len(words(server)) < 24

    done = harness("eval", "task.yaml", "--json")
    assert done.code == 0, done.err
    assert len(words(server)) == 24
    assert sum(words(server).values()) <= 24 + 2 * 2  # at most what was under way
    usage = done.json()["runs"][0]["usage"]
    assert usage["requests"] + usage["cached"] == 24
    assert usage["cached"] >= 6


def test_an_outage_ends_the_run_and_the_next_goes_on(server: ChatServer, write: Write, here: Harness):
    write(n=12, api={"retries": 0, "give_up_after": 3}, run={"batch_size": 3})
    answered = iter(range(6))
    server.fault = lambda seen: None if next(answered, None) is not None else Fault(503)  # type: ignore[method-assign]
    done = here("eval", "task.yaml")
    assert done.code == 3, done.err
    assert "failed on 3 samples in a row: HTTP 503" in done.err
    assert "run the same command" in done.err
    assert not Path("results/runs").exists()
    server.fault = lambda seen: None  # type: ignore[method-assign]
    usage = here("eval", "task.yaml", "--json").json()["runs"][0]["usage"]
    assert (usage["requests"], usage["cached"]) == (6, 6)


def test_requests_that_are_all_refused_are_a_broken_run(server: ChatServer, write: Write, here: Harness):
    write(n=40, run={"batch_size": 4})
    server.fault = lambda seen: Fault(400, "temperature must be 1")  # type: ignore[method-assign]
    done = here("eval", "task.yaml")
    assert done.code == 3
    assert "failed on every sample of its first batch" in done.err
    assert "HTTP 400: temperature must be 1" in done.err
    assert len(server.seen) == 4


def test_a_refused_key_ends_the_run(server: ChatServer, write: Write, here: Harness):
    write(n=40)
    server.fault = lambda seen: Fault(401, f"no such key: {KEY}")  # type: ignore[method-assign]
    done = here("eval", "task.yaml")
    assert done.code == 2
    assert "refused the key: HTTP 401: no such key: [key]" in done.err
    assert "environment variable OPENAI_API_KEY" in done.err
    assert KEY not in done.out + done.err
    assert len(server.seen) < 20


def test_what_needs_weights_says_why_not(tmp_path: Path, server: ChatServer, write: Write, here: Harness):
    write(train={"method": "lora", "steps": 1, "data": {"path": "./learned.jsonl"}})
    (tmp_path / "learned.jsonl").write_text((tmp_path / "test.jsonl").read_text())
    for command in (["run"], ["train"], ["run", "--dry-run"]):
        done = here(*command, "task.yaml")
        assert done.code == 2, done.err
        assert "can't be fine-tuned: its weights are on a server" in done.err
    done = here("eval", "task.yaml", "--adapter", "somewhere")
    assert done.code == 2
    assert "tiny-chat runs on a server, so no adapter can be put into it" in done.err
    assert server.seen == []


def test_a_dry_run_and_a_fetch_ask_nothing(server: ChatServer, write: Write, here: Harness):
    write()
    done = here("eval", "task.yaml", "--dry-run")
    assert done.code == 0, done.err
    assert "Is it 0?" in done.out
    assert server.url in done.out
    done = here("fetch", "task.yaml")
    assert done.code == 0, done.err
    assert f"tiny-chat at {server.url} (nothing to download)" in done.err
    assert "All but the server is here" in done.out
    assert server.seen == []


def test_offline_asks_no_server_elsewhere(write: Write, harness: Harness):
    write(api={"base_url": "https://models.example/v1"})
    done = harness("eval", "task.yaml", "--offline")
    assert done.code == 2
    assert "runs at https://models.example/v1, where --offline forbids to ask" in done.err


@pytest.mark.parametrize(
    ("api", "message"),
    [
        ({"key": KEY}, "looks like a key"),
        ({"key_variable": KEY}, "looks like a key"),
        ({"key_variable": "my key"}, "not the name of an environment variable"),
        ({"base_url": "http://me:secret-word@localhost/v1"}, "no user, password or parameters"),
        ({"base_url": "localhost:8000"}, "not an address such as http://localhost:8000/v1"),
        ({"body": {"api_key": "secret-word"}}, "'api_key' would hold a secret"),
        ({"body": {"temperature": 1}}, "'temperature' is decided by generate.temperature"),
        ({"body": {"headers": {"Authorization": "Bearer secret-word"}}}, "looks like a key"),
    ],
)
def test_a_key_in_a_task_file_is_refused_and_not_repeated(
    write: Write, here: Harness, api: Any, message: str
):
    write(api=api)
    done = here("validate", "task.yaml")
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert "secret-word" not in done.out + done.err
    assert KEY not in done.out + done.err


def test_a_key_on_the_command_line_is_not_repeated(write: Write, here: Harness):
    write()
    done = here("eval", "task.yaml", "--set", f"model.api.key_variable={KEY}")
    assert done.code == 2
    assert "looks like a key" in done.err
    assert KEY not in done.out + done.err


def test_an_api_needs_its_family(write: Write, here: Harness):
    write(model={"family": None})
    done = here("validate", "task.yaml")
    assert done.code == 2
    assert "say family: openai" in done.err


def test_the_family_is_listed(here: Harness):
    done = here("list", "models")
    assert "openai" in done.out
    assert "model.family names it" in " ".join(done.out.split())
