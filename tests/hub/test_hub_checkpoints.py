"""Checkpoints from a hub: what is downloaded, what works without it, what its errors say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.models import resolve
from tests.hub.hub_server import HubServer
from tests.models.tiny import tiny_whisper

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[2]
NAME = "openai/whisper-small"
LOAD = """
import json, sys
from pathlib import Path
from harness.errors import HarnessError
from harness.models import resolve
name, revision, offline, complete = json.loads(sys.argv[1])
try:
    found = resolve(name, revision, base=Path(), offline=offline)
    answer = {"type": found.config()["model_type"], "revision": found.revision}
    if complete:
        answer |= {"files": [path.name for path in found.files()], "digest": found.digest()}
        answer |= {"bytes": found.bytes(), "parameters": found.parameters()}
except HarnessError as error:
    answer = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as they are: weights in several formats, a card, another framework's copy."""
    folder = tiny_whisper(tmp_path_factory.mktemp("models") / "whisper")
    for extra in ("README.md", ".gitattributes", "pytorch_model.bin", "flax_model.msgpack"):
        (folder / extra).write_text(extra)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    return folder


@pytest.fixture
def hub(folder: Path, tmp_path: Path) -> Iterator[HubServer]:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "README.md").write_text("Nothing here.")
    with HubServer({("model", NAME): {"main": folder}, ("model", "org/empty"): {"main": empty}}) as server:
        yield server


@pytest.fixture
def ask(hub: HubServer, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(
        name: str = NAME, revision: str | None = None, *, offline: bool = False, complete: bool = True
    ) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", LOAD, json.dumps([name, revision, offline, complete])],
            env=hub.environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return run


def test_config_comes_first_and_alone(hub: HubServer, ask: Callable[..., Any]) -> None:
    assert ask(complete=False)["type"] == "whisper"
    assert {Path(path).name for path in hub.downloaded()} == {"config.json"}


def test_what_is_needed_comes_once_and_then_offline(
    hub: HubServer, ask: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    found = ask()
    local = resolve(str(folder), None, base=Path(), offline=True)
    assert found["files"] == [path.name for path in local.files()]
    assert "pytorch_model.bin" not in found["files"]
    fetched = {Path(path).name for path in hub.downloaded()}
    assert fetched.isdisjoint({"README.md", "pytorch_model.bin", "flax_model.msgpack"})
    assert (found["digest"], found["bytes"]) == (local.digest(), local.bytes())
    assert found["parameters"] == local.parameters()
    assert len(found["revision"]) == 40
    hub.stop()
    assert ask(offline=True) == found
    assert ask(revision=found["revision"], offline=True) == found


def test_a_new_commit_is_another_checkpoint(hub: HubServer, ask: Callable[..., Any], folder: Path) -> None:
    before = ask()
    card = folder / "generation_config.json"
    original = card.read_text()
    try:
        card.write_text(original.replace('"max_length": 32', '"max_length": 16'))
        after = ask()
    finally:
        card.write_text(original)
    assert after["revision"] != before["revision"]
    assert after["digest"] != before["digest"]


def test_offline_without_the_weights(hub: HubServer, ask: Callable[..., Any]) -> None:
    ask(complete=False)
    hub.stop()
    assert ask(offline=True, complete=False)["type"] == "whisper"
    assert "not on this machine" in ask(offline=True)["message"]


def test_errors_name_what_is_wrong(hub: HubServer, ask: Callable[..., Any]) -> None:
    assert "not on this machine" in ask(offline=True)["message"]
    assert ask("openai/whisper-smal")["error"] == "NotThereError"
    assert "no such revision" in ask(revision="v9")["message"]
    empty = ask("org/empty")
    assert empty["error"] == "AdapterError"
    assert "no config.json" in empty["message"]
    hub.stop()
    gone = ask()
    assert gone["error"] == "RemoteError"
    assert "could not be reached" in gone["message"]
    assert "quickstart" in gone["hint"]
