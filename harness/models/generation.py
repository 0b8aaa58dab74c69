"""Generation with speech models: settings from the task and the checkpoint, and the three ways to decode.

Every function takes the network as an argument and leaves it, and its own generation config, as it was:
several tasks may share one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, PredictionError

if TYPE_CHECKING:
    from harness.spec.schema import Generate

# Thresholds under which a segment is decoded again at the next temperature (Radford et al. 2022, section 4.5;
# the compression ratio is of token bytes, as transformers measures it).
FALLBACK = {"compression_ratio_threshold": 1.35, "logprob_threshold": -1.0, "no_speech_threshold": 0.6}
# What transformers assumes where neither a checkpoint nor its caller says anything.
DEFAULTS: dict[str, Any] = {
    "num_beams": 1,
    "length_penalty": 1.0,
    "do_sample": False,
    "temperature": 1.0,
    "max_new_tokens": None,
    "max_length": 20,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
# More positions at once don't fit a CPU's caches: whisper-tiny's encoder took 0.22 s per clip in twos and
# 0.26 s in sixteens, 1,500 positions each, on two cores.
CPU_ENCODER_POSITIONS = 3000


@dataclass(frozen=True)
class Decoded:
    """One clip's new token ids up to the end token, and whether the length limit came first.

    `parts` are the ids segment by segment, one part for a clip that was decoded in one go.
    """

    parts: list[list[int]]
    truncated: bool


def samples(generate: Generate) -> bool:
    """Whether decoding may draw random numbers."""
    temperatures = generate.temperature
    return max(temperatures if isinstance(temperatures, tuple) else (temperatures,)) > 0


def refuse_speech(generate: Generate) -> None:
    """Raises AdapterError for what has no meaning to a model of images, rather than leave it out."""
    asked = {
        "language": generate.language is not None,
        "task": generate.task != "transcribe",
        "timestamps": generate.timestamps != "none",
        "temperature": isinstance(generate.temperature, tuple),
    }
    for name, wrong in asked.items():
        if wrong:
            value = getattr(generate, name)
            raise AdapterError(
                f"generate.{name}: {value} is for speech, a model of images has nothing like it",
                f"Remove generate.{name}." if name != "temperature" else "Give one temperature.",
            )


def needs_segments(generate: Generate) -> bool:
    """Whether even a short clip goes through the long-form algorithm: for timestamps, or for fallback."""
    return generate.timestamps != "none" or isinstance(generate.temperature, tuple)


def positions(config: Any) -> int:
    """The decoder's length limit in tokens, prompt included."""
    for name in ("max_target_positions", "max_position_embeddings"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    raise AdapterError(f"the config of a '{config.model_type}' checkpoint names no length limit")


def settings(own: Any, config: Any, generate: Generate, prompt: int) -> Any:
    """The checkpoint's generation config `own` with the task's wishes; `prompt` tokens come before the text.

    What it leaves open comes from the checkpoint's config. Raises AdapterError when more tokens are wanted
    than the decoder has positions for, and for a least number of them: speech may be silence.
    """
    if generate.min_new_tokens is not None:
        raise AdapterError(
            "min_new_tokens: a speech recogniser writes as little as is said",
            "Remove generate.min_new_tokens.",
        )
    for token in ("decoder_start_token_id", "eos_token_id", "pad_token_id"):
        if getattr(own, token) is None:
            setattr(own, token, getattr(config, token))
    own.num_beams, own.length_penalty = generate.num_beams, generate.length_penalty
    own.do_sample = samples(generate) and not isinstance(generate.temperature, tuple)
    own.temperature = generate.temperature if own.do_sample else 1.0
    own.language = own.task = None  # they are passed by name
    # The old form of them gives way. For an English-only model it is the one way to keep transformers from
    # detecting a language as soon as a table of languages is there.
    english = getattr(own, "is_multilingual", True) is False and hasattr(own, "no_timestamps_token_id")
    own.forced_decoder_ids = [[1, own.no_timestamps_token_id]] if english else None
    if generate.suppress_tokens == "none":
        own.suppress_tokens, own.begin_suppress_tokens = [], []
    limit = positions(config)
    if generate.max_new_tokens is None:
        if own.max_new_tokens is None and own.max_length is None:
            own.max_length = limit
        return own
    if generate.max_new_tokens + prompt > limit:
        raise AdapterError(
            f"max_new_tokens: {generate.max_new_tokens} and the prompt's {prompt} tokens are more than the "
            f"{limit} positions of the checkpoint's decoder",
            f"Use at most {limit - prompt}.",
        )
    own.max_new_tokens, own.max_length = generate.max_new_tokens, None
    return own


def end_token(config: Any) -> int:
    """The id that ends a text in training."""
    ends = config.eos_token_id
    return int(ends[0] if isinstance(ends, list) else ends)


def end_tokens(config: Any) -> frozenset[int]:
    """The ids that end a text."""
    ends = config.eos_token_id
    return frozenset(ends if isinstance(ends, list) else [ends])


@contextmanager
def only_numbers(model: Any) -> Iterator[None]:
    """Raises PredictionError as soon as a logit is NaN or infinite, which decoding would turn into a text.

    What goes wrong in any layer shows in the logits, so each step costs one look at them.
    """

    def look(_: Any, __: Any, found: Any) -> None:
        # The largest is NaN where any is, and -inf where all are.
        if not found.logits.amax(-1).isfinite().all():
            raise PredictionError("the network computed non-finite numbers (NaN or infinity)")

    hook = model.register_forward_hook(look)
    try:
        yield
    finally:
        hook.remove()


def encode(model: Any, features: Any) -> Any:
    """Encoder states of features (clips, mels, frames): (clips, positions, width).

    On a CPU a few clips at a time: the caches hold them, and the results are the same.
    """
    import torch

    encoder = model.get_encoder()
    step = len(features)
    if features.device.type == "cpu":
        step = max(1, CPU_ENCODER_POSITIONS // int(model.config.max_source_positions))
    parts = [encoder(part).last_hidden_state for part in features.split(step)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def detect(model: Any, states: Any, config: Any) -> list[int]:
    """The language token that the model finds most likely, per clip of `states`."""
    from transformers.modeling_outputs import BaseModelOutput

    found = model.detect_language(
        encoder_outputs=BaseModelOutput(last_hidden_state=states), generation_config=config
    )
    return [int(token) for token in found]


def by_window(model: Any, states: Any, config: Any, control: dict[str, Any], prompt: int) -> list[Decoded]:
    """Decode clips of one window from their encoder states, so that the encoder isn't run again."""
    from transformers.modeling_outputs import BaseModelOutput

    rows = model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=states),
        generation_config=config,
        temperature=config.temperature if config.do_sample else None,
        return_timestamps=False,
        force_unique_generate_call=True,
        **control,
    )
    ends = end_tokens(config)
    return [_cut(row[prompt:], ends) for row in rows.tolist()]


def by_prompt(model: Any, inputs: dict[str, Any], config: Any, prompts: Any) -> list[Decoded]:
    """Decode clips of a model without a window: `prompts` are the decoder's first ids (clips, prompt)."""
    rows = model.generate(**inputs, decoder_input_ids=prompts, generation_config=config)
    ends = end_tokens(config)
    return [_cut(row[prompts.shape[1] :], ends) for row in rows.tolist()]


def by_segments(
    model: Any, inputs: dict[str, Any], config: Any, control: dict[str, Any], generate: Generate
) -> list[list[dict[str, Any]]]:
    """Whisper's long-form algorithm: the segments of each clip, found window by window through timestamps.

    Each has start and end (seconds), tokens, result, and token_timestamps when words are wanted.
    """
    words = generate.timestamps == "word"
    wishes = {
        "return_token_timestamps": words or None,
        "temperature": generate.temperature if samples(generate) else None,
        **(FALLBACK if isinstance(generate.temperature, tuple) else {}),
    }
    found: list[list[dict[str, Any]]] = []
    with _attention_kept(model):
        for clips, choice in _parts(inputs, control, one_by_one=words):
            found += model.generate(
                **clips,
                **choice,
                **wishes,
                generation_config=config,
                return_timestamps=True,
                return_segments=True,
            )["segments"]
    return found


def _parts(
    inputs: dict[str, Any], control: dict[str, Any], *, one_by_one: bool
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The whole batch, or its clips: transformers 5.23 can't time words of clips of several lengths."""
    if not one_by_one:
        yield inputs, control
        return
    for place in range(len(inputs["input_features"])):
        part = slice(place, place + 1)
        clips = {name: tensor[part] for name, tensor in inputs.items()}
        yield clips, control | {"language": control["language"][part]} if "language" in control else control


def joined(segments: Sequence[dict[str, Any]], config: Any) -> Decoded:
    """A clip's segments as one clip's parts; truncated if the length limit ended any of them."""
    ends = end_tokens(config)
    results = [segment["result"] for segment in segments]
    rows = [result["sequences"] if isinstance(result, dict) else result for result in results]
    parts = [[token for token in segment["tokens"].tolist() if token not in ends] for segment in segments]
    return Decoded(parts, any(not ends & set(row.tolist()[1:]) for row in rows))


@contextmanager
def _attention_kept(model: Any) -> Iterator[None]:
    """Undo the switch to eager attention that word timestamps leave behind."""
    inner = model.model.config
    kernel = inner._attn_implementation
    try:
        yield
    finally:
        inner._attn_implementation = kernel


def _cut(row: list[int], ends: frozenset[int]) -> Decoded:
    for place, token in enumerate(row):
        if token in ends:
            return Decoded([row[:place]], truncated=False)
    return Decoded([row], truncated=True)
