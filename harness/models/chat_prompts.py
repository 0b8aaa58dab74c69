"""Turns of a conversation to a prompt's text, through the checkpoint's own chat template, and where in it the
answers are.

A template's words around an answer are not known in advance, so they are found by rendering: what it writes
before an answer when asked for a generation prompt must be what it writes when the answer is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import AdapterError, RowError
from harness.models.chat_cousins import Chat
from harness.spec.kinds import MEDIA
from harness.types import Audio, Image, Turn

DATE = "26 Jul 2024"
"""What templates that write the date are told (Llama 3's own default): prompts mustn't change overnight."""
PROBE = (Turn("user", ("question",)), Turn("assistant", ("answer",)))


@dataclass(frozen=True)
class Answered:
    """A conversation as text: `spans` are the answers in it, from the character after each prompt to after
    the token that ends the turn. The text ends with the last of them."""

    text: str
    spans: tuple[tuple[int, int], ...]


class ChatPrompts:
    """Renders for one checkpoint. Raises AdapterError when its template can't be used."""

    def __init__(self, name: str, processor: Any, chat: Chat, ends: frozenset[int]) -> None:
        self._name = name
        self._processor = processor
        self._chat = chat
        tokenizer = processor.tokenizer
        none = {tokenizer.bos_token, *(getattr(processor, f"{kind}_token", None) for kind in MEDIA)}
        special = {token for token in tokenizer.all_special_tokens if token not in none}
        self._ends = special | {str(tokenizer.convert_ids_to_tokens(end)) for end in ends}
        self._end = str(tokenizer.eos_token or tokenizer.convert_ids_to_tokens(min(ends)))
        self._settings = {"date_string": DATE} if "date_string" in self._template() else {}
        if chat.plain is None:
            self._check_marker()

    @property
    def source(self) -> str:
        """Where the template comes from, for `--dry-run`."""
        return "plain text" if self._chat.plain is not None else "the checkpoint's chat template"

    def prompt(self, turns: Sequence[Turn], sample_id: str) -> str:
        """What the model reads before it answers: up to where its answer begins. Raises RowError."""
        if self._chat.plain is None:
            return self._rendered(turns, ask=True, sample_id=sample_id)
        if len(turns) != 1:
            raise RowError(f"sample '{sample_id}' has {len(turns)} turns; {self._name} takes one question")
        return self._plain(turns[0])

    def answered(self, turns: Sequence[Turn], sample_id: str) -> Answered:
        """A conversation that ends with the assistant's turn. Raises RowError when the answers can't be found
        in what the template makes of it."""
        whole, spans = self._whole(turns, sample_id), []
        for number, turn in enumerate(turns):
            if turn.role != "assistant":
                continue
            before = self.prompt(turns[:number], sample_id)
            spans.append(self._span(whole, before, turn.text, sample_id))
        start, end = spans[-1]
        text = whole[:end] + ("" if self._ended(whole[start:end]) else self._end)
        return Answered(text, (*spans[:-1], (start, len(text))))

    def continuation(self, turns: Sequence[Turn], answer: str, sample_id: str) -> str:
        """What the template writes after the prompt where this is the answer: without the turn's end."""
        answered = (*turns, Turn("assistant", (answer,)))
        before, whole = self.prompt(turns, sample_id), self._whole(answered, sample_id)
        start, end = self._found(whole, before, answer, sample_id)
        return whole[start:end]

    def _whole(self, turns: Sequence[Turn], sample_id: str) -> str:
        if self._chat.plain is None:
            return self._rendered(turns, ask=False, sample_id=sample_id)
        return self.prompt(turns[:-1], sample_id) + turns[-1].text

    def _plain(self, turn: Turn) -> str:
        assert self._chat.plain is not None
        media = [part for part in turn.parts if isinstance(part, Image)]
        places = self._processor.image_token * len(media)
        return self._chat.plain.format(images=places, text=turn.text)

    def _span(self, whole: str, before: str, answer: str, sample_id: str) -> tuple[int, int]:
        """An answer's place, with the token that ends its turn where the template writes one."""
        start, end = self._found(whole, before, answer, sample_id)
        rest = whole[end:].lstrip()
        ending = max((token for token in self._ends if rest.startswith(token)), key=len, default="")
        return start, len(whole) - len(rest) + len(ending) if ending else end

    def _found(self, whole: str, before: str, answer: str, sample_id: str) -> tuple[int, int]:
        """From the end of the prompt to the end of the answer's words; templates strip those."""
        answer = answer.strip()
        if not answer:
            raise RowError(f"sample '{sample_id}' has an empty answer")
        lead = whole[len(before) :]
        skipped = len(lead) - len(lead.lstrip())
        if not whole.startswith(before) or not lead[skipped:].startswith(answer):
            raise RowError(
                f"sample '{sample_id}': the chat template doesn't write the answer {answer[:40]!r} where a "
                f"prompt for it ends, but {lead[:40]!r}"
            )
        return len(before), len(before) + skipped + len(answer)

    def _ended(self, text: str) -> bool:
        return any(text.endswith(token) for token in self._ends)

    def _rendered(self, turns: Sequence[Turn], *, ask: bool, sample_id: str) -> str:
        messages = [{"role": turn.role, "content": [_part(part) for part in turn.parts]} for turn in turns]
        try:
            text = self._processor.apply_chat_template(
                messages, add_generation_prompt=ask, tokenize=False, **self._settings
            )
        except Exception as error:  # a template is a program: it raises whatever it likes
            raise RowError(f"sample '{sample_id}': the chat template refuses it: {error}") from error
        return str(text)

    def _template(self) -> str:
        """The template's source. Raises AdapterError when there is none."""
        template = self._processor.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        if self._chat.plain is None and not template:
            raise AdapterError(
                f"{self._name} has no chat template, so nobody knows how it is asked",
                "Take the chat-tuned checkpoint (often called -it or -chat), or put the chat_template.jinja "
                "that belongs to it into its folder.",
            )
        return str(template or "")

    def _check_marker(self) -> None:
        """Raises AdapterError unless prompts end where answers begin."""
        try:
            self.continuation(PROBE[:1], "answer", "probe")
        except RowError as error:
            marked = self.prompt(PROBE[:1], "probe")
            raise AdapterError(
                f"the chat template of {self._name} has no generation marker: asked for a prompt "
                f"(add_generation_prompt) it writes {marked[-60:]!r}, and no answer goes on from there",
                "Mark where answers begin in its chat_template.jinja: {% if add_generation_prompt %}.",
            ) from error


def _part(part: str | Audio | Image) -> dict[str, str]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image" if isinstance(part, Image) else "audio"}
