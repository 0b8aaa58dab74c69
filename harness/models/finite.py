"""Features that a network can work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import MediaError
from harness.types import Sample


def check_finite(samples: Sequence[Sample], tensors: Mapping[str, Any], what: str) -> None:
    """Raises MediaError naming the first sample with NaN or infinity; `what` begins what is said of it."""
    for tensor in tensors.values():
        if (
            not tensor.is_floating_point() or tensor.sum().isfinite()
        ):  # a sum is finite only of finite numbers
            continue
        rows = tensor.isfinite().flatten(1).all(1).tolist()
        if not all(rows):  # a sum of finite numbers can be too large
            raise MediaError(f"sample '{samples[rows.index(False)].id}' has {what} NaN or infinite")
