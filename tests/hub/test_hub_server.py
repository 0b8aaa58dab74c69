"""The local hub answers huggingface_hub as the real one does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.hub.hub_server import Commit, HubServer

pytestmark = pytest.mark.network

SNAPSHOT = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi, snapshot_download
folder = Path(snapshot_download("owner/tiny", allow_patterns=["*.json", "*.safetensors"]))
refs = HfApi().list_repo_refs("owner/tiny")
files = {file.name: file.read_text() for file in folder.iterdir()}
blob = (folder / "model.safetensors").resolve().name
print(json.dumps([folder.name, files, [branch.name for branch in refs.branches], blob]))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "README.md"):
        (folder / name).write_text(f"contents of {name}")
    return folder


def test_a_snapshot_of_a_model(checkpoint: Path, tmp_path: Path) -> None:
    with HubServer({("model", "owner/tiny"): {"main": checkpoint}}) as hub:
        done = subprocess.run(
            [sys.executable, "-c", SNAPSHOT],
            env=hub.environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    commit, files, branches, blob = json.loads(done.stdout)
    assert commit == Commit(checkpoint).sha
    assert files == {name: f"contents of {name}" for name in ("config.json", "model.safetensors")}
    assert branches == ["main"]
    assert blob == Commit(checkpoint).blobs["model.safetensors"].sha256
    assert sorted(hub.downloaded()) == ["config.json", "model.safetensors"]


def test_a_change_of_contents_is_another_commit(checkpoint: Path) -> None:
    before = Commit(checkpoint).sha
    (checkpoint / "config.json").write_text("changed")
    assert Commit(checkpoint).sha != before


def test_a_part_of_a_file(checkpoint: Path) -> None:
    def part(url: str, asked: str) -> tuple[int, bytes, Any]:
        with urlopen(Request(url, headers={"Range": asked}), timeout=10) as answer:
            return answer.status, answer.read(), answer.headers["Content-Range"]

    with HubServer({("model", "owner/tiny"): {"main": checkpoint}}) as hub:
        url = f"{hub.url}/owner/tiny/resolve/main/config.json"
        assert part(url, "bytes=9-10") == (206, b"of", "bytes 9-10/23")
        assert part(url, "bytes=12-") == (206, b"config.json", "bytes 12-22/23")
