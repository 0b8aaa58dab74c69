"""From generated token ids to text, counts and timestamps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

from harness.models.generation import Decoded
from harness.models.languages import language_name
from harness.types import Json, Output


@dataclass(frozen=True)
class Reader:
    """Reads a tokenizer's ids; `first_timestamp` is the id of <|0.00|>, None without timestamps."""

    tokenizer: Any
    first_timestamp: int | None

    def text_ids(self, ids: Sequence[int]) -> list[int]:
        """The ids that are text: neither special tokens nor timestamps."""
        end = float("inf") if self.first_timestamp is None else self.first_timestamp
        return [token for token in ids if token < end and token not in self._special]

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids)

    def outputs(
        self, clips: Sequence[Decoded], spaced: Sequence[bool], extras: Sequence[Mapping[str, Json]]
    ) -> list[Output]:
        """One output per clip; surrounding spaces are stripped from the text.

        `spaced` is whether a clip's language puts spaces between words: then its segments are kept apart.
        """
        return [
            self._output(clip, apart, extra) for clip, apart, extra in zip(clips, spaced, extras, strict=True)
        ]

    def _output(self, clip: Decoded, spaced: bool, extra: Mapping[str, Json]) -> Output:
        parts = [ids for ids in map(self.text_ids, clip.parts) if ids]
        count = sum(map(len, parts))
        # Segments break between words, but a character's bytes may lie on both sides where there are none.
        parts = parts if spaced else [[token for ids in parts for token in ids]]
        texts = self.tokenizer.batch_decode(parts, skip_special_tokens=True)
        return Output(reduce(_side_by_side, texts, "").strip(), count, clip.truncated, extra)

    def segment(self, found: Mapping[str, Any], language: str | None, *, words: bool) -> Json:
        """A segment of Whisper's long-form algorithm as JSON: start and end in seconds, text, words."""
        ids = found["tokens"].tolist()
        start, end = float(found["start"]), float(found["end"])
        text = self.tokenizer.decode(self.text_ids(ids), skip_special_tokens=True).strip()
        segment: dict[str, Json] = {"start": round(start, 2), "end": round(end, 2), "text": text}
        if words:
            times = found["token_timestamps"].tolist()
            segment["words"] = self._words(ids, times, start, language)
        return segment

    def _words(
        self, ids: Sequence[int], times: Sequence[float], start: float, language: str | None
    ) -> list[Json]:
        """Words with times: a token's time is its end, so a word begins where the token before it ended."""
        from transformers.models.whisper.tokenization_whisper import _combine_tokens_into_words

        ends = dict(enumerate(times))
        text = set(self.text_ids(ids))
        places = [place for place, token in enumerate(ids) if token in text]
        name = language_name(language) if language else "english"
        words, _, members = _combine_tokens_into_words(self.tokenizer, [ids[place] for place in places], name)
        return [
            {
                "word": word.strip(),
                "start": round(ends.get(places[member[0]] - 1, start), 2),
                "end": round(ends[places[member[-1]]], 2),
            }
            for word, member in zip(words, members, strict=True)
        ]


def _side_by_side(left: str, right: str) -> str:
    """Two segments' texts in a row, with a space between where neither brings one.

    OpenAI's checkpoints begin every word with a space; one fine-tuned on plain texts doesn't begin its first.
    """
    apart = not left or not right or left[-1].isspace() or right[0].isspace()
    return left + right if apart else f"{left} {right}"
