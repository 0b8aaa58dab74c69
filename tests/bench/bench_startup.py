"""How long `harness --help` takes: the median of ten starts, limit 0.3 s."""

import statistics
import subprocess
import sys
import time

STARTS = 10
LIMIT_SECONDS = 0.3


def main() -> None:
    seconds = [_start() for _ in range(STARTS)]
    median = statistics.median(seconds)
    print(f"harness --help: median {median:.3f} s of {STARTS}, slowest {max(seconds):.3f} s")
    assert median < LIMIT_SECONDS, f"limit {LIMIT_SECONDS} s"


def _start() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "harness", "--help"], check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
