"""Running out of memory, and how much of it was used."""

from __future__ import annotations

import gc
import resource
import sys
from typing import Any

_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that the device or the machine has no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def release() -> None:
    """Give back what the failed attempt held."""
    gc.collect()
    if (cuda := _cuda()) is not None:
        cuda.empty_cache()


def peak_bytes() -> int:
    """Peak memory of this process in bytes: on the GPU when there is one in use, else resident."""
    if (cuda := _cuda()) is not None and cuda.max_memory_allocated() > 0:
        return int(cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cuda() -> Any:
    """torch.cuda when torch has been imported and sees a GPU; never imports torch itself."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
