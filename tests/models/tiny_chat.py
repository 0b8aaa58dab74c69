"""Tiny chat models with random weights, made in code: real folders, with chat templates in each one's style.

Texts are spelled character by character, but for a few merges. Weights are drawn wide, so that what is
written differs from image to image and from question to question.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
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
        text_config=LlamaConfig(**LANGUAGE, **_tokens(tokenizer), rms_norm_eps=1e-5),
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
    return _save(folder, lambda: LlavaNextForConditionalGeneration(config), processor, seed)


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
        text_config=Qwen2Config(**LANGUAGE, **_tokens(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
    )
    images = LlavaOnevisionImageProcessorPil(size={"height": SIZE, "width": SIZE}, image_grid_pinpoints=grid)
    processor = _Parts(
        "LlavaOnevisionProcessor",
        images,
        tokenizer,
        num_image_tokens=(SIZE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=chatml("<image>\n"),
    )
    return _save(folder, lambda: LlavaOnevisionForConditionalGeneration(config), processor, seed)


def _qwen(folder: Path, seed: int, config: Any, model: Any, processor: Any, patch: int = 4) -> Path:
    """A Qwen-VL: patches of an image of any size, four of them a token; positions of three dimensions."""
    from transformers import Qwen2VLImageProcessorPil

    tokenizer = byte_tokenizer(
        "<|im_start|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
        end="<|im_end|>",
    )
    ids = tokenizer.convert_tokens_to_ids
    made = config(
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        text_config={
            **LANGUAGE,
            **_tokens(tokenizer),
            "head_dim": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]},
        },
    )
    images = Qwen2VLImageProcessorPil(
        patch_size=patch, size={"shortest_edge": 8 * 8, "longest_edge": 32 * 32}, merge_size=2
    )
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    template = chatml("<|vision_start|><|image_pad|><|vision_end|>", system=system)
    whole = _Parts(processor, images, tokenizer, chat_template=template)
    return _save(folder, lambda: model(made), whole, seed)


def tiny_qwen2_vl(folder: Path, *, seed: int = 0) -> Path:
    """A Qwen2-VL."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    vision = {"depth": 2, "embed_dim": WIDTH, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2}
    config = partial(Qwen2VLConfig, vision_config={**vision, "patch_size": 4})
    return _qwen(folder, seed, config, Qwen2VLForConditionalGeneration, "Qwen2VLProcessor")


def tiny_qwen2_5_vl(folder: Path, *, seed: int = 0) -> Path:
    """A Qwen2.5-VL: windows in its vision tower."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision: dict[str, Any] = {"depth": 2, "hidden_size": WIDTH, "out_hidden_size": WIDTH, "num_heads": 2}
    vision |= {"intermediate_size": 48, "window_size": 16, "fullatt_block_indexes": [1]}
    config = partial(Qwen2_5_VLConfig, vision_config={**vision, "patch_size": 4})
    return _qwen(folder, seed, config, Qwen2_5_VLForConditionalGeneration, "Qwen2_5_VLProcessor")


def tiny_qwen3_vl(folder: Path, *, seed: int = 0) -> Path:
    """A Qwen3-VL: features of inner layers go into the language model's first ones."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    vision: dict[str, Any] = {"depth": 2, "hidden_size": WIDTH, "out_hidden_size": WIDTH, "num_heads": 2}
    vision |= {"intermediate_size": 48, "deepstack_visual_indexes": [0], "num_position_embeddings": 64}
    config = partial(Qwen3VLConfig, vision_config={**vision, "patch_size": 4})
    return _qwen(folder, seed, config, Qwen3VLForConditionalGeneration, "Qwen3VLProcessor")


def tiny_idefics2(folder: Path, *, seed: int = 0) -> Path:
    """An Idefics 2: a resampler of three latents."""
    from transformers import (
        Idefics2Config,
        Idefics2ForConditionalGeneration,
        Idefics2ImageProcessorPil,
        Idefics2Processor,
    )

    tokenizer = llama_tokenizer("<fake_token_around_image>", "<image>", "<end_of_utterance>")
    perceiver = {"resampler_n_latents": 3, "resampler_depth": 1, "resampler_n_heads": 2}
    config = Idefics2Config(
        vision_config=VISION,
        perceiver_config={
            **perceiver,
            "hidden_size": WIDTH,
            "resampler_head_dim": 16,
            "num_key_value_heads": 2,
        },
        text_config={**LANGUAGE, **_tokens(tokenizer), "model_type": "mistral"},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = Idefics2ImageProcessorPil(
        size={"shortest_edge": SIZE // 2, "longest_edge": SIZE}, do_image_splitting=False
    )
    processor = Idefics2Processor(
        images, tokenizer, image_seq_len=3, chat_template=IDEFICS_TEMPLATE.replace("START", "")
    )
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_utterance>")]
    return _save(folder, lambda: Idefics2ForConditionalGeneration(config), processor, seed, ends)


def _idefics3(config: Any, tokenizer: Any) -> Any:
    return config(
        vision_config=VISION,
        text_config={**LANGUAGE, **_tokens(tokenizer), "model_type": "llama"},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )


ROWS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
IDEFICS3_TOKENS = ("<|im_start|>", "<fake_token_around_image>", "<image>", "<global-img>", *ROWS)


def tiny_idefics3(folder: Path, *, seed: int = 0) -> Path:
    """An Idefics 3: an image in tiles that are named by row and column, one token for each."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
    )

    tokenizer = byte_tokenizer(*IDEFICS3_TOKENS, end="<end_of_utterance>")
    config = _idefics3(Idefics3Config, tokenizer)
    images = Idefics3ImageProcessorPil(size={"longest_edge": 2 * SIZE}, max_image_size={"longest_edge": SIZE})
    template = IDEFICS_TEMPLATE.replace("START", "<|im_start|>")
    processor = Idefics3Processor(images, tokenizer, image_seq_len=1, chat_template=template)
    return _save(folder, lambda: Idefics3ForConditionalGeneration(config), processor, seed)


def tiny_smolvlm(folder: Path, *, seed: int = 0) -> Path:
    """A SmolVLM: as Idefics 3; its processor needs the package num2words."""
    from transformers import (
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessorPil,
    )

    tokenizer = byte_tokenizer(*IDEFICS3_TOKENS, "<video>", end="<end_of_utterance>")
    config = _idefics3(SmolVLMConfig, tokenizer)
    images = SmolVLMImageProcessorPil(size={"longest_edge": 2 * SIZE}, max_image_size={"longest_edge": SIZE})
    template = IDEFICS_TEMPLATE.replace("START", "<|im_start|>")
    processor = _Parts("SmolVLMProcessor", images, tokenizer, image_seq_len=1, chat_template=template)
    return _save(folder, lambda: SmolVLMForConditionalGeneration(config), processor, seed)


def tiny_gemma3(folder: Path, *, seed: int = 0) -> Path:
    """A Gemma 3: SigLIP, four tokens for an image, sliding windows, its tokens see each other both ways."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessorPil,
        Gemma3Processor,
    )

    names = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    tokenizer = gemma_tokenizer("<start_of_turn>", "<end_of_turn>", **names)
    ids = tokenizer.convert_tokens_to_ids
    config = Gemma3Config(
        vision_config={**VISION, "vision_use_head": False},
        # Its embeddings are its outputs too: drawn wide, every token would be followed by itself.
        text_config={
            **LANGUAGE,
            **_tokens(tokenizer),
            "head_dim": 16,
            "sliding_window": 512,
            "initializer_range": 0.05,
        },
        mm_tokens_per_image=4,
        boi_token_index=ids(names["boi_token"]),
        eoi_token_index=ids(names["eoi_token"]),
        image_token_index=ids(names["image_token"]),
        initializer_range=0.2,
    )
    images = Gemma3ImageProcessorPil(size={"height": SIZE, "width": SIZE})
    processor = Gemma3Processor(images, tokenizer, chat_template=GEMMA_TEMPLATE, image_seq_length=4)
    ends = [tokenizer.eos_token_id, ids("<end_of_turn>")]
    return _save(folder, lambda: _open(Gemma3ForConditionalGeneration(config)), processor, seed, ends)


def tiny_paligemma(folder: Path, *, seed: int = 0) -> Path:
    """A PaliGemma: no chat template, the image first, the question, a line break."""
    from transformers import (
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessorPil,
    )

    images = SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE})
    images.image_seq_length = 4
    tokenizer = gemma_tokenizer("<image>")
    processor = PaliGemmaProcessor(images, tokenizer)
    config = PaliGemmaConfig(
        vision_config={**VISION, "vision_use_head": False, "projection_dim": WIDTH},
        text_config={**LANGUAGE, **_tokens(tokenizer), "model_type": "gemma", "head_dim": 16},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=WIDTH,
        hidden_size=WIDTH,
    )
    return _save(folder, lambda: PaliGemmaForConditionalGeneration(config), processor, seed)


def tiny_internvl(folder: Path, *, seed: int = 0) -> Path:
    """An InternVL: one token for an image or tile."""
    from transformers import (
        GotOcr2ImageProcessorPil,
        InternVLConfig,
        InternVLForConditionalGeneration,
    )

    names = {"start_image_token": "<img>", "end_image_token": "</img>"}
    names |= {"context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"}
    tokenizer = byte_tokenizer("<|im_start|>", end="<|im_end|>", **names)
    vision = {**VISION, "image_size": [SIZE, SIZE], "patch_size": [PATCH, PATCH]}
    config = InternVLConfig(
        vision_config=vision,
        text_config={**LANGUAGE, **_tokens(tokenizer), "model_type": "qwen2"},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=1,
    )
    images = GotOcr2ImageProcessorPil(size={"height": SIZE, "width": SIZE}, max_patches=4)
    template = chatml("<IMG_CONTEXT>\n")
    processor = _Parts("InternVLProcessor", images, tokenizer, image_seq_length=1, chat_template=template)
    return _save(folder, lambda: InternVLForConditionalGeneration(config), processor, seed)


def tiny_mllama(folder: Path, *, seed: int = 0) -> Path:
    """A Llama 3.2 Vision: a token in the text, the image beside it through cross-attention."""
    from transformers import (
        MllamaConfig,
        MllamaForConditionalGeneration,
        MllamaImageProcessorPil,
        MllamaProcessor,
    )

    tokenizer = byte_tokenizer(
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|python_tag|>",
        "<|image|>",
        end="<|eot_id|>",
        begin="<|begin_of_text|>",
    )
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 2,
        "image_size": SIZE,
        "patch_size": PATCH,
        "max_num_tiles": 4,
        "intermediate_layers_indices": [0],
        "vision_output_dim": 2 * WIDTH,
    }
    language = {**LANGUAGE, **_tokens(tokenizer), "cross_attention_layers": [1]}
    # The image's token has no output of its own: ids beyond the vocabulary.
    image = tokenizer.convert_tokens_to_ids("<|image|>")
    config = MllamaConfig(vision_config=vision, text_config=language, image_token_index=image)
    images = MllamaImageProcessorPil(size={"height": SIZE, "width": SIZE}, max_image_tiles=4)
    processor = MllamaProcessor(images, tokenizer, chat_template=LLAMA3_TEMPLATE)
    return _save(folder, lambda: _open(MllamaForConditionalGeneration(config)), processor, seed)


def tiny_qwen2_audio(folder: Path, *, seed: int = 0) -> Path:
    """A Qwen2-Audio that hears two seconds."""
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    tokens = ("<|im_start|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    tokenizer = byte_tokenizer(*tokens, end="<|im_end|>")
    audio = {
        "d_model": WIDTH,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 48,
        "num_mel_bins": 16,
        "max_source_positions": 100,
    }
    config = Qwen2AudioConfig(
        audio_config=audio,
        text_config={**LANGUAGE, **_tokens(tokenizer), "model_type": "qwen2"},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    template = chatml("", "<|audio_bos|><|AUDIO|><|audio_eos|>\n")
    processor = Qwen2AudioProcessor(extractor, tokenizer, chat_template=template)
    return _save(folder, lambda: Qwen2AudioForConditionalGeneration(config), processor, seed)


def tiny_molmo2(folder: Path, *, seed: int = 0) -> Path:
    """A Molmo 2: crops, tokens that end rows; its images need torchvision."""
    from transformers import Molmo2Config, Molmo2ForConditionalGeneration, Molmo2ImageProcessor

    special = ["<im_patch>", "<im_col>", "<im_start>", "<low_res_im_start>", "<frame_start>", "<im_end>"]
    special += ["<frame_end>", "<im_low>", "<|image|>", "<|video|>", "<|im_start|>"]
    tokenizer = byte_tokenizer(*special, end="<|im_end|>")
    ids = tokenizer.convert_tokens_to_ids
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    vision = {**VISION, **heads, "image_size": [SIZE, SIZE]}
    adapter = {**heads, "vision_feature_layer": [0, 1], "hidden_size": WIDTH, "intermediate_size": 48}
    config = Molmo2Config(
        vision_config=vision,
        adapter_config={**adapter, "text_hidden_size": WIDTH},
        text_config={**LANGUAGE, **_tokens(tokenizer), **heads, "additional_vocab_size": 0},
        image_start_token_id=ids("<im_start>"),
        low_res_image_start_token_id=ids("<low_res_im_start>"),
        image_end_token_id=ids("<im_end>"),
        image_patch_id=ids("<im_patch>"),
        frame_start_token_id=ids("<frame_start>"),
        frame_end_token_id=ids("<frame_end>"),
    )
    images = Molmo2ImageProcessor(
        size={"height": SIZE, "width": SIZE}, patch_size=PATCH, max_crops=4, overlap_margins=[0, 0]
    )
    processor = _Parts("Molmo2Processor", images, tokenizer, chat_template=chatml("<|image|>"))
    return _save(folder, lambda: Molmo2ForConditionalGeneration(config), processor, seed)


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


def _open(model: Any) -> Any:
    """Gates and projections that begin at zero, opened: otherwise no image would matter."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gate" in name and parameter.numel() == 1:
                parameter.fill_(1.0)
            if name.endswith("mm_input_projection_weight"):
                parameter.normal_(0.0, 0.3)
    return model


class _Parts:
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
        assert {name for name, value in model.named_parameters() if not value.isfinite().all()} == set()
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=ends or tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        processor.save_pretrained(folder)
        model.save_pretrained(folder)
    return folder
