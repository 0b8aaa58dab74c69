"""Loads or fetches what its argument asks for, and prints what came of it; run where HF_ENDPOINT is set.

python load_data.py '[{"do": "load", "data": {...}, "limit": 2}, {"do": "fetch", "data": {...}}]'
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harness.data import fetch, load
from harness.errors import HarnessError
from harness.spec.classes import Classes
from harness.spec.schema import Data
from harness.types import Audio, Image


def main() -> None:
    print(json.dumps([answer(dict(job)) for job in json.loads(sys.argv[1])]))


def answer(job: dict[str, Any]) -> dict[str, Any]:
    data = Data(**job.pop("data"))
    if "classes" in job:
        job |= {"classes": Classes(**job["classes"])}
    try:
        if job.pop("do") == "fetch":
            return {"files": [[file.path, file.bytes] for file in fetch(data, base=Path(), **job)]}
        return loaded(data, job)
    except HarnessError as error:
        kind = type(error).__name__
        return {"error": kind, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}


def loaded(data: Data, options: dict[str, Any]) -> dict[str, Any]:
    inputs = tuple(name for name in ("audio", "image") if name in data.columns)
    dataset = load(data, base=Path(), inputs=inputs, **options)
    windows = list(dataset.windows())
    samples = [sample for window in windows for sample in window]
    return {
        "revision": dataset.revision,
        "size": dataset.size,
        "ids": [sample_id for window in windows for sample_id in window.ids],
        "targets": [sample.target for sample in samples],
        "seconds": [
            audio.seconds() for sample in samples if isinstance(audio := sample.inputs.get("audio"), Audio)
        ],
        "sizes": [
            image.load().size for sample in samples if isinstance(image := sample.inputs.get("image"), Image)
        ],
        "class_names": dataset.class_names,
    }


if __name__ == "__main__":
    main()
