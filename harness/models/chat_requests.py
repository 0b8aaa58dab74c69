"""What families share that hand turns to somebody else's engine, which renders and tokenises them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError
from harness.models.asking import Asking
from harness.models.base import Adapter, Batch, Rendered
from harness.models.openai_parts import estimated_tokens, messages
from harness.spec.api import Api
from harness.spec.kinds import KINDS
from harness.spec.schema import Generate, Task
from harness.types import Audio, Image, Json, Sample, Turn

if TYPE_CHECKING:
    from harness.models.weights import Weights

UNDERSTOOD = frozenset({"temperature", "max_new_tokens", "seed"})
"""Generation settings that such an engine has a word for."""


class ChatRequests(Adapter):
    """A family that asks in messages as OpenAI's chat completions have them."""

    def __init__(self, weights: Weights, asking: Asking, generate: Generate, api: Api) -> None:
        self.weights = weights
        self._asking = asking
        self._generate = generate
        self._api = api

    @classmethod
    def refuse(cls, task: Task) -> None:
        """Raises AdapterError for what can't be asked in messages: kinds without words, beams, timestamps."""
        family = cls.info.family
        if KINDS[task.kind].prompt is None:
            raise AdapterError(
                f"kind '{task.kind}' asks in no words, and family '{family}' has nothing else to ask in",
                "Ask for it in a prompt: kind vqa or conversation.",
            )
        for name, field in Generate.model_fields.items():
            given = getattr(task.generate, name)
            if name not in UNDERSTOOD and given != field.get_default():
                raise AdapterError(f"generate.{name} is {given!r}, which family '{family}' can't ask for")
        if not isinstance(task.generate.temperature, float):
            raise AdapterError(f"generate.temperature is a list, and family '{family}' can ask for one")

    def request(self, sample: Sample) -> Json:
        """Roles and texts, null where media are."""
        turns = self._asking.turns(sample)
        return [
            [turn.role, [part if isinstance(part, str) else None for part in turn.parts]] for turn in turns
        ]

    def cost(self, sample: Sample) -> float:
        """About how many tokens the sample is. Raises MediaError, RowError."""
        return estimated_tokens(self._asking.turns(sample))

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        """The samples' messages. Raises MediaError, RowError; AdapterError with targets."""
        if with_targets:
            raise AdapterError(f"family '{self.info.family}' can't be fine-tuned: it never sees the weights")
        return Batch(samples, {"messages": [self.messages(sample) for sample in samples]})

    def messages(self, sample: Sample) -> list[dict[str, Any]]:
        """What is sent of one sample: words, and media as base64. Raises MediaError, RowError."""
        return messages(self._asking.turns(sample), self._api)

    def settings(self) -> dict[str, Any]:
        """What is sent besides."""
        return {}

    def render(self, sample: Sample) -> Rendered:
        """The conversation that is sent; nothing of it is learned."""
        tokens = [(f"{turn.role}: {_shown(turn)}\n", False) for turn in self._asking.turns(sample)]
        media = {
            f"{part['type']} {number}": f"{len(str(part)):,} characters"
            for number, part in enumerate(_media_parts(self.messages(sample)), start=1)
        }
        return Rendered(tokens, media, {name: str(value) for name, value in self.settings().items()})


def _shown(turn: Turn) -> str:
    return "".join(map(_place, turn.parts))


def _place(part: str | Audio | Image) -> str:
    if isinstance(part, str):
        return part
    return "<image>" if isinstance(part, Image) else "<audio>"


def _media_parts(sent: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in sent:
        if isinstance(message["content"], list):
            yield from (part for part in message["content"] if part["type"] != "text")
