"""Family vllm against a stand-in with the signatures of vLLM's documentation: the real one never ran here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.errors import AdapterError
from harness.models import Checkpoint, TrainedAdapter, Weights, load
from harness.models.base import PartlyFailedError
from harness.models.vllm import Vllm
from harness.types import Failure, Output
from tests.models.openai_model import asked, png
from tests.tasks import task_of


@dataclass
class SamplingParams:
    """Of vLLM's, what is given."""

    temperature: float = 1.0
    max_tokens: int | None = 16
    seed: int | None = None


@dataclass
class CompletionOutput:
    text: str
    token_ids: list[int]
    finish_reason: str | None = "stop"


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]


@dataclass
class LLM:
    """Answers with the last words that it is asked."""

    model: str
    dtype: str = "auto"
    limit_mm_per_prompt: dict[str, int] = field(default_factory=dict)
    made = 0

    def __post_init__(self) -> None:
        type(self).made += 1
        self.asked: list[tuple[Any, SamplingParams]] = []

    def chat(
        self,
        messages: Sequence[Sequence[dict[str, Any]]],
        sampling_params: SamplingParams | None = None,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        assert sampling_params is not None
        assert not use_tqdm
        self.asked.append((messages, sampling_params))
        words = [conversation[-1]["content"][-1]["text"] for conversation in messages]
        if "too long" in words:
            raise ValueError("the prompt is longer than the maximum model length")
        return [
            RequestOutput([CompletionOutput(*self._said(word, sampling_params.max_tokens or 99))])
            for word in words
        ]

    def _said(self, words: str, limit: int) -> tuple[str, list[int], str]:
        said = [] if words == "say nothing" else words.split()
        return (
            " ".join(said[:limit]),
            list(range(min(limit, len(said)))),
            "length" if len(said) > limit else "stop",
        )


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(LLM, "made", 0)
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "")
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    return tmp_path


def model_of(folder: Path, adapter: TrainedAdapter | None = None, **sections: Any) -> Vllm:
    columns = {"question": "question", "image": "image", "target": "target"}
    model = {"checkpoint": str(folder), "family": "vllm", **sections.pop("model", {})}
    task = task_of(folder, "vqa", model=model, data={"path": "nowhere", "columns": columns}, **sections)
    made = load(task, base=folder, device="cpu", adapter=adapter)
    assert isinstance(made, Vllm)
    return made


@pytest.mark.usefixtures("vllm")
def test_the_turns_go_to_chat_with_the_tasks_settings(folder: Path):
    made = model_of(folder, generate={"max_new_tokens": 2})
    outputs = made.predict(made.encode([asked("what is it?"), asked("red")]))
    assert outputs == [Output("what is", tokens=2, truncated=True), Output("red", tokens=1)]
    engine = made._engine
    [(conversations, sampling)] = engine.asked
    assert (engine.model, engine.dtype) == (str(folder), "float32")
    assert sampling == SamplingParams(temperature=0.0, max_tokens=2, seed=0)
    image, text = conversations[0][0]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert text == {"type": "text", "text": "what is it?"}
    assert len(image["image_url"]["url"]) > len(png())


@pytest.mark.usefixtures("vllm")
def test_an_answer_may_be_longer_than_vllms_own_limit(folder: Path):
    made = model_of(folder)
    [output] = made.predict(made.encode([asked("word " * 40)]))
    assert output.tokens == 40


@pytest.mark.usefixtures("vllm")
def test_the_engine_is_loaded_once_for_all_tasks_of_the_same_weights(folder: Path):
    weights = Weights(Checkpoint("tiny", folder), device="cpu")
    columns = {"question": "question", "image": "image", "target": "target"}
    for prompt in ("{question}", "{question} In a word."):
        model = {"checkpoint": str(folder), "family": "vllm"}
        task = task_of(folder, "vqa", model=model, prompt=prompt, data={"path": "x", "columns": columns})
        load(task, base=folder, weights=weights).prepare()
    assert LLM.made == 1
    weights.release()
    load(task, base=folder, weights=weights).prepare()
    assert LLM.made == 2


@pytest.mark.usefixtures("vllm")
def test_an_empty_answer_is_a_failure_of_its_own(folder: Path):
    made = model_of(folder)
    with pytest.raises(PartlyFailedError) as partly:
        made.predict(made.encode([asked("red"), asked("say nothing")]))
    good, bad = partly.value.outcomes
    assert good == Output("red", tokens=1)
    assert isinstance(bad, Failure)
    assert "empty answer" in bad.message


def test_without_vllm_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setenv("VLLM_LOGGING_STREAM", "")
    with pytest.raises(AdapterError, match="needs vLLM") as caught:
        model_of(folder).prepare()
    assert "pip install vllm" in caught.value.hint


def test_what_vllm_raises_on_loading_is_said(folder: Path, vllm: ModuleType):
    def broken(**options: Any) -> None:
        raise RuntimeError("no kernel image is available")

    vllm.LLM = broken  # type: ignore[attr-defined]
    with pytest.raises(AdapterError, match=r"can't load .*: no kernel image"):
        model_of(folder).prepare()


def test_adapters_and_several_processes_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(AdapterError, match="doesn't put adapters into") as caught:
        model_of(folder, TrainedAdapter("lora", folder))
    assert "harness export" in caught.value.hint
    with pytest.raises(AdapterError, match="kernels"):
        model_of(folder, model={"attention": "sdpa"})
    with pytest.raises(AdapterError, match="num_beams"):
        model_of(folder, generate={"num_beams": 2})
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(AdapterError, match="by itself"):
        model_of(folder)
