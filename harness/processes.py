"""The processes that share a run, when it was started by `accelerate launch`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

LONGEST_WAIT = timedelta(hours=24)
"""One process may plan or finish a long batch while the others wait; the launcher ends them if it dies."""


@dataclass(frozen=True)
class Processes:
    """This process's `rank` among `world` processes; alone by default."""

    rank: int = 0
    world: int = 1
    state: Any = None

    @property
    def main(self) -> bool:
        """Whether this process plans, writes and prints."""
        return self.rank == 0

    def share(self, value: T | None) -> T:
        """The main process's value, in every process (others pass None)."""
        if self.world > 1:
            from accelerate.utils import broadcast_object_list

            holder = [value]
            broadcast_object_list(holder)
            value = holder[0]
        return value  # type: ignore[return-value]

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.state is not None:
            self.state.wait_for_everyone()


def processes() -> Processes:
    """The processes of this run, read from the launcher's environment."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    from accelerate import PartialState

    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
    return Processes(state.process_index, state.num_processes, state)
