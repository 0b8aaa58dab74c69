"""Every kind of chat model, against transformers' own processor and generate with one prompt at a time."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.models.base import IGNORED_LABEL
from harness.models.chat_cousins import CHATS
from harness.models.chat_inputs import Reading
from harness.models.llava import Llava
from harness.registry import FAMILY_OF_TYPE
from harness.spec.training import Train
from harness.training.method import prepare
from harness.training.parts import REST
from harness.types import Audio, Image, Sample, Turn
from tests.models.chats import DEAF, chat, four, learned
from tests.models.tiny_chat import TINY, tiny_chat

# PaliGemma's processor hands tensors to numpy in a way that numpy 2 will give up.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
CHATML = "<|im_start|>user\n{}what is it?<|im_end|>\n<|im_start|>assistant\n"
QWEN = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + CHATML.format(
    "<|vision_start|><|image_pad|><|vision_end|>"
)
PROMPTS = {
    "llava": "USER: <image>\nwhat is it? ASSISTANT:",
    "llava_next": "[INST] <image>\nwhat is it? [/INST]",
    "llava_onevision": CHATML.format("<image>\n"),
    "qwen2_vl": QWEN,
    "qwen2_5_vl": QWEN,
    "qwen3_vl": QWEN,
    "idefics2": "User:<image>what is it?<end_of_utterance>\nAssistant:",
    "idefics3": "<|im_start|>User:<image>what is it?<end_of_utterance>\nAssistant:",
    "smolvlm": "<|im_start|>User:<image>what is it?<end_of_utterance>\nAssistant:",
    "gemma3": "<bos><start_of_turn>user\n<start_of_image>what is it?<end_of_turn>\n<start_of_turn>model\n",
    "paligemma": "<image>what is it?\n",
    "internvl": CHATML.format("<IMG_CONTEXT>\n"),
    "mllama": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n<|image|>what is it?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "molmo2": CHATML.format("<|image|>"),
    "qwen2_audio": CHATML.format("<|audio_bos|><|AUDIO|><|audio_eos|>\n"),
}
LEARNED = {
    "llava": "▁red</s>",
    "llava_next": "▁red</s>",
    "idefics2": "▁red<end_of_utterance>",
    "idefics3": "Ġred<end_of_utterance>",
    "smolvlm": "Ġred<end_of_utterance>",
    "gemma3": "red<end_of_turn>",
    "paligemma": "red<eos>",
    "mllama": "red<|eot_id|>",
}
"""What "red" teaches; of the others it is "red<|im_end|>"."""
NEEDS = {"smolvlm": "num2words", "molmo2": "torchvision"}


@pytest.fixture(scope="module", params=sorted(TINY))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"its processor needs {NEEDS[name]}")
    return name


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_chat(kind, tmp_path_factory.mktemp(kind))


@pytest.fixture(scope="module")
def medium(kind: str) -> str:
    return "audio" if kind in DEAF else "image"


@pytest.fixture(scope="module")
def made(folder: Path, medium: str) -> Llava:
    return chat(folder, medium=medium)


def processed(made: Llava, sample: Any, medium: str) -> dict[str, Any]:
    """What the processor makes of a prompt and its image at once."""
    processor, text = made._inputs._processor, str(made.request(sample))
    if made._chat.plain is not None:
        text = text.removesuffix("\n")  # which this processor writes itself
    begin = processor.tokenizer.bos_token
    given = sample.inputs[medium]
    shown: dict[str, Any] = {"images": [given.load()]} if medium == "image" else {}
    if medium == "audio":
        shown = {"audio": [given.load(16_000)], "sampling_rate": 16_000}
    found = processor(
        text=[text], **shown, return_tensors="pt", add_special_tokens=not (begin and text.startswith(begin))
    )
    return {name: tensor for name, tensor in found.items() if name != "labels"}


def test_a_kind_has_a_row_a_family_and_a_checkpoint_in_tests(kind: str):
    assert kind in CHATS
    assert FAMILY_OF_TYPE[kind] == "llava"


def test_every_kind_is_tested():
    assert set(CHATS) == set(TINY) == set(PROMPTS)


def test_prompts_are_the_templates(kind: str, made: Llava, medium: str):
    assert made.request(four(medium)[0]) == PROMPTS[kind]


def test_ids_and_answers_are_those_of_one_prompt_alone(made: Llava, medium: str):
    samples = four(medium)
    together = made.predict(made.encode(samples))
    assert len({output.output for output in together}) > 2
    for sample, output in zip(samples, together, strict=True):
        inputs = processed(made, sample, medium)
        ids = inputs["input_ids"][0].tolist()
        media = made._media(sample)
        assert made._inputs.read(str(made.request(sample)), media, sample.id, Reading()).ids == ids
        with torch.inference_mode():
            [row] = made.model.generate(**inputs, generation_config=made._settings)
        new = row[len(ids) :].tolist()
        ends = made._settings.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        stop = next((place for place, token in enumerate(new) if token in ends), len(new))
        assert output.output == made._tokenizer.decode(new[:stop], skip_special_tokens=True).strip()
        assert output.tokens == stop
        assert output.truncated == (stop == len(new))


def test_costs_are_the_tokens_of_a_prompt(kind: str, made: Llava, medium: str):
    # Special tokens that a processor puts around an image or a text are left out of the estimate.
    for sample in four(medium):
        length = processed(made, sample, medium)["input_ids"].shape[1]
        assert length * 0.6 <= made.cost(sample) <= length + 3


def test_labels_are_the_answer_and_what_ends_it(kind: str, made: Llava, medium: str):
    assert learned(made, four(medium)[0]) == LEARNED.get(kind, "red<|im_end|>")


def test_the_loss_is_the_sum_of_cross_entropies(made: Llava, medium: str):
    samples = four(medium)
    batch = made.encode(samples, with_targets=True)
    with torch.no_grad():
        whole = made.loss(made.model, batch)
        alone = sum(made.loss(made.model, made.encode([sample], with_targets=True)) for sample in samples)
        inputs = {name: tensor for name, tensor in batch.tensors.items() if name != "labels"}
        logits = made.model(**inputs).logits.log_softmax(-1)
    labels, by_hand = batch.tensors["labels"], 0.0
    for row in range(len(samples)):
        for place in range(1, labels.shape[1]):
            if labels[row, place] != IGNORED_LABEL:
                by_hand -= float(logits[row, place - 1, labels[row, place]])
    assert float(whole) == pytest.approx(by_hand, rel=1e-5)
    assert float(whole) == pytest.approx(float(alone), rel=1e-5)
    assert made.items(batch) == int((labels != IGNORED_LABEL).sum())


def test_a_text_alone_shares_a_batch_with_media(kind: str, folder: Path, medium: str):
    if CHATS[kind].plain is not None:
        pytest.skip("it answers nothing without an image")
    made, shown = chat(folder, "conversation"), four(medium)[0].inputs[medium]
    assert isinstance(shown, Image | Audio)
    both = [
        Sample(f"m{at}", {"messages": (Turn("user", parts), Turn("assistant", ("Ho",)))}, "Ho", "g")
        for at, parts in enumerate([("Hi?",), (shown, "Hi?")])
    ]
    if made.bucket(both[0]) == made.bucket(both[1]):
        together = made.predict(made.encode(both))
        assert together == [made.predict(made.encode([sample]))[0] for sample in both]
    else:
        assert kind == "mllama"
    with torch.no_grad():
        whole = float(made.loss(made.model, made.encode(both, with_targets=True)))
        alone = sum(float(made.loss(made.model, made.encode([one], with_targets=True))) for one in both)
    assert whole == pytest.approx(alone, rel=1e-5)


def test_paligemma_learns_what_its_processor_makes_of_a_suffix(tmp_path: Path):
    made, sample = chat(tiny_chat("paligemma", tmp_path)), four()[0]
    given = sample.inputs["image"]
    assert isinstance(given, Image)
    reference = made.weights.processor(
        text=["<image>what is it?"], images=[given.load()], suffix=["red"], return_tensors="pt"
    )
    tensors = made.encode([sample], with_targets=True).tensors
    for name in ("input_ids", "token_type_ids", "labels"):
        assert tensors[name].tolist() == reference[name].tolist()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_every_trained_parameter(
    kind: str, folder: Path, medium: str, *, checkpointing: bool
):
    made = chat(folder, medium=medium)
    train = Train.model_validate(
        {"method": "lora", "steps": 1, "gradient_checkpointing": checkpointing, "lora": {"r": 2}}
    )
    tuning = prepare(made.model, made.info, train, made.part_states())
    states = {row.name: row.state for row in tuning.parts}
    tower = "audio" if kind in DEAF else "vision"
    assert states == {tower: "frozen", "projector": "full", "language": "lora"}
    assert REST not in states
    assert sorted(row.target for row in tuning.targets) == sorted(CHATS[kind].targets)
    assert all(row.modules == 2 for row in tuning.targets)
    fixed = [name for name, value in tuning.network.named_parameters() if not value.requires_grad]
    assert [name for name in fixed if "merger" in name or "projector" in name or "connector" in name] == [
        name for name in fixed if ".original_module." in name
    ]
    tuning.network.train()
    made.loss(tuning.network, made.encode(four(medium), with_targets=True)).backward()
    for name, parameter in tuning.network.named_parameters():
        if parameter.requires_grad and "lora_A" not in name:  # B begins at zero, so A has none at first
            assert parameter.grad is not None, name
            if "key" not in name and "k_proj" not in name:  # a bias of keys shifts all scores alike
                assert parameter.grad.abs().sum() > 0, name
