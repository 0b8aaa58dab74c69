"""Models behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp, or one that is hosted.

They answer chat completions. Nothing but the task's words and the sample's media is sent; templates,
placeholders and system prompts are the server's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, PredictionError
from harness.models.asking import Asking
from harness.models.base import AdapterInfo, Batch, PartlyFailedError
from harness.models.chat_requests import ChatRequests
from harness.models.endpoint import Endpoint
from harness.models.openai_client import Answered, Client, Request
from harness.spec.schema import Generate, Task
from harness.types import Failure, Json, Output, Sample

if TYPE_CHECKING:
    from harness.models.weights import Weights

USUAL_ANSWER_TOKENS = 256
"""What an answer without a limit is taken to cost, until the server tells."""


class OpenAI(ChatRequests):
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
        super().__init__(endpoint, asking, generate, endpoint.api)
        self._client = Client(endpoint)

    @classmethod
    def for_task(
        cls,
        weights: Weights,
        task: Task,
        classes: Sequence[str] | None = None,  # noqa: ARG003 - it answers in words
    ) -> OpenAI:
        """Raises AdapterError for what a server can't be asked."""
        if not isinstance(weights, Endpoint):
            raise AdapterError(f"{weights.checkpoint.name} is not on a server", "Remove model.family.")
        cls.refuse(task)
        return cls(weights, Asking.of(task), task.generate)

    def prepare(self) -> None:
        """See that there is a key where one is needed. Raises AdapterError."""
        self._client.prepare()

    def predict(self, batch: Batch) -> list[Output]:
        """The answers, asked for together.

        Raises PartlyFailedError where a sample has none (refused, too long, empty, the server failed each
        time), AdapterError or RunError where no other would have one.
        """
        pairs = zip(batch.samples, batch.tensors["messages"], strict=True)
        answered = self._client.ask([self._asked(sample, messages) for sample, messages in pairs])
        found = [self._outcome(one) for one in answered]
        outputs = [one for one in found if isinstance(one, Output)]
        if len(outputs) < len(found):
            raise PartlyFailedError(found)
        return outputs

    def stream(self, sample: Sample) -> Iterator[str]:
        """The answer in pieces, as they arrive. Raises PredictionError."""
        yield from self._client.stream(self._asked(sample, self.messages(sample)))

    def settings(self) -> dict[str, Any]:
        """The address, and all of a request's body but its messages."""
        return {"url": self.weights.base_url, **self._parameters()}

    def _asked(self, sample: Sample, messages: Sequence[Any]) -> Request:
        answer = self._generate.max_new_tokens or USUAL_ANSWER_TOKENS
        return Request({**self._parameters(), "messages": messages}, self.cost(sample) + answer)

    def _parameters(self) -> dict[str, Any]:
        generate = self._generate
        parameters = {"model": self.weights.name, "temperature": generate.temperature, **self._api.body}
        if generate.temperature:
            parameters["seed"] = generate.seed
        if generate.max_new_tokens is not None:
            parameters[self._api.length_key] = generate.max_new_tokens
        return parameters

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
