"""Tiny chat networks without processors, and two beginnings as each one's processor would make them.

The second beginning is the longer one, so the first is padded; images differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

BEGIN, IMAGE, OPEN, CLOSE, VOCABULARY = 1, 50, 51, 52, 60
ENDS = [2, 3]
LANGUAGE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": BEGIN,
    "eos_token_id": ENDS[0],
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}


@dataclass
class Tiny:
    """A network, its beginnings, what `Prompts` has to know besides, and the name of its vision tower."""

    network: Any
    prefixes: dict[str, Any]
    tower: str
    extra: dict[str, Any] = field(default_factory=dict)


def llava() -> Tiny:
    """Plain causal attention."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION), text_config=LlamaConfig(**LANGUAGE), image_token_id=IMAGE
    )
    prefixes = _padded([BEGIN, *[IMAGE] * 4], [BEGIN, 7, 8, *[IMAGE] * 4])
    prefixes["pixel_values"] = torch.randn(2, 3, 16, 16)
    return _drawn(LlavaForConditionalGeneration(config), prefixes, "model.vision_tower")


def qwen2_vl() -> Tiny:
    """Three positions for each token; images of four and of eight tokens."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    rope = {"type": "mrope", "mrope_section": [1, 1, 2], "rope_type": "default"}
    config = Qwen2VLConfig(
        vision_config={
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 2,
            "patch_size": 4,
            "mlp_ratio": 2,
        },
        text_config={**LANGUAGE, "rope_scaling": rope},
        image_token_id=IMAGE,
        video_token_id=53,
        vision_start_token_id=OPEN,
        vision_end_token_id=CLOSE,
    )
    prefixes = _padded([BEGIN, OPEN, *[IMAGE] * 4, CLOSE], [BEGIN, 7, OPEN, *[IMAGE] * 8, CLOSE])
    prefixes |= {
        "mm_token_type_ids": (prefixes["input_ids"] == IMAGE).int(),
        "pixel_values": torch.randn(16 + 32, 3 * 2 * 4 * 4),
        "image_grid_thw": torch.tensor([[1, 4, 4], [1, 4, 8]]),
    }
    return _drawn(Qwen2VLForConditionalGeneration(config), prefixes, "model.visual")


def gemma3(window: int = 64) -> Tiny:
    """Tokens of an image see each other, both ways; two layers of three see no more than a window."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {
        **LANGUAGE,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": window,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    }
    config = Gemma3Config(
        text_config=text,
        vision_config={**VISION, "patch_size": 4},
        mm_tokens_per_image=4,
        image_token_id=IMAGE,
        boi_token_id=OPEN,
        eoi_token_id=CLOSE,
    )
    prefixes = _padded([BEGIN, OPEN, *[IMAGE] * 4, CLOSE], [BEGIN, 7, 8, OPEN, *[IMAGE] * 4, CLOSE])
    prefixes["token_type_ids"] = (prefixes["input_ids"] == IMAGE).long()
    prefixes["pixel_values"] = torch.randn(2, 3, 16, 16)
    return _drawn(Gemma3ForConditionalGeneration(config), prefixes, "model.vision_tower")


def mllama() -> Tiny:
    """Tokens behind an image attend across to it; the second has two tiles."""
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    vision = {
        "hidden_size": 32,
        "attention_heads": 2,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "intermediate_size": 48,
        "vision_output_dim": 64,
        "image_size": 16,
        "patch_size": 8,
        "max_num_tiles": 2,
        "intermediate_layers_indices": [0],
        "supported_aspect_ratios": [[1, 1], [1, 2]],
    }
    text = {**LANGUAGE, "cross_attention_layers": [1], "rope_scaling": {"rope_type": "default"}}
    config = MllamaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE)
    prefixes = _padded([BEGIN, IMAGE], [BEGIN, 7, 8, IMAGE])
    seen = torch.zeros(2, 4, 1, 2, dtype=torch.long)
    seen[0, 3, 0, 0] = 1
    seen[1, 3, 0, :] = 1
    prefixes |= {
        "cross_attention_mask": seen,
        "pixel_values": torch.randn(2, 1, 2, 3, 16, 16),
        "aspect_ratio_ids": torch.tensor([[1], [2]]),
        "aspect_ratio_mask": torch.tensor([[[1, 0]], [[1, 1]]]),
    }
    found = _drawn(
        MllamaForConditionalGeneration(config), prefixes, "model.vision_model", {"by_prompt": True}
    )
    for name, parameter in found.network.named_parameters():
        if "gate" in name and parameter.numel() == 1:
            parameter.data.fill_(1.0)
    return found


def idefics3() -> Tiny:
    """One image in the first beginning, two in the second; media have a row for each beginning."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    config = Idefics3Config(
        vision_config={**VISION, "patch_size": 4},
        text_config={"model_type": "llama", **LANGUAGE},
        image_token_id=IMAGE,
        scale_factor=2,
        pad_token_id=0,
    )
    prefixes = _padded([BEGIN, OPEN, *[IMAGE] * 4, CLOSE], [BEGIN, OPEN, *[IMAGE] * 8, CLOSE])
    pixels, mask = torch.randn(2, 2, 3, 16, 16), torch.ones(2, 2, 16, 16, dtype=torch.bool)
    pixels[0, 1], mask[0, 1] = 0, False
    prefixes |= {"pixel_values": pixels, "pixel_attention_mask": mask}
    extra = {"media": [1, 2], "by_prompt": True}
    return _drawn(Idefics3ForConditionalGeneration(config), prefixes, "model.vision_model", extra)


def qwen2_audio() -> Tiny:
    """Clips of 40 and of 28 frames: ten and seven tokens."""
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

    audio = {
        "num_mel_bins": 8,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 48,
        "d_model": 32,
        "max_source_positions": 20,
    }
    text = {"model_type": "qwen2", **LANGUAGE}
    config = Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=IMAGE)
    prefixes = _padded([BEGIN, OPEN, *[IMAGE] * 7, CLOSE], [BEGIN, 7, OPEN, *[IMAGE] * 10, CLOSE])
    frames = torch.ones(2, 40, dtype=torch.long)
    frames[0, 28:] = 0
    prefixes |= {"input_features": torch.randn(2, 8, 40), "feature_attention_mask": frames}
    return _drawn(Qwen2AudioForConditionalGeneration(config), prefixes, "model.audio_tower")


def paligemma() -> Tiny:
    """Every token of the prompt sees all of it, those after the image too."""
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

    config = PaliGemmaConfig(
        text_config={"model_type": "gemma", **LANGUAGE, "head_dim": 8},
        vision_config={
            "model_type": "siglip_vision_model",
            **VISION,
            "num_image_tokens": 4,
            "vision_use_head": False,
        },
        image_token_id=IMAGE,
        projection_dim=32,
    )
    prefixes = _padded([*[IMAGE] * 4, BEGIN], [*[IMAGE] * 4, BEGIN, 7])
    prefixes["token_type_ids"] = torch.zeros_like(prefixes["input_ids"])
    prefixes["pixel_values"] = torch.randn(2, 3, 16, 16)
    return _drawn(
        PaliGemmaForConditionalGeneration(config), prefixes, "model.vision_tower", {"answer_type": 1}
    )


SHARING: dict[str, Callable[[], Tiny]] = {
    "llava": llava,
    "qwen2_vl": qwen2_vl,
    "gemma3": gemma3,
    "mllama": mllama,
    "idefics3": idefics3,
    "qwen2_audio": qwen2_audio,
}
"""Those whose beginnings don't depend on what follows."""
ANEW: dict[str, Callable[[], Tiny]] = {"paligemma": paligemma, "gemma3 in a window": lambda: gemma3(8)}
"""Those that read every prompt anew; images are encoded once."""


def _padded(*rows: list[int]) -> dict[str, Any]:
    width = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[0] * (width - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows]),
    }


def _drawn(network: Any, prefixes: dict[str, Any], tower: str, extra: dict[str, Any] | None = None) -> Tiny:
    """Weights wide enough that answers differ with image and question."""
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.3)
    return Tiny(network.eval(), prefixes, tower, extra or {})
