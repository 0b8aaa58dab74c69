"""How chat models differ from LLaVA 1.5: what neither their configs nor their processors tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

PARTS = ("vision", "audio", "projector", "language")
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linear layers of the language model, as Llama and its descendants call them."""


@dataclass(frozen=True)
class Chat:
    """One kind of chat model.

    `vision`, `audio`, `projector` and `language` are the prefixes of its parts in the transformers model,
    `targets` the linear layers of its language model. `shares_prefix` says that what stands before a token
    doesn't depend on it, so that prompts may share a prefilled beginning. `media_by_prompt`: its media
    tensors have a row for each prompt, not for each image. `mixes`: a text without media may stand beside
    one with some in a batch, and nothing changes. `spaced`: its processor puts a space between an image and
    a word right behind it. `plain` is the prompt of a model that was trained without a chat template.
    `answer_type` is the token type of what is answered, where it differs from the prompt's.
    `tokens_per_second` are those of audio.
    """

    vision: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    projector: tuple[str, ...] = ()
    language: tuple[str, ...] = ("model.language_model", "lm_head")
    targets: tuple[str, ...] = TARGETS
    shares_prefix: bool = True
    media_by_prompt: bool = False
    mixes: bool = True
    spaced: bool = False
    plain: str | None = None
    answer_type: int = 0
    tokens_per_second: float = 0.0

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """Part to prefixes."""
        return {name: getattr(self, name) for name in PARTS if getattr(self, name)}


LLAVA = Chat(vision=("model.vision_tower",), projector=("model.multi_modal_projector",))

LLAVA_NEXT = Chat(
    vision=("model.vision_tower",), projector=("model.multi_modal_projector", "model.image_newline")
)
QWEN = Chat(vision=("model.visual",), projector=("model.visual.merger", "model.visual.deepstack_merger_list"))
IDEFICS3 = Chat(
    vision=("model.vision_model",),
    projector=("model.connector",),
    language=("model.text_model", "lm_head"),
    media_by_prompt=True,
)
PALIGEMMA = Chat(
    vision=("model.vision_tower",),
    projector=("model.multi_modal_projector",),
    shares_prefix=False,
    plain="{images}{text}\n",
    answer_type=1,
)
"""Beyer et al. 2024: image and question see each other both ways, the answer follows a line break."""

CHATS: dict[str, Chat] = {
    "llava": LLAVA,
    "llava_next": LLAVA_NEXT,
    "llava_onevision": LLAVA_NEXT,
    "qwen2_vl": QWEN,
    "qwen2_5_vl": QWEN,
    "qwen3_vl": QWEN,
    "idefics2": replace(IDEFICS3, spaced=True),
    "idefics3": IDEFICS3,
    "smolvlm": IDEFICS3,
    "gemma3": LLAVA,
    "paligemma": PALIGEMMA,
    "internvl": LLAVA,
    "molmo2": LLAVA,
    "mllama": Chat(
        vision=("model.vision_model",),
        projector=("model.multi_modal_projector",),
        media_by_prompt=True,
        mixes=False,  # where a row may look at no image, its cross-attention looks at all of them
    ),
    "qwen2_audio": Chat(
        audio=("model.audio_tower",), projector=("model.multi_modal_projector",), tokens_per_second=25
    ),
}
"""By config.model_type; what calls its parts as LLaVA does is LLaVA here."""


def chat_of(config: Any) -> Chat:
    """The kind of chat model that a checkpoint's config is of; LLaVA's where none is named."""
    return CHATS.get(config.model_type, LLAVA)


def all_parts() -> dict[str, tuple[str, ...]]:
    """Part to prefixes, of all kinds together: no network has a part under two of them."""
    return {name: tuple(dict.fromkeys(_prefixes(name))) for name in PARTS}


def _prefixes(part: str) -> Iterator[str]:
    for chat in CHATS.values():
        yield from getattr(chat, part)
