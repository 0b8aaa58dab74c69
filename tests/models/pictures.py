"""Images and sounds that dual encoders embed in tests, and the adapters around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from harness.data.image import DecodedImage
from harness.models import TrainedAdapter, load
from harness.models.dual_encoder import DualEncoder
from harness.types import Sample
from tests.tasks import task_of


def picture(seed: int = 0, size: tuple[int, int] = (30, 20)) -> DecodedImage:
    """Coloured noise of this width and height."""
    width, height = size
    return DecodedImage(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def image_sample(seed: int = 0, size: tuple[int, int] = (30, 20), *, target: Any = "a dog") -> Sample:
    return Sample(f"image {seed}", {"image": picture(seed, size)}, target, f"{seed}")


def text_sample(text: Any) -> Sample:
    return Sample(f"text {text}", {"text": text}, "", "")


def dual_encoder(
    folder: Path,
    kind: str = "zero_shot_classification",
    *,
    column: str = "image",
    classes: Sequence[str] | None = None,
    adapter: TrainedAdapter | None = None,
    dtype: str = "auto",
    sections: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """The checkpoint in `folder`, ready for a task of this kind on the CPU; `sections` are its others."""
    metrics = {"retrieval": "recall@1"}.get(kind, "accuracy")
    model = {"checkpoint": str(folder), "dtype": dtype}
    task = task_of(folder, kind, column=column, metrics=[metrics], model=model, **sections)
    made = load(task, base=folder, classes=classes, device="cpu", adapter=adapter)
    assert isinstance(made, DualEncoder)
    return made


def embeddings(made: Any, samples: Sequence[Sample]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What a family says of samples, as one batch, (samples, dimensions)."""
    return np.stack([output.output for output in made.predict(made.encode(samples))])
