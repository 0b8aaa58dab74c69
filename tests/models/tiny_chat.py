"""Tiny chat models with random weights, made in code: real folders, with chat templates in each one's style.

Texts are spelled character by character, but for a few merges. Weights are drawn wide, so that what is
written differs from image to image and from question to question.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.models.weights import quiet

WIDTH = 32
SIZE = 16
"""Width and height of what a tiny vision tower sees, in pixels."""
PATCH = 8
POSITIONS = 512
LANGUAGE = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.4,
}
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": PATCH,
}

LLAVA_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ part['text'] + ' ' }}{% endgeneration %}"
    "{% else %}{{ part['text'] + ' ' }}{% endif %}"
    "{% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""LLaVA 1.5's: images first, no token that ends a turn."""


def llama_tokenizer(*extra: str, positions: int = POSITIONS) -> Any:
    """Llama's: a token for each character, a space belongs to the word behind it; unknown ones as bytes."""
    from transformers import LlamaTokenizer

    letters = ["▁", "\n", *map(chr, range(33, 127))]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "▁r", "▁re"]
    tokenizer = LlamaTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[("▁", "r"), ("▁r", "e")],
        model_max_length=positions,
    )
    tokenizer.add_special_tokens(
        {"pad_token": "<pad>", "additional_special_tokens": [*extra]}, replace_extra_special_tokens=False
    )
    return tokenizer


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
            **LANGUAGE | {"max_position_embeddings": positions}, **_tokens(tokenizer), rms_norm_eps=1e-5
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
    return _save(folder, lambda: LlavaForConditionalGeneration(config), processor, seed)


TINY: dict[str, Callable[[Path], Path]] = {"llava": tiny_llava}
"""By config.model_type."""


def tiny_chat(model_type: str, folder: Path) -> Path:
    """A checkpoint of this type in `folder`."""
    return TINY[model_type](folder)


def _tokens(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _save(
    folder: Path, build: Callable[[], Any], processor: Any, seed: int, ends: list[int] | None = None
) -> Path:
    """Write processor, network and generation config; `ends` are the ids that end an answer."""
    import torch
    from transformers import GenerationConfig

    tokenizer = processor.tokenizer
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=ends or tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        processor.save_pretrained(folder)
        model.save_pretrained(folder)
    return folder
