"""Memory of a run of 100,000 samples over one of 1,000, through the dummy model: at most 200 MB more."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (1_000, 100_000)
LIMIT_BYTES = 200e6


def main() -> None:
    peaks = []
    for size in SIZES:
        began = time.perf_counter()
        peaks.append(peak_bytes(size))
        print(f"{size:>7} samples: peak {peaks[-1] / 1e6:.0f} MB, {time.perf_counter() - began:.0f} s")
    more = peaks[1] - peaks[0]
    print(f"100,000 samples need {more / 1e6:.0f} MB more than 1,000 (limit {LIMIT_BYTES / 1e6:.0f} MB)")
    assert more <= LIMIT_BYTES


def peak_bytes(size: int) -> int:
    """Peak resident memory of `harness run` on `size` dummy clips, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, str(size)], check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


def run(size: int) -> None:
    """Run the task here and print this process's peak memory in bytes."""
    from harness.cli import main as harness

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "config.json").write_text(
            '{"model_type": "harness-dummy", "error_rate": 0.1}'
        )
        task = {
            "name": "memory",
            "kind": "asr",
            "data": {
                "path": "synthetic:dummy",
                "options": {"n": size, "seconds": [0.05, 0.1]},
                "columns": {"audio": "audio", "target": "target", "id": "id"},
            },
            "model": {"checkpoint": "./checkpoint"},
            "metrics": ["wer"],
            "run": {"batch_size": 64},
        }
        (folder / "task.yaml").write_text(json.dumps(task))
        import os

        os.environ["HARNESS_CACHE"] = str(folder / "cache")
        assert harness(["run", str(folder / "task.yaml"), "--results", str(folder / "results")]) == 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    run(int(sys.argv[1])) if len(sys.argv) > 1 else main()
