"""Cousins of LLaVA, tiny, with random weights: Qwen, Idefics, Gemma, InternVL, Llama, Molmo; one hears."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tests.models.tiny_chat_parts import (
    GEMMA_TEMPLATE,
    IDEFICS_TEMPLATE,
    LANGUAGE,
    LLAMA3_TEMPLATE,
    PATCH,
    SIZE,
    VISION,
    WIDTH,
    Parts,
    byte_tokenizer,
    chatml,
    gemma_tokenizer,
    llama_tokenizer,
    opened,
    saved,
    tokens_of,
)


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
            **tokens_of(tokenizer),
            "head_dim": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]},
        },
    )
    images = Qwen2VLImageProcessorPil(
        patch_size=patch, size={"shortest_edge": 8 * 8, "longest_edge": 32 * 32}, merge_size=2
    )
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    template = chatml("<|vision_start|><|image_pad|><|vision_end|>", system=system)
    whole = Parts(processor, images, tokenizer, chat_template=template)
    return saved(folder, lambda: model(made), whole, seed)


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
        text_config={**LANGUAGE, **tokens_of(tokenizer), "model_type": "mistral"},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = Idefics2ImageProcessorPil(
        size={"shortest_edge": SIZE // 2, "longest_edge": SIZE}, do_image_splitting=False
    )
    processor = Idefics2Processor(
        images, tokenizer, image_seq_len=3, chat_template=IDEFICS_TEMPLATE.replace("START", "")
    )
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_utterance>")]
    return saved(folder, lambda: Idefics2ForConditionalGeneration(config), processor, seed, ends)


def _idefics3(config: Any, tokenizer: Any) -> Any:
    return config(
        vision_config=VISION,
        text_config={**LANGUAGE, **tokens_of(tokenizer), "model_type": "llama"},
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
    return saved(folder, lambda: Idefics3ForConditionalGeneration(config), processor, seed)


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
    processor = Parts("SmolVLMProcessor", images, tokenizer, image_seq_len=1, chat_template=template)
    return saved(folder, lambda: SmolVLMForConditionalGeneration(config), processor, seed)


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
            **tokens_of(tokenizer),
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
    return saved(folder, lambda: opened(Gemma3ForConditionalGeneration(config)), processor, seed, ends)


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
        text_config={**LANGUAGE, **tokens_of(tokenizer), "model_type": "gemma", "head_dim": 16},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=WIDTH,
        hidden_size=WIDTH,
    )
    return saved(folder, lambda: PaliGemmaForConditionalGeneration(config), processor, seed)


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
        text_config={**LANGUAGE, **tokens_of(tokenizer), "model_type": "qwen2"},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=1,
    )
    images = GotOcr2ImageProcessorPil(size={"height": SIZE, "width": SIZE}, max_patches=4)
    template = chatml("<IMG_CONTEXT>\n")
    processor = Parts("InternVLProcessor", images, tokenizer, image_seq_length=1, chat_template=template)
    return saved(folder, lambda: InternVLForConditionalGeneration(config), processor, seed)


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
    language = {**LANGUAGE, **tokens_of(tokenizer), "cross_attention_layers": [1]}
    # The image's token has no output of its own: ids beyond the vocabulary.
    image = tokenizer.convert_tokens_to_ids("<|image|>")
    config = MllamaConfig(vision_config=vision, text_config=language, image_token_index=image)
    images = MllamaImageProcessorPil(size={"height": SIZE, "width": SIZE}, max_image_tiles=4)
    processor = MllamaProcessor(images, tokenizer, chat_template=LLAMA3_TEMPLATE)
    return saved(folder, lambda: opened(MllamaForConditionalGeneration(config)), processor, seed)


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
        text_config={**LANGUAGE, **tokens_of(tokenizer), "model_type": "qwen2"},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    template = chatml("", "<|audio_bos|><|AUDIO|><|audio_eos|>\n")
    processor = Qwen2AudioProcessor(extractor, tokenizer, chat_template=template)
    return saved(folder, lambda: Qwen2AudioForConditionalGeneration(config), processor, seed)


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
        text_config={**LANGUAGE, **tokens_of(tokenizer), **heads, "additional_vocab_size": 0},
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
    processor = Parts("Molmo2Processor", images, tokenizer, chat_template=chatml("<|image|>"))
    return saved(folder, lambda: Molmo2ForConditionalGeneration(config), processor, seed)
