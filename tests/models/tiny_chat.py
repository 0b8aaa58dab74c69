"""Tiny chat models with random weights, made in code: real folders, by their type. LLaVA and its heirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.models.tiny_chat_cousins import (
    tiny_gemma3,
    tiny_idefics2,
    tiny_idefics3,
    tiny_internvl,
    tiny_mllama,
    tiny_molmo2,
    tiny_paligemma,
    tiny_qwen2_5_vl,
    tiny_qwen2_audio,
    tiny_qwen2_vl,
    tiny_qwen3_vl,
    tiny_smolvlm,
)
from tests.models.tiny_chat_parts import (
    LANGUAGE,
    LLAVA_TEMPLATE,
    MISTRAL_TEMPLATE,
    PATCH,
    POSITIONS,
    SIZE,
    VISION,
    Parts,
    byte_tokenizer,
    chatml,
    llama_tokenizer,
    saved,
    tokens_of,
)


def tiny_llava(
    folder: Path, *, seed: int = 0, positions: int = POSITIONS, template: str | None = None
) -> Path:
    """A LLaVA 1.5: CLIP, a projector of two layers, a Llama; four tokens for an image of any size."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = llama_tokenizer("<image>", positions=positions)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, initializer_factor=6.0),
        text_config=LlamaConfig(
            **LANGUAGE | {"max_position_embeddings": positions}, **tokens_of(tokenizer), rms_norm_eps=1e-5
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    images = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template or LLAVA_TEMPLATE,
    )
    return saved(folder, lambda: LlavaForConditionalGeneration(config), processor, seed)


def tiny_llava_next(folder: Path, *, seed: int = 0) -> Path:
    """A LLaVA-NeXT on Mistral's template: an image as a whole and in tiles, as many as its shape asks for."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessorPil,
        LlavaNextProcessor,
    )

    tokenizer = llama_tokenizer("<image>")
    grid = [[SIZE, 2 * SIZE], [2 * SIZE, SIZE], [2 * SIZE, 2 * SIZE]]
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION, initializer_factor=6.0),
        text_config=LlamaConfig(**LANGUAGE, **tokens_of(tokenizer), rms_norm_eps=1e-5),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=grid,
    )
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, image_grid_pinpoints=grid
    )
    processor = LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=MISTRAL_TEMPLATE,
    )
    return saved(folder, lambda: LlavaNextForConditionalGeneration(config), processor, seed)


def tiny_llava_onevision(folder: Path, *, seed: int = 0) -> Path:
    """A LLaVA-OneVision: SigLIP, Qwen 2, tiles."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessorPil,
        Qwen2Config,
        SiglipVisionConfig,
    )

    tokenizer = byte_tokenizer("<|im_start|>", "<image>", "<video>", end="<|im_end|>")
    grid = [[SIZE, 2 * SIZE], [2 * SIZE, SIZE], [2 * SIZE, 2 * SIZE]]
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=Qwen2Config(**LANGUAGE, **tokens_of(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
    )
    images = LlavaOnevisionImageProcessorPil(size={"height": SIZE, "width": SIZE}, image_grid_pinpoints=grid)
    processor = Parts(
        "LlavaOnevisionProcessor",
        images,
        tokenizer,
        num_image_tokens=(SIZE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=chatml("<image>\n"),
    )
    return saved(folder, lambda: LlavaOnevisionForConditionalGeneration(config), processor, seed)


TINY: dict[str, Callable[[Path], Path]] = {
    "llava": tiny_llava,
    "llava_next": tiny_llava_next,
    "llava_onevision": tiny_llava_onevision,
    "qwen2_vl": tiny_qwen2_vl,
    "qwen2_5_vl": tiny_qwen2_5_vl,
    "qwen3_vl": tiny_qwen3_vl,
    "idefics2": tiny_idefics2,
    "idefics3": tiny_idefics3,
    "smolvlm": tiny_smolvlm,
    "gemma3": tiny_gemma3,
    "paligemma": tiny_paligemma,
    "internvl": tiny_internvl,
    "mllama": tiny_mllama,
    "molmo2": tiny_molmo2,
    "qwen2_audio": tiny_qwen2_audio,
}
"""By config.model_type."""


def tiny_chat(model_type: str, folder: Path) -> Path:
    """A checkpoint of this type in `folder`."""
    return TINY[model_type](folder)
