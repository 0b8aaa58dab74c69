"""How dual encoders differ from CLIP: what neither their configs nor their processors tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Cousin:
    """One kind of dual encoder.

    `scales` are the parameters that hold the temperature, media to texts and texts to media: the logarithm
    of what cosines are multiplied by or, when `divides`, what they are divided by. `scoring` is how it was
    trained: texts against each other (softmax), or each pair alone (sigmoid). Texts are padded to the longest
    of their batch, or always to the limit (`padding`); `length` is the limit in tokens, where tokenizer and
    config would allow for more; `lower` says that they are lower-cased, `masked` that the text tower doesn't
    see their padding.
    """

    scales: tuple[str, str] = ("logit_scale", "logit_scale")
    divides: bool = False
    scoring: Literal["softmax", "sigmoid"] = "softmax"
    padding: Literal["longest", "max_length"] = "longest"
    length: int | None = None
    lower: bool = False
    masked: bool = True


CLIP = Cousin()
SIGLIP = Cousin(scoring="sigmoid", padding="max_length", length=64, lower=True, masked=False)
"""Zhai et al. 2023, Tschannen et al. 2025: trained on 64 tokens, padding among them, all in lower case. The
tokenizers of some SigLIP 2 checkpoints don't lower the case by themselves."""

COUSINS: dict[str, Cousin] = {
    "siglip": SIGLIP,
    "siglip2": SIGLIP,
    "align": Cousin(scales=("temperature", "temperature"), divides=True, padding="max_length", length=64),
    "chinese_clip": Cousin(length=52),
    "clap": Cousin(scales=("logit_scale_a", "logit_scale_t"), length=77),
}
"""By config.model_type; any other is as CLIP. ALIGN: Jia et al. 2021; Chinese-CLIP: Yang et al. 2022; CLAP:
Wu et al. 2023. Lengths are those of their authors' own code."""


def cousin(config: Any) -> Cousin:
    """The kind of dual encoder that a checkpoint's config is of."""
    return COUSINS.get(config.model_type, CLIP)
