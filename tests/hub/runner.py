"""Commands of the harness in a process of their own, whose hub is a test's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from tests.hub.hub_server import HubServer

ROOT = Path(__file__).parents[2]
Run: TypeAlias = "Callable[..., list[dict[str, Any]]]"


def runner(hub: HubServer, folder: Path) -> Run:
    """`run([["eval", "cifar10"], ...])`: what came of the commands with --json, in one process.

    Each must end with `code`. Caches are below `folder`, where commands run unless they are given `cwd`.
    """
    own = {"PYTHONPATH": str(ROOT), "HARNESS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    def run(commands: Sequence[Sequence[str]], cwd: Path = folder, code: int = 0) -> list[dict[str, Any]]:
        asked = json.dumps([[*command, "--json"] for command in commands])
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("run_commands.py")), asked],
            cwd=cwd,
            env=hub.environment(folder / "home") | own,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        finished = json.loads(done.stdout)
        for command, one in zip(commands, finished, strict=True):
            assert one["code"] == code, f"{command}\n{one['err']}"
        return [json.loads(one["out"]) for one in finished]

    return run
