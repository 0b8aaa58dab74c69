"""A prediction as the journal keeps it: a JSON object, an embedding as the base64 of its float32 numbers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import PredictionError, RunError
from harness.types import Answer, Failure, Output, Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STORED = np.dtype("<f4")


def entry(outcome: Output | Failure, seconds: float) -> dict[str, Any]:
    """What became of a sample, `seconds` being its share of the time; `prediction` reads it."""
    if isinstance(outcome, Failure):
        return {"error": {"type": outcome.type, "message": outcome.message}}
    output = outcome.output
    return {
        "output": _packed(output) if isinstance(output, np.ndarray) else output,
        "vector": output.size if isinstance(output, np.ndarray) else None,
        "tokens": outcome.tokens,
        "truncated": outcome.truncated,
        "extras": dict(outcome.extras),
        "elapsed": seconds,
    }


def sound(output: Output | Failure) -> Output | Failure:
    """The output; a failure when it is an embedding with NaN or infinity in it, which no head can read."""
    if isinstance(output, Failure):
        return output
    if isinstance(output.output, np.ndarray) and not np.isfinite(output.output).all():
        return Failure.of(PredictionError("the embedding has non-finite numbers (NaN or infinity)"))
    return output


def prediction(id_: str, row: Mapping[str, Any], media_seconds: float) -> Prediction:
    """The prediction in a row of the journal. Raises RunError when its embedding isn't whole."""
    if row["error"] is not None:
        return Prediction(id_, None, media_seconds=media_seconds, error=Failure(**row["error"]))
    return Prediction(
        id_,
        _answer(id_, row),
        row["tokens"],
        row["truncated"],
        row["extras"],
        media_seconds=media_seconds,
        elapsed_seconds=row["elapsed"],
        fresh=row["fresh"],
    )


def _packed(vector: NDArray[np.float32]) -> str:
    if vector.ndim != 1:
        raise RunError(f"an embedding has the shape {vector.shape}, not (dimensions,)")
    return base64.b64encode(vector.astype(_STORED, copy=False).tobytes()).decode()


def _answer(id_: str, row: Mapping[str, Any]) -> Answer:
    dimensions, output = row.get("vector"), row["output"]
    if dimensions is None:
        return output  # type: ignore[no-any-return]
    try:
        vector = np.frombuffer(base64.b64decode(output, validate=True), dtype=_STORED)
    except (binascii.Error, TypeError, ValueError) as error:
        raise _damaged(id_, str(error)) from error
    if vector.size != dimensions:
        raise _damaged(id_, f"{vector.size} of {dimensions} numbers")
    return vector.astype(np.float32, copy=False)


def _damaged(id_: str, how: str) -> RunError:
    hint = "Run again with --no-cache, or delete the folder that HARNESS_CACHE names."
    return RunError(f"the prediction cache holds a damaged embedding of {id_}: {how}", hint)
