"""A local hub with two datasets, and a way to load from it in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub.hub_server import HubServer, RepoKey
from tests.hub.repositories import audio_folder, configured, fleurs, image_folder, labelled, shards

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[RepoKey, dict[str, Path]]:
    root = tmp_path_factory.mktemp("repositories")
    return {
        ("dataset", "google/fleurs"): fleurs(root / "fleurs"),
        ("dataset", "org/clips"): configured(root / "clips"),
        ("dataset", "org/folder"): audio_folder(root / "folder"),
        ("dataset", "org/images"): image_folder(root / "images"),
        ("dataset", "org/shards"): shards(root / "shards"),
        ("dataset", "org/labelled"): labelled(root / "labelled"),
    }


@pytest.fixture
def hub(repositories: dict[RepoKey, dict[str, Path]]) -> Iterator[HubServer]:
    with HubServer(repositories) as server:
        yield server


@pytest.fixture
def ask(hub: HubServer, tmp_path: Path) -> Callable[..., Any]:
    """`ask({"do": "load", "data": {...}})`: what came of it in a process whose hub this is."""

    def run(*jobs: dict[str, Any], **variables: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("load_data.py")), json.dumps(jobs)],
            env=hub.environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT), **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers

    return run
