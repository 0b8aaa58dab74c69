"""How a chat model writes: the checkpoint's generation settings with the task's wishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError
from harness.models import generation

if TYPE_CHECKING:
    from harness.spec.schema import Generate

MAX_NEW_TOKENS = 128
"""Where neither the task nor the checkpoint says how long an answer may be (as LLaVA was evaluated)."""


def settings(own: Any, config: Any, tokenizer: Any, generate: Generate) -> Any:
    """The checkpoint's generation config `own` with the task's wishes: greedy unless the task says otherwise.

    Raises AdapterError for settings that only speech models have.
    """
    generation.refuse_speech(generate)
    text = config.get_text_config(decoder=True)
    for source in (config, text, tokenizer):
        if own.eos_token_id is None:
            own.eos_token_id = getattr(source, "eos_token_id", None)
    if own.eos_token_id is None:
        raise AdapterError("the checkpoint names no token that ends an answer (eos_token_id)")
    own.pad_token_id = next(
        (token for token in (own.pad_token_id, tokenizer.pad_token_id) if token is not None),
        min(generation.end_tokens(own)),
    )
    own.num_beams, own.length_penalty = generate.num_beams, generate.length_penalty
    own.do_sample = generation.samples(generate)
    own.temperature = generate.temperature if own.do_sample else 1.0
    if not own.do_sample:
        own.top_k, own.top_p, own.min_p, own.typical_p = 50, 1.0, None, 1.0  # transformers' own: unused
    own.max_new_tokens = generate.max_new_tokens or own.max_new_tokens or MAX_NEW_TOKENS
    own.max_length = None
    own.min_new_tokens = generate.min_new_tokens
    if generate.suppress_tokens == "none":
        own.suppress_tokens, own.begin_suppress_tokens = [], []
    return own


def positions(config: Any) -> int | None:
    """How many tokens, images among them, the language model has positions for; None without a limit."""
    limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return None if limit is None else int(limit)
