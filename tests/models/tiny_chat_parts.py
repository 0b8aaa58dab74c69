"""What tiny chat models are made of: sizes, chat templates in each style, tokenizers, and their folders.

Texts are spelled character by character, but for a few merges. Weights are drawn wide, so that what is
written differs from image to image and from question to question.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.models.weights import quiet
from tests.models.tiny import byte_vocabulary

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


def chatml(image: str, audio: str = "", system: str = "") -> str:
    """The template of Qwen and its kin, `image` and `audio` being what it writes for one."""
    return (
        "{% for message in messages %}"
        f"{{% if loop.first and message['role'] != 'system' %}}{system}{{% endif %}}"
        "{{ '<|im_start|>' + message['role'] + '\n' }}"
        "{% for part in message['content'] %}"
        f"{{% if part['type'] == 'image' %}}{{{{ '{image}' }}}}"
        f"{{% elif part['type'] == 'audio' %}}{{{{ '{audio}' }}}}"
        "{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{{ '<|im_end|>\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


MISTRAL_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{{ ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'][0]['text'] + '</s> ' }}{% endif %}"
    "{% endfor %}"
)
"""LLaVA-NeXT's on Mistral: nothing marks an answer's beginning, and nothing has to."""
IDEFICS_TEMPLATE = (
    "START{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<start_of_image>' }}{% else %}{{ part['text'] | trim }}{% endif %}"
    "{% endfor %}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<|image|>' }}{% else %}{{ part['text'] | trim }}{% endif %}"
    "{% endfor %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def llama_tokenizer(*extra: str, positions: int = POSITIONS) -> Any:
    """Llama's: a token for each character, a space belongs to the word behind it; unknown ones as bytes."""
    from transformers import LlamaTokenizer

    letters = ["▁", "\n", *map(chr, range(33, 127))]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "▁r", "▁re"]
    tokenizer = LlamaTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[("▁", "r"), ("▁r", "e")],
        model_max_length=positions,
        add_bos_token=True,
    )
    tokenizer.add_special_tokens(
        {"pad_token": "<pad>", "additional_special_tokens": [*extra]}, replace_extra_special_tokens=False
    )
    return tokenizer


def byte_tokenizer(*special: str, end: str, begin: str | None = None, **names: str) -> Any:
    """Byte-level BPE as of Qwen and Llama 3, with one merge; `names` are tokens that processors ask for."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    merges = [("Ġ", "r"), ("Ġr", "e")]
    made = Tokenizer(models.BPE(vocab=byte_vocabulary(merges), merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=end, bos_token=begin, pad_token="<|pad|>", extra_special_tokens=names
    )
    tokenizer.add_special_tokens(
        {"additional_special_tokens": list(special)}, replace_extra_special_tokens=False
    )
    return tokenizer


def gemma_tokenizer(*special: str, **names: str) -> Any:
    """Gemma's: letters, spaces as ▁, unknown ones as bytes; runs of line breaks are tokens of their own."""
    from tokenizers import AddedToken
    from transformers import GemmaTokenizer

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", *map(chr, range(33, 127)), "▁r", "▁re"]
    tokenizer = GemmaTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[("▁", "r"), ("▁r", "e")],
        add_bos_token=True,
        extra_special_tokens=names,
    )
    tokenizer.add_tokens([AddedToken("\n" * times, normalized=False, special=False) for times in (1, 2, 3)])
    tokenizer.add_special_tokens(
        {"additional_special_tokens": list(special)}, replace_extra_special_tokens=False
    )
    return tokenizer


def opened(model: Any) -> Any:
    """Gates and projections that begin at zero, opened: otherwise no image would matter."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gate" in name and parameter.numel() == 1:
                parameter.fill_(1.0)
            if name.endswith("mm_input_projection_weight"):
                parameter.normal_(0.0, 0.3)
    return model


class Parts:
    """A processor's parts as hubs have them, where the processor itself can't be made without torchvision."""

    def __init__(
        self, kind: str, images: Any, tokenizer: Any, *, chat_template: str, **settings: Any
    ) -> None:
        self.images = images
        self.tokenizer = tokenizer
        self.template = chat_template
        self.settings = {"processor_class": kind, **settings}

    def save_pretrained(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.images.save_pretrained(folder)
        (folder / "chat_template.jinja").write_text(self.template)
        (folder / "processor_config.json").write_text(json.dumps(self.settings))


def tokens_of(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def saved(
    folder: Path, build: Callable[[], Any], processor: Any, seed: int, ends: list[int] | None = None
) -> Path:
    """Write processor, network and generation config; `ends` are the ids that end an answer."""
    import torch
    from transformers import GenerationConfig

    tokenizer = processor.tokenizer
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        assert {name for name, value in model.named_parameters() if not value.isfinite().all()} == set()
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=ends or tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        processor.save_pretrained(folder)
        model.save_pretrained(folder)
    return folder
