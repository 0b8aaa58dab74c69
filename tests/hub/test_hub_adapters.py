"""Adapters from a hub: fetched once, then used without it; what is no adapter is said so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.models import TrainedAdapter
from tests.hub.hub_server import HubServer
from tests.models.tiny import tiny_whisper

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[2]
NAME = "org/whisper-small-digits"
RESOLVE = """
import json, sys
from pathlib import Path
from harness.errors import HarnessError
from harness.models import resolve_adapter
name, offline = json.loads(sys.argv[1])
try:
    found = resolve_adapter(name, base=Path(), offline=offline)
    answer = {"revision": found.revision, "digest": found.digest(), "parameters": found.parameters()}
    answer |= {"dtype": found.dtype(), "files": sorted(path.name for path in found.folder.iterdir())}
except HarnessError as error:
    answer = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with an adapter, its manifest and sidecar, and what else lies there."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models") / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    (folder / "harness.json").write_text(json.dumps({"format": 1, "dtype": "bfloat16"}))
    save_file(
        {"base_model.model.q_proj.lora_A.weight": torch.ones(2, 3)}, folder / "adapter_model.safetensors"
    )
    save_file({"gate": torch.ones(1)}, folder / "extra_parameters.safetensors")
    for other in ("README.md", "curve.png", "optimizer.bin"):
        (folder / other).write_text(other)
    return folder


@pytest.fixture
def hub(folder: Path, tmp_path: Path) -> Iterator[HubServer]:
    whole = tiny_whisper(tmp_path / "whole")
    with HubServer({("model", NAME): {"main": folder}, ("model", "org/whole"): {"main": whole}}) as server:
        yield server


@pytest.fixture
def ask(hub: HubServer, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(name: str = NAME, *, offline: bool = False) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", RESOLVE, json.dumps([name, offline])],
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


def test_adapter_comes_once_and_then_offline(hub: HubServer, ask: Callable[..., Any], folder: Path) -> None:
    assert "not on this machine" in ask(offline=True)["message"]
    found = ask()
    local = TrainedAdapter("local", folder)
    assert (found["digest"], found["parameters"]) == (local.digest(), 7)
    assert found["dtype"] == "bfloat16"
    assert len(found["revision"]) == 40
    assert found["files"] == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "extra_parameters.safetensors",
        "harness.json",
    ]
    hub.stop()
    assert ask(offline=True) == found
    gone = ask()
    assert (gone["error"], "could not be reached" in gone["message"]) == ("RemoteError", True)


def test_adapter_without_its_weights_offline(hub: HubServer, ask: Callable[..., Any]) -> None:
    hub.fail(r"resolve/.*\.safetensors", status=403)  # a 503 would be tried again for long
    assert ask()["error"] == "RemoteError"
    hub.stop()
    assert "not on this machine" in ask(offline=True)["message"]


def test_what_is_no_adapter(ask: Callable[..., Any]) -> None:
    whole = ask("org/whole")
    assert "no adapter_config.json" in whole["message"]
    assert "--model" in whole["hint"]
    assert ask("org/nothing")["error"] == "NotThereError"
