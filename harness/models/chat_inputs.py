"""Prompts and their media to token ids and tensors, through the checkpoint's own processor.

A processor writes many tokens where a prompt has an image, so text and ids don't run in step. But a special
token splits a text: what stands behind it is tokenised by itself. So the processor is given a prompt's
beginning alone, up to its last image, once however many prompts go on from there; the rest is tokenised
behind the last special token of that beginning, which is where it would stand. Nothing is ever cut.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.errors import AdapterError, MediaError, RowError
from harness.models.chat_cousins import Chat
from harness.models.sequences import ALONG_TOKENS, Prompts
from harness.models.weights import single_thread
from harness.types import Audio, Image, Media

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Beginning:
    """What the processor made of a prompt's beginning.

    `ids` go up to its last special token, `trailing` is the text that the processor wrote behind that.
    `along` are tensors (1, tokens, ...), `media` the others. `pieces` counts its images and clips,
    `media_tokens` the ids that stand for them.
    """

    ids: tuple[int, ...]
    along: Mapping[str, Any]
    media: Mapping[str, Any]
    trailing: str = ""
    pieces: int = 0
    media_tokens: int = 0


@dataclass
class Read:
    """A prompt as ids: its beginning's and the `tail` behind them."""

    key: Key
    beginning: Beginning
    tail: list[int]

    @property
    def ids(self) -> list[int]:
        """All of them."""
        return [*self.beginning.ids, *self.tail]


@dataclass
class Reading:
    """The beginnings of one batch, by what they are made of; nothing is kept between batches."""

    beginnings: dict[Key, Beginning] = field(default_factory=dict)
    decoding_seconds: float = 0.0
    """Time spent on files, which isn't the model's."""


class ChatInputs:
    """Tokenises and extracts features for one checkpoint, in any thread.

    Padding and truncation are settings that a fast tokenizer's threads share; here they are off in every
    call, so no thread changes them and none has to wait for another.
    """

    def __init__(self, processor: Any, chat: Chat) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._chat = chat
        tokens = [getattr(processor, f"{kind}_token", None) for kind in ("image", "audio")]
        self._tokens = [str(token) for token in tokens if token]
        self._places = re.compile("|".join(map(re.escape, self._tokens)) or "(?!)")
        self._media_ids = frozenset(_media_ids(processor))
        added = self._tokenizer.added_tokens_decoder.items()
        self._special = self._media_ids | {number for number, token in added if token.special}
        extractor = getattr(processor, "feature_extractor", None)
        self.rate_hz = int(getattr(extractor, "sampling_rate", 0))
        """Sampling rate of the audio that it hears; 0 when it doesn't."""
        self._window = getattr(extractor, "n_samples", None)
        self._tokenizer("a", verbose=False)  # sets padding and truncation to none before any thread asks

    def read(self, text: str, media: Sequence[Media], sample_id: str, reading: Reading) -> Read:
        """A prompt's ids; its beginning comes from `reading` where that has it.

        Raises RowError when text and media don't fit each other, MediaError.
        """
        places = list(self._places.finditer(text))
        if len(places) != len(media):
            raise RowError(
                f"sample '{sample_id}': its prompt has {len(places)} places for media, it has {len(media)}. "
                f"Does one of its texts contain {' or '.join(self._tokens)}?"
            )
        if not media:
            return self._without_media(text, sample_id, reading)
        end = places[-1].end()
        head, rest = text[:end], text[end:]
        key: Key = (head, tuple(medium.digest() for medium in media))
        if key not in reading.beginnings:
            reading.beginnings[key] = self._beginning(head, media, sample_id, reading)
        beginning = reading.beginnings[key]
        return Read(key, beginning, self._tail(beginning, rest, sample_id))

    def media_tokens(self, medium: Media) -> int:
        """How many tokens a prompt has for it, from its size alone where the processor can tell. Raises
        MediaError for a shape that the processor refuses."""
        if isinstance(medium, Audio):
            return round(medium.seconds() * self._chat.tokens_per_second)
        if isinstance(medium, Image) and hasattr(self._processor, "_get_num_multimodal_tokens"):
            width, height = medium.size()
            try:
                found = self._processor._get_num_multimodal_tokens(image_sizes=[(height, width)])
            except (ValueError, ZeroDivisionError) as error:
                raise MediaError(f"{medium!r}: its processor refuses {width}x{height}: {error}") from error
            return int(found.num_image_tokens[0])
        return self._of_any_image

    def count_media(self, ids: Sequence[int]) -> int:
        """How many of these tokens stand for media."""
        return sum(token in self._media_ids for token in ids)

    def placed(self, text: str) -> int:
        """How many places for media a text has."""
        return len(self._places.findall(text))

    def text_tokens(self, text: str) -> int:
        """How many tokens a prompt has besides its media."""
        found = self._tokenizer(self._places.sub("", text), add_special_tokens=False, verbose=False)
        return len(found.input_ids)

    def prompts(self, reads: Sequence[Read], pad: int) -> Prompts:
        """Prompts of one batch, the beginnings that they share kept apart. CPU tensors."""
        own = dict.fromkeys(read.key for read in reads)
        numbers = {key: number for number, key in enumerate(own)}
        first = {read.key: read.beginning for read in reversed(reads)}
        beginnings = [first[key] for key in own]
        media = self._media(beginnings)
        return Prompts(
            prefixes=_left_padded(beginnings, pad) | {name: _stacked(parts) for name, parts in media.items()},
            prefix_of=[numbers[read.key] for read in reads],
            suffixes=[read.tail for read in reads],
            pad=pad,
            media=[beginning.pieces for beginning in beginnings],
            by_prompt=self._chat.media_by_prompt,
            answer_type=self._chat.answer_type,
            rows={name: list(map(len, parts)) for name, parts in media.items()},
        )

    def _without_media(self, text: str, sample_id: str, reading: Reading) -> Read:
        made = self._processed(text, [], sample_id, reading)
        ids = made["input_ids"][0].tolist()
        if len(ids) < 2:
            raise RowError(f"sample '{sample_id}' has a prompt of {len(ids)} tokens: nothing is asked")
        key: Key = ("", ids[0])
        if key not in reading.beginnings:
            along = {name: tensor[:, :1] for name, tensor in made.items() if name in ALONG_TOKENS}
            reading.beginnings[key] = Beginning((ids[0],), along, {})
        return Read(key, reading.beginnings[key], ids[1:])

    def _beginning(self, head: str, media: Sequence[Media], sample_id: str, reading: Reading) -> Beginning:
        made = self._processed(head, media, sample_id, reading)
        ids = made["input_ids"][0].tolist()
        special = [place for place, token in enumerate(ids) if token in self._special]
        if not special:
            raise AdapterError(
                "the checkpoint's processor writes no special token for an image, so what follows can't be "
                "told from it",
                "Its tokenizer should list them as special tokens.",
            )
        end = special[-1] + 1
        trailing = "" if self._chat.plain is not None else self._tokenizer.decode(ids[end:])
        beginning = Beginning(
            tuple(ids[:end]),
            {name: tensor[:, :end] for name, tensor in made.items() if name in ALONG_TOKENS},
            {name: tensor for name, tensor in made.items() if name not in ALONG_TOKENS},
            trailing,
            len(media),
            self.count_media(ids),
        )
        if self._chat.plain is None and self._tail(beginning, "", sample_id) != ids[end:]:
            raise RowError(f"sample '{sample_id}': what its processor writes behind an image can't be split")
        return beginning

    def _tail(self, beginning: Beginning, rest: str, sample_id: str) -> list[int]:
        """Ids of the text behind a beginning."""
        if self._chat.spaced and rest[:1].strip() and rest[0] != "<":
            rest = f" {rest}"
        anchor = beginning.ids[-1]
        text = self._tokenizer.convert_ids_to_tokens(anchor) + beginning.trailing + rest
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        if ids[0] != anchor:
            raise RowError(f"sample '{sample_id}': its prompt can't be split behind an image")
        return ids[1:]

    def _processed(
        self, text: str, media: Sequence[Media], sample_id: str, reading: Reading
    ) -> dict[str, Any]:
        """The processor's tensors for one text."""
        started = time.perf_counter()
        images = [medium.load() for medium in media if isinstance(medium, Image)]
        clips = [self._heard(medium, sample_id) for medium in media if isinstance(medium, Audio)]
        reading.decoding_seconds += time.perf_counter() - started
        begin = self._tokenizer.bos_token
        arguments: dict[str, Any] = {
            "add_special_tokens": not (begin and text.startswith(begin)),
            "padding": False,
            "return_tensors": "pt",
        }
        arguments |= {"images": images} if images else {}
        arguments |= {"audio": clips, "sampling_rate": self.rate_hz} if clips else {}
        try:
            with single_thread():
                made = dict(self._processor(text=[text], **arguments))
        except (ValueError, TypeError, IndexError) as error:
            raise RowError(f"sample '{sample_id}': its processor refuses it: {error}") from error
        return {name: tensor for name, tensor in made.items() if name != "labels"}

    def _heard(self, clip: Audio, sample_id: str) -> Any:
        """A waveform. Raises RowError for one that the checkpoint would cut."""
        if not self.rate_hz:
            raise RowError(f"sample '{sample_id}' has audio, which this checkpoint doesn't hear")
        wave = clip.load(self.rate_hz)
        if self._window is not None and len(wave) > self._window:
            raise RowError(
                f"sample '{sample_id}' lasts {len(wave) / self.rate_hz:.2f} s: this checkpoint hears "
                f"{self._window / self.rate_hz:g} s and would cut the rest"
            )
        return wave

    @cached_property
    def _of_any_image(self) -> int:
        """Tokens of an image, where they don't depend on its size."""
        from PIL.Image import new

        made = self._processor(text=[self._processor.image_token], images=[new("RGB", (64, 64))])
        return self.count_media(list(made["input_ids"][0]))

    def _media(self, beginnings: Sequence[Beginning]) -> dict[str, list[Any]]:
        """Each beginning's part of every media tensor; one without media has no rows, or a row of zeros."""
        found: dict[str, list[Any]] = {}
        for name in dict.fromkeys(name for beginning in beginnings for name in beginning.media):
            like = next(beginning.media[name] for beginning in beginnings if name in beginning.media)
            none = like.new_zeros((1 if self._chat.media_by_prompt else 0, *like.shape[1:]))
            found[name] = [beginning.media.get(name, none) for beginning in beginnings]
        return found


def right_padded(tensors: dict[str, Any]) -> dict[str, Any]:
    """Tensors along tokens with every pad moved behind the last token, and as few of them as can be."""
    import torch

    mask = tensors["attention_mask"]
    width = int(mask.sum(1).max())
    order = mask.argsort(dim=1, descending=True, stable=True)[:, :width]
    rows = torch.arange(len(order), device=order.device)[:, None]
    return {name: tensor[rows, order] for name, tensor in tensors.items()}


def _media_ids(processor: Any) -> list[int]:
    found = [*getattr(processor, "image_token_ids", []), *getattr(processor, "audio_token_ids", [])]
    return [int(token) for token in found if token is not None]


def _left_padded(beginnings: Sequence[Beginning], pad: int) -> dict[str, Any]:
    from torch.nn.functional import pad as padded

    names = dict.fromkeys(name for beginning in beginnings for name in beginning.along)
    width = max(len(beginning.ids) for beginning in beginnings)
    found: dict[str, list[Any]] = {}
    for name in names:
        like = next(beginning.along[name] for beginning in beginnings if name in beginning.along)
        for beginning in beginnings:
            short = len(beginning.ids)
            tensor = beginning.along.get(name)
            if tensor is None:
                tensor = like.new_zeros((1, short, *like.shape[2:]))
            sides = [0, 0] * (tensor.dim() - 2) + [width - short, 0]
            found.setdefault(name, []).append(padded(tensor, sides, value=pad if name == "input_ids" else 0))
    return {name: _stacked(rows) for name, rows in found.items()}


def _stacked(parts: Sequence[Any]) -> Any:
    """Tensors one after the other along the first dimension, the others filled up with zeros."""
    import torch
    from torch.nn.functional import pad as padded

    shape = [max(part.shape[place] for part in parts) for place in range(1, parts[0].dim())]
    fitting = []
    for part in parts:
        sides = [
            side for now, wanted in zip(part.shape[1:], shape, strict=True) for side in (wanted - now, 0)
        ]
        fitting.append(padded(part, sides[::-1]) if any(sides) else part)
    return torch.cat(fitting)
