"""A dual encoder without a network: an image is its own embedding, and a table has those of texts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from harness.data import Dataset
from harness.data.dataset import make_dataset
from harness.data.labels import labels
from harness.data.rows import ListRows, Request
from harness.data.samples import SampleMaker
from harness.data.targets import Captions
from harness.errors import PredictionError, RowError
from harness.evaluation.answers import Answers, Engines
from harness.evaluation.heads import Outcome
from harness.models.base import Adapter, AdapterInfo, Batch, Rendered, Similarity
from harness.processes import Processes
from harness.types import Image, Json, Output, Sample
from tests.tasks import task_of

ZERO = 100
"""The brightness that stands for 0."""


def shown(*values: int) -> bytes:
    """A picture, a pixel high, whose embedding has these values; no pixel is darker than -100."""
    row = np.array([[[value + ZERO] * 3 for value in values]], np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(row).save(buffer, "PNG")
    return buffer.getvalue()


class Table(Adapter):
    """Embeds pictures as `shown` made them and texts as `texts` has them; keeps what it was asked for."""

    info = AdapterInfo(
        family="table", version="1", modes=frozenset({"embed"}), modalities=frozenset({"image", "text"})
    )

    def __init__(
        self, texts: Mapping[str, Sequence[float]] | None = None, similarity: Similarity | None = None
    ) -> None:
        self.texts = texts or {}
        self.images_asked = 0
        self.texts_asked: list[str] = []
        self._similarity = similarity or Similarity(1.0)

    def request(self, sample: Sample) -> Json:
        text = sample.inputs.get("text")
        return {"embed": "text", "text": text} if isinstance(text, str) else {"embed": "image"}

    def cost(self, sample: Sample) -> float:
        image = sample.inputs.get("image")
        return float(image.size()[0]) if isinstance(image, Image) else 1.0

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        return Batch(samples, {"vectors": [self._vector(sample) for sample in samples]})

    def _vector(self, sample: Sample) -> Any:
        image = sample.inputs.get("image")
        if not isinstance(image, Image):
            return sample.inputs["text"]
        return np.asarray(image.load(), np.float32)[0, :, 0] - ZERO

    def prepare(self) -> None: ...

    def predict(self, batch: Batch) -> list[Output]:
        outputs = []
        for vector in batch.tensors["vectors"]:
            if isinstance(vector, str):
                self.texts_asked.append(vector)
                if vector not in self.texts:
                    raise PredictionError(f"'{vector}' is too long")
                outputs.append(Output(np.asarray(self.texts[vector], np.float32)))
            else:
                self.images_asked += 1
                outputs.append(Output(vector))
        return outputs

    def render(self, sample: Sample) -> Rendered:
        raise RowError("there is nothing to see")

    def similarity(self) -> Similarity:
        return self._similarity


def pictures(
    rows: Sequence[tuple[bytes, Any]],
    kind: str = "zero_shot_classification",
    names: Sequence[str] | None = None,
    *,
    split: str = "test",
    multilabel: bool = False,
) -> Dataset:
    """A dataset of encoded pictures and their targets; ids are row numbers."""
    columns = {"image": "image", "target": "target"}
    targets = Captions() if kind == "retrieval" else labels(names, None, "rows", multilabel=multilabel)
    table = ListRows([{"image": image, "target": target} for image, target in rows], ("image", "target"))
    return make_dataset(table, SampleMaker(columns, ("image",), None, targets), Request("rows", split))


def engines(adapter: Adapter, context: Path, **options: Any) -> Engines:
    """Engines of this process, in batches of three."""
    options = {"batch_size": 3, "workers": 1, "show_progress": False, **options}
    return Engines(adapter, context, processes=Processes(), **options)


def answers(
    adapter: Adapter,
    dataset: Dataset,
    context: Path,
    kind: str = "zero_shot_classification",
    splits: Mapping[str, Dataset] | None = None,
    **sections: Any,
) -> list[Outcome]:
    """Outcomes of a task of this kind, with `sections` of the task file."""
    task = task_of("nowhere", kind, column="image", **sections)
    made = Answers(task, dataset, engines(adapter, context), lambda purpose: (splits or {})[purpose])
    return list(made.run())
