"""Tiny dual encoders and image classifiers with random weights, made in code: real folders.

Every text is spelled character by character, so that its length in tokens is known. Weights are drawn wide:
embeddings differ from image to image and from text to text.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.models.weights import quiet
from tests.models.tiny import byte_vocabulary

POSITIONS = 24
"""Tokens that a tiny text tower has room for, special ones included."""
SIZE = 16
"""Width and height of what a tiny vision tower sees, in pixels."""
PATCH = 8
WIDTH = 16
TOWER = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def clip_tokenizer() -> Any:
    """CLIP's byte-level BPE without merges: a token for each character, one more variant at a word's end."""
    from transformers import CLIPTokenizer

    letters = list(byte_vocabulary([]))
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[], model_max_length=POSITIONS
    )


def letters_tokenizer() -> Any:
    """WordPiece as in BERT over single characters (ALIGN, Chinese-CLIP)."""
    from transformers import BertTokenizer

    letters = [chr(code) for code in range(33, 127)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    return BertTokenizer(vocab=vocab, model_max_length=POSITIONS)


def roberta_tokenizer() -> Any:
    """Byte-level BPE as in RoBERTa, without merges (CLAP)."""
    from transformers import RobertaTokenizer

    pieces = ["<s>", "<pad>", "</s>", "<unk>", *byte_vocabulary([]), "<mask>"]
    return RobertaTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[], model_max_length=POSITIONS
    )


def gemma_tokenizer() -> Any:
    """Gemma's tokenizer over bytes as SigLIP 2 uses it: no start token, an end token, no mask."""
    from tokenizers import processors
    from transformers import Siglip2Tokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127))]
    tokenizer = Siglip2Tokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[],
        padding_side="right",
        model_max_length=POSITIONS,
        model_input_names=["input_ids"],
    )
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return tokenizer


def sentence_piece_tokenizer(folder: Path) -> Any:
    """SigLIP's own: SentencePiece over lower-cased text without punctuation."""
    from transformers import SiglipTokenizer

    trainer = import_module("sentencepiece").SentencePieceTrainer
    model = io.BytesIO()
    trainer.train(
        sentence_iterator=iter(["abcdefghijklm nopqrstuvwxyz 0123456789"] * 4),
        model_writer=model,
        model_type="char",
        vocab_size=64,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(model.getvalue())
    return SiglipTokenizer(
        str(folder / "spiece.model"), model_max_length=POSITIONS, model_input_names=["input_ids"]
    )


def tiny_clip(folder: Path, *, seed: int = 0, width: int = WIDTH, layers: int = 2, size: int = SIZE) -> Path:
    """A CLIP: shortest side resized, centre cropped."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    tokenizer = clip_tokenizer()
    tower = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "initializer_factor": 4.0,
    }
    config = CLIPConfig(
        text_config={**tower, **_text_tokens(tokenizer), "max_position_embeddings": POSITIONS},
        vision_config={**tower, "image_size": size, "patch_size": PATCH},
        projection_dim=width // 2,
    )
    images = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    return _save(folder, lambda: CLIPModel(config), CLIPProcessor(images, tokenizer), seed)


def tiny_metaclip(folder: Path, *, seed: int = 0) -> Path:
    """A MetaCLIP 2: CLIP's towers, a tokenizer of another kind."""
    from transformers import CLIPImageProcessor, CLIPProcessor, MetaClip2Config, MetaClip2Model

    tokenizer = clip_tokenizer()
    tower = TOWER | {"initializer_factor": 4.0}
    config = MetaClip2Config(
        text_config={**tower, **_text_tokens(tokenizer), "max_position_embeddings": POSITIONS},
        vision_config={**tower, "image_size": SIZE, "patch_size": PATCH},
        projection_dim=WIDTH // 2,
    )
    images = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    return _save(folder, lambda: MetaClip2Model(config), CLIPProcessor(images, tokenizer), seed)


def tiny_siglip(folder: Path, *, second: bool = False, seed: int = 0) -> Path:
    """A SigLIP; with `second`, a SigLIP 2 of fixed resolution: SigLIP's network, Gemma's tokenizer."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    tokenizer = gemma_tokenizer() if second else sentence_piece_tokenizer(folder)
    text = _text_tokens(tokenizer) | {"max_position_embeddings": POSITIONS, "projection_size": WIDTH}
    config = SiglipConfig(
        text_config=TOWER | text, vision_config=TOWER | {"image_size": SIZE, "patch_size": PATCH}
    )
    images = SiglipImageProcessor(size={"height": SIZE, "width": SIZE})
    return _save(folder, lambda: _biased(SiglipModel(config)), SiglipProcessor(images, tokenizer), seed)


def tiny_naflex(folder: Path, *, seed: int = 0) -> Path:
    """A SigLIP 2 of any aspect ratio (NaFlex): patches, a mask of them and their grid."""
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model, Siglip2Processor

    tokenizer = gemma_tokenizer()
    text = _text_tokens(tokenizer) | {"max_position_embeddings": POSITIONS, "projection_size": WIDTH}
    config = Siglip2Config(
        text_config=TOWER | text, vision_config=TOWER | {"num_patches": 4, "patch_size": PATCH}
    )
    images = Siglip2ImageProcessor(patch_size=PATCH, max_num_patches=4)
    return _save(folder, lambda: _biased(Siglip2Model(config)), Siglip2Processor(images, tokenizer), seed)


def tiny_align(folder: Path, *, seed: int = 0) -> Path:
    """An ALIGN: EfficientNet with batch normalisation, BERT, a temperature that divides."""
    from transformers import AlignConfig, AlignModel, AlignProcessor, EfficientNetImageProcessor

    tokenizer = letters_tokenizer()
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS, "initializer_range": 0.3}
    vision = {
        "image_size": SIZE,
        "width_coefficient": 0.5,
        "depth_coefficient": 0.3,
        "in_channels": [32, 16],
        "out_channels": [16, 24],
        "kernel_sizes": [3, 3],
        "strides": [1, 2],
        "num_block_repeats": [1, 1],
        "expand_ratios": [1, 2],
        "hidden_dim": WIDTH,
        "initializer_range": 0.5,
    }
    config = AlignConfig(
        text_config=TOWER | text, vision_config=vision, projection_dim=WIDTH, temperature_init_value=0.05
    )
    images = EfficientNetImageProcessor(
        size={"height": SIZE, "width": SIZE}, crop_size={"height": SIZE, "width": SIZE}
    )
    return _save(folder, lambda: AlignModel(config), AlignProcessor(images, tokenizer), seed)


def tiny_chinese_clip(folder: Path, *, seed: int = 0) -> Path:
    """A Chinese-CLIP: CLIP's vision tower, BERT for texts."""
    from transformers import (
        ChineseCLIPConfig,
        ChineseCLIPImageProcessor,
        ChineseCLIPModel,
        ChineseCLIPProcessor,
    )

    tokenizer = letters_tokenizer()
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS, "initializer_range": 0.3}
    config = ChineseCLIPConfig(
        text_config=TOWER | text,
        vision_config=TOWER | {"image_size": SIZE, "patch_size": PATCH, "initializer_factor": 4.0},
        projection_dim=WIDTH // 2,
    )
    images = ChineseCLIPImageProcessor(
        size={"height": SIZE, "width": SIZE}, crop_size={"height": SIZE, "width": SIZE}
    )
    return _save(folder, lambda: ChineseCLIPModel(config), ChineseCLIPProcessor(images, tokenizer), seed)


def tiny_clap(folder: Path, *, fused: bool = False, seed: int = 0, rate_hz: int = 16_000) -> Path:
    """A CLAP that hears one second; `fused` hears longer clips as a whole besides (feature fusion)."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

    tokenizer = roberta_tokenizer()
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS + 2, "projection_dim": WIDTH}
    audio = {
        "spec_size": 128,
        "num_mel_bins": 64,
        "window_size": 4,
        "patch_embeds_hidden_size": 8,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "num_hidden_layers": 2,
        "hidden_size": 16,
        "projection_dim": WIDTH,
        "enable_fusion": fused,
        "fusion_type": "aff_2d" if fused else None,
    }
    config = ClapConfig(text_config=TOWER | text, audio_config=audio, projection_dim=WIDTH)
    extractor = ClapFeatureExtractor(
        feature_size=64,
        sampling_rate=rate_hz,
        hop_length=160,
        max_length_s=1,
        frequency_max=rate_hz // 2,
        truncation="fusion" if fused else "rand_trunc",
    )
    return _save(folder, lambda: _wide(ClapModel(config)), ClapProcessor(extractor, tokenizer), seed)


def tiny_vit(folder: Path, *, classes: int = 3, seed: int = 0) -> Path:
    """A ViT that classifies images; its classes are called "class 0", ..."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(
        **TOWER,
        image_size=SIZE,
        patch_size=PATCH,
        initializer_range=0.3,
        id2label={number: f"class {number}" for number in range(classes)},
        label2id={f"class {number}": number for number in range(classes)},
    )
    images = ViTImageProcessor(size={"height": SIZE, "width": SIZE})
    return _save(folder, lambda: ViTForImageClassification(config), images, seed)


def pixels_checkpoint(folder: Path, *, size: int = 8, greyscale: bool = True) -> Path:
    """What the family "pixels" needs: a config and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "harness-pixels", "size": size, "greyscale": greyscale}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


TINY: dict[str, Callable[[Path], Path]] = {
    "clip": tiny_clip,
    "metaclip_2": tiny_metaclip,
    "siglip": tiny_siglip,
    "siglip2 fixed": lambda folder: tiny_siglip(folder, second=True),
    "siglip2 naflex": tiny_naflex,
    "align": tiny_align,
    "chinese_clip": tiny_chinese_clip,
}
"""Every cousin that runs as clip."""


def _text_tokens(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _biased(model: Any) -> Any:
    """SigLIP's scale and bias as they begin in its paper: ln 10 and -10."""
    import torch

    with torch.no_grad():
        model.logit_scale.fill_(2.302585)
        model.logit_bias.fill_(-10.0)
    return model


def _wide(model: Any) -> Any:
    """Weights of more than a hundredth, where a config can't ask for it."""
    import torch
    from torch import nn

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.normal_(0.0, 0.3)
    return model


def _save(folder: Path, build: Callable[[], Any], processor: Any, seed: int) -> Path:
    import torch

    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        processor.save_pretrained(folder)
        build().save_pretrained(folder)
    return folder
