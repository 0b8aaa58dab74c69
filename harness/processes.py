"""The processes that share a run, when it was started by `accelerate launch`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
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

    def collect(self, value: T) -> list[T]:
        """Every process's value, in every process."""
        if self.world == 1:
            return [value]
        from accelerate.utils import gather_object

        return list(gather_object([value]))

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.state is not None:
            self.state.wait_for_everyone()

    def leave(self) -> None:
        """Part from the others once all are done: whoever just exits may be aborted by threads of torch's
        that still talk to the rest."""
        if self.state is not None:
            self.wait()
            self.state.destroy_process_group()


def join_the_others(arguments: Sequence[str]) -> None:
    """Become the launcher of the processes that `accelerate launch --cpu --num_processes N` was asked for.

    accelerate 1.15 starts a single one on a CPU unless it is given an MPI host file. Returns when there is
    nothing to do, else never: this process is replaced by torch's launcher.
    """
    started_alone = "WORLD_SIZE" not in os.environ and "MASTER_PORT" in os.environ
    if not (started_alone and _on_cpu()) or (count := _asked_for()) < 2:
        return
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    os.execv(sys.executable, [sys.executable, *launcher, "-m", "harness", *arguments])  # noqa: S606


def _asked_for() -> int:
    """`--num_processes` of the launcher that started this process; 1 when it can't be told."""
    import psutil

    parent = psutil.Process().parent()
    words = parent.cmdline() if parent else []
    for place, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in ("--num_processes", "--num-processes"):
            value = value or words[place + 1]
            return int(value) if value.isdigit() else 1
    return 1


def _on_cpu() -> bool:
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")


def processes() -> Processes:
    """The processes of this run, read from the launcher's environment."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    from accelerate import PartialState

    state = PartialState(cpu=_on_cpu(), timeout=LONGEST_WAIT)
    return Processes(state.process_index, state.num_processes, state)
