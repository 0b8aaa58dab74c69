"""A training in a process of its own, for tests that kill it. Slowed down where the environment says so."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from harness.errors import RunError
from harness.training.checkpoints import Checkpoints
from harness.training.fine_tune import fine_tune
from harness.training.watcher import Watcher
from tests.training.jobs import job
from tests.training.test_resume import score


def slow_down() -> None:
    """Make steps and the second checkpoint's writing long enough to be hit."""
    per_step = float(os.environ.get("HARNESS_TEST_STEP_SECONDS", "0"))
    writing = float(os.environ.get("HARNESS_TEST_WRITE_SECONDS", "0"))
    end, publish = Watcher.on_step_end, Checkpoints.publish

    def slow_end(self: Watcher, *arguments: Any, **settings: Any) -> None:
        time.sleep(per_step)
        end(self, *arguments, **settings)

    def slow_publish(self: Checkpoints, step: int, best: int | None = None) -> Path:
        if step > 4:
            time.sleep(writing)
        return publish(self, step, best)

    Watcher.on_step_end = slow_end  # type: ignore[method-assign]
    Checkpoints.publish = slow_publish  # type: ignore[method-assign]


if __name__ == "__main__":
    slow_down()
    folder, base, train = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    try:
        fine_tune(job(folder, train, evaluate=score, base=base, dropout=0.1))
    except RunError as error:
        print(error.message, error.hint, file=sys.stderr)
        raise SystemExit(3) from error
