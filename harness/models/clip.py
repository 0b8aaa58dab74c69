"""CLIP (Radford et al. 2021) and its cousins: images and texts in one space.

SigLIP, SigLIP 2, ALIGN, Chinese-CLIP and MetaCLIP 2 run through the same Auto class and their own processors;
`cousins` has what neither tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.errors import MediaError, RowError
from harness.models.base import AdapterInfo
from harness.models.dual_encoder import ATTENTION, DualEncoder
from harness.models.finite import check_finite
from harness.types import Image, Sample

LARGEST_RATIO = 200
"""Of an image's sides, where the shorter one is brought to a size and the longer one cut: it would become as
many times wider than what is seen."""


class Clip(DualEncoder):
    """Embeds images and texts."""

    info = AdapterInfo(
        family="clip",
        version="1",
        modes=frozenset({"embed"}),
        modalities=frozenset({"image", "text"}),
        lora_targets=(ATTENTION,),
        parts={
            "vision": ("vision_model", "visual_projection"),
            "text": ("text_model", "text_projection"),
            "temperature": ("logit_scale", "logit_bias", "temperature"),
        },
        towers={"image": "vision", "text": "text"},
    )
    medium = "image"
    auto_class = "AutoModelForZeroShotImageClassification"

    def load_medium(self, sample: Sample) -> Any:
        """The image, RGB and upright. Raises MediaError."""
        image = sample.inputs["image"]
        if not isinstance(image, Image):
            raise RowError(f"sample '{sample.id}' has no image")
        return image.load()

    def features(self, samples: Sequence[Sample], media: Sequence[Any]) -> tuple[dict[str, Any], list[bool]]:
        """What the checkpoint's image processor makes: `pixel_values`, float32 (images, channels, height,
        width); of NaFlex patches, float32 (images, patches, values), their mask and their grid.
        """
        processor = self.weights.processor.image_processor
        self._check_ratios(samples, media, processor)
        tensors = dict(processor(list(media), return_tensors="pt"))
        check_finite(samples, tensors, "an image whose pixels are")
        return tensors, [False] * len(samples)

    def _check_ratios(self, samples: Sequence[Sample], media: Sequence[Any], processor: Any) -> None:
        """Raises MediaError for a stripe that would fill the memory before most of it is cut off."""
        if "shortest_edge" not in (getattr(processor, "size", None) or {}):
            return
        for sample, image in zip(samples, media, strict=True):
            if max(image.size) > LARGEST_RATIO * min(image.size):
                width, height = image.size
                raise MediaError(
                    f"sample '{sample.id}' has an image of {width} x {height} pixels: one side is more than "
                    f"{LARGEST_RATIO} times the other"
                )
