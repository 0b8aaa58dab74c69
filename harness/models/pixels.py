"""A small copy of an image as its own embedding: what a linear probe makes of it is the plainest baseline.

Its checkpoint is a folder with a config.json whose `model_type` is "harness-pixels" and whose other keys are
`Options`; there are no weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import AdapterError, RowError
from harness.models.base import Adapter, AdapterInfo, Batch, Rendered
from harness.types import Image, Json, Output, Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as PillowImage

    from harness.models.weights import Weights
    from harness.spec.schema import Task


class Options(BaseModel):
    """What the config.json of a pixels checkpoint may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_type: str
    """Always "harness-pixels"."""
    size: int = Field(ge=1, le=512)
    """Width and height of the copy, in pixels."""
    greyscale: bool = False
    """One value for each pixel (luma, ITU-R 601) in place of three."""


class Pixels(Adapter):
    """Embeds an image as its pixels, scaled down by averaging, row by row, in [0, 1]."""

    info = AdapterInfo(
        family="pixels", version="1", modes=frozenset({"embed"}), modalities=frozenset({"image"})
    )

    @classmethod
    def for_task(
        cls,
        weights: Weights,
        task: Task,
        classes: Sequence[str] | None = None,  # noqa: ARG003 - of no use to an embedding
    ) -> Pixels:
        """Raises AdapterError for a task without images, and for options that there aren't."""
        if "image" not in task.inputs:
            raise AdapterError(f"family 'pixels' embeds images, the task has {' and '.join(task.inputs)}")
        if task.kind != "linear_probe":
            raise AdapterError(
                f"family 'pixels' embeds no texts, which kind '{task.kind}' compares images with",
                "Set kind to linear_probe, or choose another checkpoint with --model.",
            )
        return cls(weights)

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        try:
            self.options = Options(**weights.checkpoint.config())
        except ValidationError as error:
            raise AdapterError(f"the options of the pixels of {weights.checkpoint.name}: {error}") from error

    def request(self, sample: Sample) -> Json:
        """Nothing but the image decides."""
        return {"embed": "image"}

    def cost(self, sample: Sample) -> float:
        """All images cost the same."""
        return 1.0

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        """`pixels`, float32 (images, dimensions). Raises MediaError."""
        import numpy as np

        images = [_image(sample).load() for sample in samples]
        started = time.perf_counter()
        pixels = np.stack([self._small(image) for image in images])
        return Batch(samples, {"pixels": pixels}, seconds=time.perf_counter() - started)

    def prepare(self) -> None:
        """There is nothing to load."""

    def predict(self, batch: Batch) -> list[Output]:
        """The pixels, float32 (dimensions,)."""
        return [Output(pixels) for pixels in batch.tensors["pixels"]]

    def render(self, sample: Sample) -> Rendered:
        """No tokens; the shape."""
        shape = self.encode([sample]).tensors["pixels"].shape
        return Rendered([], {"pixels": f"float32 {shape}"})

    def _small(self, image: PillowImage) -> NDArray[np.float32]:
        import numpy as np
        from PIL.Image import Resampling

        image = image.convert("L") if self.options.greyscale else image
        small = image.resize((self.options.size, self.options.size), Resampling.BOX)
        return np.asarray(small, np.float32).ravel() / np.float32(255)


def _image(sample: Sample) -> Image:
    image = sample.inputs.get("image")
    if not isinstance(image, Image):
        raise RowError(f"sample '{sample.id}' has no image")
    return image
