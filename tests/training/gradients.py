"""Look at a training's gradients; as a script under torch.distributed.run, those of each process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from harness.processes import processes
from harness.training.fine_tune import fine_tune
from harness.training.watcher import Watcher
from tests.training.jobs import job


@contextmanager
def watched() -> Iterator[list[dict[str, torch.Tensor]]]:
    """Within this block every step's gradients, by parameter, are added to the list."""
    found: list[dict[str, torch.Tensor]] = []
    original = Watcher.on_pre_optimizer_step

    def look(self: Watcher, *arguments: Any, **settings: Any) -> None:
        found.append(
            {
                name: parameter.grad.clone()
                for name, parameter in self._tuning.network.named_parameters()
                if parameter.requires_grad and parameter.grad is not None
            }
        )
        original(self, *arguments, **settings)

    Watcher.on_pre_optimizer_step = look  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Watcher.on_pre_optimizer_step = original  # type: ignore[method-assign]


def main(folder: Path, base: Path, train: dict[str, Any]) -> None:
    """Train in this process among others and write its gradients, step by step."""
    torch.set_num_threads(1)
    mine = processes()
    with watched() as found:
        fine_tune(job(folder, train, base=base, processes=mine))
    for step, gradients in enumerate(found):
        save_file(gradients, folder / f"gradients-{mine.rank}-{step}.safetensors")


if __name__ == "__main__":
    import os

    os.environ["ACCELERATE_USE_CPU"] = "true"
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
