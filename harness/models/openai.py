"""Models behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, or one that is hosted.

They answer chat completions. Nothing but the task's words and the sample's media is sent; templates,
placeholders and system prompts are the server's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, PredictionError
from harness.models.asking import Asking
from harness.models.base import Adapter, AdapterInfo, Batch, PartlyFailedError, Rendered
from harness.models.endpoint import Endpoint
from harness.models.openai_client import Answered, Client, Request
from harness.models.openai_parts import estimated_tokens, messages
from harness.spec.kinds import KINDS
from harness.spec.schema import Generate, Task
from harness.types import Failure, Json, Output, Sample, Turn

if TYPE_CHECKING:
    from harness.models.weights import Weights

USUAL_ANSWER_TOKENS = 256
"""What an answer without a limit is taken to cost, until the server tells."""
NOT_THERE: Mapping[str, Any] = {
    "num_beams": 1,
    "length_penalty": 1.0,
    "timestamps": "none",
    "suppress_tokens": "checkpoint",
    "language": None,
    "task": "transcribe",
}
"""Generation settings that the protocol has no words for, as they must stay."""


class OpenAI(Adapter):
    """A model on a server, asked in conversations."""

    info = AdapterInfo(
        family="openai",
        version="1",
        modes=frozenset({"generate"}),
        modalities=frozenset({"text", "image", "audio"}),
        hosted=True,
    )
    weights: Endpoint

    def __init__(self, endpoint: Endpoint, asking: Asking, generate: Generate) -> None:
        self.weights = endpoint
        self._asking = asking
        self._generate = generate
        self._api = endpoint.api
        self._client = Client(endpoint)

    @classmethod
    def for_task(
        cls,
        weights: Weights,
        task: Task,
        classes: Sequence[str] | None = None,  # noqa: ARG003 - it answers in words
    ) -> OpenAI:
        """Raises AdapterError for what a server can't be asked: kinds without words, beams, timestamps."""
        if not isinstance(weights, Endpoint):
            raise AdapterError(f"{weights.checkpoint.name} is not on a server", "Remove model.family.")
        if KINDS[task.kind].prompt is None:
            raise AdapterError(
                f"kind '{task.kind}' asks in no words, and family 'openai' has nothing else to ask in",
                "Ask for it in a prompt: kind vqa or conversation.",
            )
        for name, usual in NOT_THERE.items():
            if (given := getattr(task.generate, name)) != usual:
                raise AdapterError(f"generate.{name} is {given!r}: family 'openai' can't ask a server for it")
        if not isinstance(task.generate.temperature, float):
            raise AdapterError("generate.temperature is a list: family 'openai' can ask for one temperature")
        return cls(weights, Asking.of(task), task.generate)

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
        """The bodies of the samples' requests. Raises MediaError, RowError; AdapterError with targets."""
        if with_targets:
            raise AdapterError("family 'openai' can't be fine-tuned: its weights are on a server")
        return Batch(samples, {"requests": [self._request(sample) for sample in samples]})

    def prepare(self) -> None:
        """See that there is a key where one is needed. Raises AdapterError."""
        self._client.prepare()

    def predict(self, batch: Batch) -> list[Output]:
        """The answers, asked for together.

        Raises PartlyFailedError where a sample has none (refused, too long, empty, the server failed each
        time), AdapterError or RunError where no other would have one.
        """
        found = [self._outcome(one) for one in self._client.ask(batch.tensors["requests"])]
        outputs = [one for one in found if isinstance(one, Output)]
        if len(outputs) < len(found):
            raise PartlyFailedError(found)
        return outputs

    def stream(self, sample: Sample) -> Iterator[str]:
        """The answer in pieces, as they arrive. Raises PredictionError."""
        yield from self._client.stream(self._request(sample))

    def render(self, sample: Sample) -> Rendered:
        """The conversation that is sent; nothing of it is learned."""
        turns = self._asking.turns(sample)
        tokens = [(f"{turn.role}: {_shown(turn)}\n", False) for turn in turns]
        media = {
            f"{part['type']} {number}": f"{len(str(part)):,} characters"
            for number, part in enumerate(_media_parts(messages(turns, self._api)))
        }
        sent = {name: str(value) for name, value in self._settings().items()}
        return Rendered(tokens, media, {"url": self.weights.base_url, **sent})

    def _request(self, sample: Sample) -> Request:
        turns = self._asking.turns(sample)
        answer = self._generate.max_new_tokens or USUAL_ANSWER_TOKENS
        body = self._settings() | {"messages": messages(turns, self._api)}
        return Request(body, estimated_tokens(turns) + answer)

    def _settings(self) -> dict[str, Any]:
        """All of a request but its messages."""
        generate = self._generate
        settings = {"model": self.weights.name, "temperature": generate.temperature, **self._api.body}
        if generate.temperature:
            settings["seed"] = generate.seed
        if generate.max_new_tokens is not None:
            settings[self._api.length_key] = generate.max_new_tokens
        return settings

    def _outcome(self, answered: Answered | PredictionError) -> Output | Failure:
        if isinstance(answered, PredictionError):
            return Failure.of(answered)
        reply = answered.reply
        extras: dict[str, Json] = {
            "model": reply.model,
            "system_fingerprint": reply.fingerprint,
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
            "retries": answered.retries,
            "cost": self._cost(reply.input_tokens, reply.output_tokens),
        }
        known = {name: value for name, value in extras.items() if value is not None}
        return Output(reply.text, reply.output_tokens or 0, reply.truncated, known)

    def _cost(self, input_tokens: int | None, output_tokens: int | None) -> float | None:
        if self._api.price is None or input_tokens is None or output_tokens is None:
            return None
        return self._api.price.cost(input_tokens, output_tokens)


def _shown(turn: Turn) -> str:
    names = (part if isinstance(part, str) else f"<{type(part).__name__}>" for part in turn.parts)
    return "".join(names)


def _media_parts(sent: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in sent:
        if isinstance(message["content"], list):
            yield from (part for part in message["content"] if part["type"] != "text")
