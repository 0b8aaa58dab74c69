"""The family `openai` against a test's server, and samples to ask it about."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from harness.data.image import EncodedImage
from harness.models import load
from harness.models.base import PartlyFailedError
from harness.models.openai import OpenAI
from harness.models.openai_client import Client
from harness.types import Failure, Output, Sample
from tests.models.openai_server import ChatServer
from tests.tasks import task_of

KEY = "sk-test-0123456789abcdefABCDEF"


def model_of(server: ChatServer, kind: str = "vqa", *, column: str = "image", **sections: Any) -> OpenAI:
    """The family for a task that asks this server; `api` and others are sections of the task."""
    api = {"base_url": server.url, **sections.pop("api", {})}
    columns = {"question": "question", "target": "target"} | ({column: column} if column else {})
    data = {"path": "nowhere", "columns": sections.pop("columns", columns)}
    model = {"checkpoint": "tiny-chat", "family": "openai", "api": api}
    task = task_of("tiny-chat", kind, model=model, data=data, **sections)
    made = load(task, base=Path())
    assert isinstance(made, OpenAI)
    return made


def fast(made: OpenAI) -> OpenAI:
    """The same, without waiting between tries."""
    made._client = Client(made.weights, chance=lambda: 0.0)
    return made


def png(size: tuple[int, int] = (8, 6), mode: str = "RGB", form: str = "PNG", **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], len(mode)), dtype=np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(pixels, mode).save(buffer, form, **options)
    return buffer.getvalue()


def asked(question: str = "what?", image: Any = None, **inputs: Any) -> Sample:
    image = image or EncodedImage(png())
    return Sample(question, {"question": question, "image": image, **inputs}, "yes", question)


def said(made: OpenAI, *samples: Sample) -> list[Output | Failure]:
    """What came of each sample."""
    try:
        return list(made.predict(made.encode(samples)))
    except PartlyFailedError as partly:
        return partly.outcomes
