"""Tiny BLIPs and vision encoder-decoders with random weights, made in code: folders that others load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.data.image import DecodedImage
from harness.models.weights import quiet
from harness.types import Sample
from tests.models.pictures import picture
from tests.models.tiny_classifier import SIDE, seeded

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *(
        "a",
        "picture",
        "of",
        "cat",
        "dog",
        "red",
        "blue",
        "what",
        "is",
        "this",
        "how",
        "many",
        "two",
        "yes",
        "no",
    ),
    *("on", "the", "mat", "?", ".", "##s", "##ed", "it", "in", "there", "and", "big", "small"),
]
POSITIONS = 24
ENDS = 0.24
"""How much a random network is inclined to end a text."""
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.3,
}
VISION = {
    "hidden_size": 12,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}


def bert_tokenizer() -> Any:
    """Word pieces, lower-cased; BLIP's start token is not among them, as in its checkpoints."""
    from transformers import BertTokenizer

    return BertTokenizer(vocab={piece: number for number, piece in enumerate([*SPECIAL, *WORDS])})


def tiny_blip(folder: Path, name: str = "BlipForConditionalGeneration", *, words: float = 0.1) -> Path:
    """One of BLIP's three networks; `words` is how large its word embeddings are.

    Small ones keep a decoder from saying again and again what it has just read, large ones let it learn.
    """
    import torch
    import transformers
    from transformers import BlipConfig, BlipImageProcessor, BlipProcessor

    tokenizer = bert_tokenizer()
    tokens = {
        "vocab_size": len(tokenizer) + 2,
        "bos_token_id": len(tokenizer),
        "sep_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": 2,
    }
    # A decoder of answers sees the text encoder's states with weights that are made for the image's width.
    width = TEXT["hidden_size"] if name == "BlipForQuestionAnswering" else VISION["hidden_size"]
    config = BlipConfig(
        text_config={**TEXT, **tokens},
        vision_config={**VISION, "hidden_size": width, "initializer_range": 0.7},
        image_text_hidden_size=8,
    )
    network = seeded(getattr(transformers, name), config)
    with torch.no_grad():  # biases and norms as a trained network has them, not zeros and ones
        for key, parameter in network.named_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
            if "word_embeddings" in key:
                parameter.mul_(words)
            if key.endswith("predictions.bias"):  # some of its texts end
                parameter[config.text_config.sep_token_id] += ENDS
    processor = BlipProcessor(BlipImageProcessor(size={"height": SIDE, "width": SIDE}), tokenizer)
    with quiet():
        processor.save_pretrained(folder)
        network.save_pretrained(folder)
    return folder


def byte_tokenizer() -> Any:
    """GPT-2's bytes and a few merges; the end token also begins and pads."""
    from transformers import GPT2Tokenizer

    from tests.models.tiny import byte_vocabulary

    merges = [("c", "a"), ("ca", "t"), ("Ġ", "t"), ("Ġ", "a")]
    vocabulary = byte_vocabulary(merges)
    return GPT2Tokenizer(vocab=vocabulary | {"<|endoftext|>": len(vocabulary)}, merges=merges)


def tiny_vit_gpt2(folder: Path, *, width: int = 16, seed: int = 0) -> Path:
    """ViT and GPT-2, as nlpconnect/vit-gpt2-image-captioning; another `width` needs a projection between."""
    import torch
    from transformers import (
        GPT2Config,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
    )

    tokenizer = byte_tokenizer()
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    decoder = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=POSITIONS,
        initializer_range=0.5,
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=end,
        eos_token_id=end,
    )
    encoder = ViTConfig(**{**VISION, "hidden_size": width}, initializer_range=0.5)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = config.eos_token_id = config.pad_token_id = end

    torch.manual_seed(seed)
    network = VisionEncoderDecoderModel(config)
    with quiet():
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def tiny_trocr(folder: Path, *, decoder: str = "trocr") -> Path:
    """DeiT-like ViT and TrOCR's decoder, or RoBERTa's: start, padding and end are three different tokens."""
    import torch
    from transformers import (
        AutoConfig,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
    )

    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"})
    start, pad, end = tokenizer.bos_token_id, 1, tokenizer.eos_token_id
    widths = {"d_model": 16, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24}
    widths |= {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    text = AutoConfig.for_model(
        decoder,
        vocab_size=len(tokenizer),
        max_position_embeddings=POSITIONS,
        **(widths if decoder == "roberta" else {k: v for k, v in widths.items() if k[0] == "d"}),
        init_std=0.5,
        initializer_range=0.5,
        is_decoder=True,
        add_cross_attention=True,
        pad_token_id=pad,
        bos_token_id=start,
        eos_token_id=end,
        decoder_start_token_id=start,
    )
    encoder = ViTConfig(**{**VISION, "hidden_size": 16}, initializer_range=0.5)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, text)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = start, end, pad
    torch.manual_seed(0)
    network = VisionEncoderDecoderModel(config)
    with quiet():
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def asked(seed: int, target: Any = "a cat", **inputs: Any) -> Sample:
    """A sample with an image of noise and whatever columns its task has."""
    image: DecodedImage = picture(seed)
    return Sample(f"s{seed}", {"image": image, **inputs}, target, f"{seed}")
