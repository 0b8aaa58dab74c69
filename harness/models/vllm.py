"""Local checkpoints of chat models in vLLM, where that is installed: `family: vllm`.

Through vLLM's own `LLM.chat`, as its documentation has it (0.6 and later). No machine of this project has
run it: its tests know a stand-in with the documented signatures. `vllm serve` with family `openai` asks the
same engine over HTTP.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError
from harness.models.asking import Asking
from harness.models.base import AdapterInfo, Batch, PartlyFailedError
from harness.models.chat_requests import ChatRequests
from harness.models.chat_settings import MAX_NEW_TOKENS
from harness.spec.api import Api
from harness.spec.schema import Generate, Task
from harness.types import Failure, Json, Output, Sample

if TYPE_CHECKING:
    from harness.models.weights import Weights

MOST_MEDIA = 16
"""Images, or clips, that one conversation may hold."""


class Vllm(ChatRequests):
    """A checkpoint that vLLM runs on this machine's GPUs, asked in conversations."""

    info = AdapterInfo(
        family="vllm",
        version="1",
        modes=frozenset({"generate"}),
        modalities=frozenset({"text", "image", "audio"}),
    )

    def __init__(self, weights: Weights, asking: Asking, generate: Generate) -> None:
        super().__init__(weights, asking, generate, Api())

    @classmethod
    def for_task(
        cls,
        weights: Weights,
        task: Task,
        classes: Sequence[str] | None = None,  # noqa: ARG003 - it answers in words
    ) -> Vllm:
        """Raises AdapterError for an adapter, several processes, and what messages can't ask for."""
        cls.refuse(task)
        if weights.adapter is not None:
            raise AdapterError(
                f"family 'vllm' doesn't put adapters into {weights.checkpoint.name}",
                "Merge it first: harness export ADAPTER --out FOLDER, then --model FOLDER.",
            )
        if weights.attention is not None:
            raise AdapterError(f"model.attention is '{weights.attention}': vLLM chooses its own kernels")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise AdapterError(
                "vLLM shares its work among GPUs by itself", "Start it once, without accelerate launch."
            )
        return cls(weights, Asking.of(task), task.generate)

    def request(self, sample: Sample) -> Json:
        """What is asked, and of which vLLM: another one's kernels give other texts."""
        return {"vllm": _version(), "turns": super().request(sample)}

    def prepare(self) -> None:
        """Load the checkpoint. Raises AdapterError when vLLM isn't there or can't."""
        _ = self._engine

    def predict(self, batch: Batch) -> list[Output]:
        """Raises PartlyFailedError where a sample's answer is empty."""
        sampling = _vllm().SamplingParams(**self.settings())
        answers = self._engine.chat(batch.tensors["messages"], sampling_params=sampling, use_tqdm=False)
        found = [_outcome(answer.outputs[0]) for answer in answers]
        outputs = [one for one in found if isinstance(one, Output)]
        if len(outputs) < len(found):
            raise PartlyFailedError(found)
        return outputs

    def settings(self) -> dict[str, Any]:
        """What `SamplingParams` is given; its own limit of 16 tokens is none of the checkpoint's."""
        generate = self._generate
        return {
            "temperature": generate.temperature,
            "max_tokens": generate.max_new_tokens or MAX_NEW_TOKENS,
            "seed": generate.seed,
        }

    @property
    def _engine(self) -> Any:
        return self.weights.kept("vllm", self._load)

    def _load(self) -> Any:
        weights = self.weights
        weights.checkpoint.files()
        limits = dict.fromkeys(("image", "audio"), MOST_MEDIA)
        module = _vllm()
        try:
            return module.LLM(
                model=str(weights.checkpoint.folder), dtype=weights.dtype, limit_mm_per_prompt=limits
            )
        except Exception as error:  # whatever vLLM raises for a model it lacks, or a GPU that is too small
            raise AdapterError(
                f"vLLM can't load {weights.checkpoint.name}: {error}",
                "Without model.family the checkpoint runs in transformers.",
            ) from error


def _outcome(completion: Any) -> Output | Failure:
    """What one answer becomes; an empty one is a failure."""
    if not completion.text.strip():
        why = f"vLLM gave an empty answer (finish_reason '{completion.finish_reason}')"
        return Failure("PredictionError", why)
    return Output(completion.text, len(completion.token_ids), completion.finish_reason == "length")


def _vllm() -> Any:
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # standard output is for records
    try:
        return import_module("vllm")
    except ImportError as error:
        raise AdapterError(
            f"family 'vllm' needs vLLM, which can't be imported: {error}",
            "Run: pip install vllm (it needs a GPU). Or ask `vllm serve` elsewhere, with family openai.",
        ) from error


def _version() -> str:
    try:
        return version("vllm")
    except PackageNotFoundError:
        return "none"
