"""Tiny speech checkpoints with random weights, made in code: real folders that the Auto classes load."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from harness.models.weights import quiet

Vocabulary = Literal["bytes", "multilingual", "english"]

LANGUAGES: dict[str, tuple[str, ...]] = {
    "bytes": ("en", "fr"),
    "multilingual": ("en", "zh", "de", "fr", "no", "tl", "jw", "he", "yue"),
    "english": (),
}
RATE_HZ = 16_000
HOP = 160


def byte_vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """The 256 printable stand-ins of bytes that byte-level BPE uses, then the merged pieces."""
    from tokenizers import pre_tokenizers

    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(merge) for merge in merges]
    return {piece: number for number, piece in enumerate(pieces)}


def whisper_tokenizer(vocabulary: Vocabulary, positions: int) -> Any:
    """A tokenizer with Whisper's special tokens after the text, in Whisper's order, and its timestamps."""
    from tokenizers import AddedToken
    from transformers import WhisperTokenizer

    merges = [("h", "e"), ("l", "o"), ("Ġ", "t")] if vocabulary == "multilingual" else []
    tokenizer = WhisperTokenizer(vocab=byte_vocabulary(merges), merges=merges, pad_token="<|endoftext|>")
    names = ["startoftranscript", *(LANGUAGES[vocabulary] or ("en",)), "translate", "transcribe"]
    names += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{name}|>" for name in names]})
    times = [f"<|{place * 0.02:.2f}|>" for place in range(positions + 1)]
    tokenizer.add_tokens([AddedToken(time, normalized=False, special=False) for time in times])
    return tokenizer


def tiny_whisper(
    folder: Path,
    *,
    vocabulary: Vocabulary = "bytes",
    window_seconds: int = 1,
    d_model: int = 16,
    layers: int = 1,
    target_positions: int = 32,
    dtype: str = "float32",
    seed: int = 0,
    generation: dict[str, Any] | None = None,
) -> Path:
    """A Whisper checkpoint; 80 mel bins, or 128 for the multilingual vocabulary as in large-v3.

    The weights are drawn wide, so that outputs differ from clip to clip. `generation` overrides the
    generation config.
    """
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
    )

    source_positions = window_seconds * RATE_HZ // HOP // 2
    tokenizer = whisper_tokenizer(vocabulary, source_positions)
    ids = tokenizer.convert_tokens_to_ids
    mels = 128 if vocabulary == "multilingual" else 80
    end, start = ids("<|endoftext|>"), ids("<|startoftranscript|>")
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=mels,
        d_model=d_model,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=2 * d_model,
        decoder_ffn_dim=2 * d_model,
        max_source_positions=source_positions,
        max_target_positions=target_positions,
        init_std=0.5,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
    )
    settings: dict[str, Any] = {
        "decoder_start_token_id": start,
        "eos_token_id": end,
        "bos_token_id": end,
        "pad_token_id": end,
        "max_length": target_positions,
        "suppress_tokens": [start, ids("<|startofprev|>"), ids("<|nospeech|>"), ids("<|translate|>")],
        "begin_suppress_tokens": [ids("Ġ"), end],
        "no_timestamps_token_id": ids("<|notimestamps|>"),
        "prev_sot_token_id": ids("<|startofprev|>"),
        "alignment_heads": [[0, 0]],
        "is_multilingual": vocabulary != "english",
    }
    if vocabulary != "english":
        settings["lang_to_id"] = {f"<|{code}|>": ids(f"<|{code}|>") for code in LANGUAGES[vocabulary]}
        settings["task_to_id"] = {task: ids(f"<|{task}|>") for task in ("transcribe", "translate")}
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config).to(getattr(torch, dtype))
    model.generation_config = GenerationConfig(**settings | (generation or {}))
    # Otherwise from_pretrained takes it for a derived one, and the language and task tables are lost.
    model.generation_config._from_model_config = False
    extractor = WhisperFeatureExtractor(feature_size=mels, chunk_length=window_seconds)
    with quiet():
        WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
        model.save_pretrained(folder)
    return folder


def tiny_moonshine(folder: Path, *, seed: int = 0) -> Path:
    """A Moonshine checkpoint: raw audio in, no window, no mel spectrogram, no language or task tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        GenerationConfig,
        MoonshineConfig,
        MoonshineForConditionalGeneration,
        PreTrainedTokenizerFast,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2Processor,
    )

    special = ["<unk>", "<s>", "</s>"]
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    config = MoonshineConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        intermediate_size=32,
        encoder_num_hidden_layers=1,
        decoder_num_hidden_layers=1,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
        max_position_embeddings=24,
        initializer_range=0.5,
        pad_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    torch.manual_seed(seed)
    model = MoonshineForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=1, bos_token_id=1, eos_token_id=2, pad_token_id=2, max_length=24
    )
    model.generation_config._from_model_config = False
    extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=RATE_HZ, do_normalize=False, return_attention_mask=True
    )
    with quiet():
        Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
        model.save_pretrained(folder)
    return folder


def tiny_speech2text(folder: Path, *, multilingual: bool, seed: int = 0) -> Path:
    """A Speech2Text checkpoint: filter banks in, SentencePiece out, target languages when multilingual.

    Needs the package sentencepiece, as any Speech2Text checkpoint does.
    """
    import io
    import json
    from importlib import import_module

    import torch
    from transformers import (
        GenerationConfig,
        Speech2TextConfig,
        Speech2TextFeatureExtractor,
        Speech2TextForConditionalGeneration,
        Speech2TextProcessor,
        Speech2TextTokenizer,
    )

    sentencepiece = import_module("sentencepiece")
    folder.mkdir(parents=True)
    model_file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["hello the world", "one two three four five six seven eight nine zero"] * 4),
        model_writer=model_file,
        vocab_size=60,
        hard_vocab_limit=False,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        user_defined_symbols=[f"<lang:{code}>" for code in ("pt", "fr", "ru", "nl", "ro", "it", "es", "de")],
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model_file.getvalue())
    vocab = {pieces.id_to_piece(number): number for number in range(pieces.get_piece_size())}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "sentencepiece.bpe.model").write_bytes(model_file.getvalue())
    tokenizer = Speech2TextTokenizer(
        str(folder / "vocab.json"),
        str(folder / "sentencepiece.bpe.model"),
        lang_codes="mustc" if multilingual else None,
    )
    tokens = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = Speech2TextConfig(
        vocab_size=len(vocab),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        conv_channels=16,
        max_target_positions=24,
        init_std=0.5,
        **tokens,
    )
    torch.manual_seed(seed)
    model = Speech2TextForConditionalGeneration(config)
    model.generation_config = GenerationConfig(max_length=24, **tokens)
    model.generation_config._from_model_config = False
    with quiet():
        Speech2TextProcessor(Speech2TextFeatureExtractor(), tokenizer).save_pretrained(folder)
        model.save_pretrained(folder)
    return folder
