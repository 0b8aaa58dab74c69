"""Tiny classifiers with random weights, made in code: real folders that the Auto classes load."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.image import DecodedImage
from harness.models.weights import quiet
from harness.types import Sample
from tests.models.clips import noise

SIDE = 16
ANIMALS = ("cat", "dog", "fox, red fox", "newt")
WIDTHS = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "initializer_range": 0.5,
}
VISION = {"image_size": SIDE, "patch_size": 8}


def labels(names: Sequence[str]) -> dict[str, Any]:
    """As a config has them."""
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
    }


def saved(folder: Path, network: Any, *, processor: Any = None) -> Path:
    """The network with an image processor that resizes, unless it has another."""
    from transformers import ViTImageProcessor

    side = {"height": SIDE, "width": SIDE}
    with quiet():
        network.save_pretrained(folder)
        (processor or ViTImageProcessor(size=side)).save_pretrained(folder)
    return folder


def seeded(make: Any, config: Any) -> Any:
    import torch

    torch.manual_seed(0)
    return make(config)


def tiny_vit(folder: Path, names: Sequence[str] = ANIMALS, **settings: Any) -> Path:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(**WIDTHS, **VISION, **labels(names), **settings)
    return saved(folder, seeded(ViTForImageClassification, config))


def tiny_vit_without_head(folder: Path) -> Path:
    """As pretrained on something else: with a pooler, which a classifier doesn't have."""
    from transformers import ViTConfig, ViTModel

    return saved(folder, seeded(ViTModel, ViTConfig(**WIDTHS, **VISION)))


def tiny_swin(folder: Path, names: Sequence[str] = ANIMALS) -> Path:
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(
        image_size=SIDE,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=2,
        initializer_range=0.5,
        **labels(names),
    )
    return saved(folder, seeded(SwinForImageClassification, config))


def tiny_convnext(folder: Path, names: Sequence[str] = ANIMALS) -> Path:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(
        image_size=SIDE, hidden_sizes=[8, 8], depths=[1, 1], num_stages=2, patch_size=4, **labels(names)
    )
    return saved(folder, seeded(ConvNextForImageClassification, config))


def tiny_resnet(folder: Path, names: Sequence[str] = ANIMALS) -> Path:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", **labels(names)
    )
    return saved(folder, seeded(ResNetForImageClassification, config))


def tiny_ast(folder: Path, names: Sequence[str] = ANIMALS, **settings: Any) -> Path:
    """1.28 s of 128 mel bins."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    config = ASTConfig(
        **WIDTHS,
        patch_size=16,
        frequency_stride=16,
        time_stride=16,
        max_length=128,
        **labels(names),
        **settings,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filter", UserWarning)  # of its own filter bank
        processor = ASTFeatureExtractor(max_length=128)
    return saved(folder, seeded(ASTForAudioClassification, config), processor=processor)


def tiny_wav2vec2(folder: Path, names: Sequence[str] = ANIMALS) -> Path:
    """Hears waveforms of any length; its head has a layer before its outputs."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    config = Wav2Vec2Config(
        **WIDTHS,
        conv_dim=(8, 8),
        conv_kernel=(10, 3),
        conv_stride=(160, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        **labels(names),
    )
    processor = Wav2Vec2FeatureExtractor()
    return saved(folder, seeded(Wav2Vec2ForSequenceClassification, config), processor=processor)


def tiny_dual(folder: Path, family: str = "CLIP") -> Path:
    """A CLIP or a SigLIP, both towers; there is no tokenizer."""
    import transformers

    text = WIDTHS | {"vocab_size": 40, "max_position_embeddings": 8}
    if family == "CLIP":
        text |= {"projection_dim": 8, "bos_token_id": 0, "eos_token_id": 1}
    config = getattr(transformers, f"{family}Config")(text_config=text, vision_config={**WIDTHS, **VISION})
    return saved(folder, seeded(getattr(transformers, f"{family}Model"), config))


def picture(seed: int, target: Any = "cat") -> Sample:
    """An image of noise, larger than the network's."""
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return Sample(f"{seed}", {"image": DecodedImage(pixels)}, target, f"{seed}")


def sound(seed: int, target: Any = "cat", seconds: float = 0.5) -> Sample:
    return Sample(f"{seed}", {"audio": noise(seconds, seed)}, target, f"{seed}")
