"""What chat models learn from: labels decoded, where images stand in later turns, which parts move."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from harness.errors import RowError
from harness.models.base import IGNORED_LABEL
from harness.models.llava import Llava
from harness.spec.training import Train
from harness.training.method import prepare
from harness.types import Sample, Turn
from tests.models.chats import asked, chat, four, learned, seen
from tests.models.pictures import picture
from tests.models.tiny_chat import tiny_llava
from tests.models.tiny_chat_cousins import tiny_mllama, tiny_qwen2_vl
from tests.models.tiny_chat_parts import LLAVA_TEMPLATE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("llava"))


def talk(*turns: tuple[Any, ...]) -> Sample:
    """A conversation in which user and assistant say these in turn."""
    said = [Turn("assistant" if at % 2 else "user", parts) for at, parts in enumerate(turns)]
    return Sample("m", {"messages": tuple(said)}, said[-1].text, "g")


def test_every_answer_of_a_conversation_is_learned_and_nothing_else(folder: Path):
    made = chat(folder, "conversation")
    sample = talk((picture(0), "What?"), ("A cat.",), ("Where?",), ("Over there.",))
    # The template of LLaVA 1.5 ends no turn; only the last answer is known to end.
    assert seen(made, sample) == (
        "<s>▁USER:▁<image><image><image><image>\nWhat?▁ASSISTANT:▁A▁cat.▁USER:▁Where?▁ASSISTANT:▁Over▁there.</s>"
    )
    assert learned(made, sample) == "▁A▁cat.▁Over▁there.</s>"


def test_turns_that_a_template_ends_are_learned_with_their_ends(tmp_path: Path):
    made = chat(tiny_qwen2_vl(tmp_path), "conversation")
    sample = talk((picture(0), "What?"), ("A cat.",), ("Where?",), ("There.",))
    assert learned(made, sample) == "AĠcat.<|im_end|>There.<|im_end|>"
    assert seen(made, sample).endswith("There.<|im_end|>")


@pytest.mark.parametrize("build", [tiny_llava, tiny_qwen2_vl, tiny_mllama])
def test_answers_before_a_later_image_are_found(tmp_path: Path, build: Callable[[Path], Path]):
    made = chat(build(tmp_path), "conversation")
    sample = talk((picture(0), "What?"), ("A cat.",), (picture(1, (20, 50)), "And this?"), ("A dog.",))
    batch = made.encode([sample], with_targets=True)
    ids, labels = batch.tensors["input_ids"][0].tolist(), batch.tensors["labels"][0].tolist()
    assert all(label in (IGNORED_LABEL, token) for label, token in zip(labels, ids, strict=True))
    assert learned(made, sample).replace("Ġ", "▁").replace("▁A▁", "A▁") in (
        "A▁cat.A▁dog.</s>",
        "A▁cat.<|im_end|>A▁dog.<|im_end|>",
        "A▁cat.<|eot_id|>A▁dog.<|eot_id|>",
    )
    with torch.no_grad():
        whole = float(made.loss(made.model, batch))
        beside = made.encode([sample, talk((picture(2), "x"), ("y",))], with_targets=True)
        alone = float(made.loss(made.model, made.encode([beside.samples[1]], with_targets=True)))
        assert float(made.loss(made.model, beside)) == pytest.approx(whole + alone, rel=1e-5)


def test_labels_are_the_assistant_mask_of_the_template(folder: Path):
    made = chat(folder)
    sample = asked(0, target="a red cat")
    shown, question = {"type": "image", "image": picture(0).load()}, {"type": "text", "text": "what is it?"}
    messages = [
        {"role": "user", "content": [shown, question]},
        {"role": "assistant", "content": [{"type": "text", "text": "a red cat"}]},
    ]
    found = made.weights.processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    [ids], [mask] = found["input_ids"], found["assistant_masks"]
    masked = [token for token, inside in zip(ids, mask, strict=True) if inside]
    names = "".join(made._tokenizer.convert_ids_to_tokens(masked))
    # The template's block begins behind the space and ends with one, and no turn has an end.
    assert names == "a▁red▁cat▁"
    assert learned(made, sample) == "▁a▁red▁cat</s>"


def test_of_several_answers_the_most_frequent_is_learned(folder: Path):
    assert learned(chat(folder), asked(0, target=["no", "red", "red"])) == "▁red</s>"


def test_an_answer_that_the_template_changes_is_refused(folder: Path, tmp_path: Path):
    other = shutil.copytree(folder, tmp_path / "other")
    changed = LLAVA_TEMPLATE.replace(
        "{% generation %}{{ part['text'] + ' ' }}", "{% generation %}{{ part['text'].lower() + ' ' }}"
    )
    (other / "chat_template.jinja").write_text(changed)
    made = chat(other)
    assert learned(made, asked(0, target="red")) == "▁red</s>"
    with pytest.raises(RowError, match=r"'s0': the chat template doesn't write the answer 'Red'"):
        made.encode([asked(0, target="Red")], with_targets=True)


def test_an_answer_whose_tokens_melt_into_the_prompt_is_refused(folder: Path, tmp_path: Path):
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "chat_template.jinja").write_text(LLAVA_TEMPLATE.replace("'ASSISTANT:'", "'ASSISTANT: '"))
    made = chat(other)
    with pytest.raises(RowError, match="tokens change with what follows"):
        made.encode([asked(0, target="red")], with_targets=True)  # "▁" and "red" would be "▁re" and "d"


def test_an_empty_answer_is_refused(folder: Path):
    with pytest.raises(RowError, match="'s0' has an empty answer"):
        chat(folder).encode([asked(0, target=" ")], with_targets=True)


def test_padding_is_behind_and_teaches_nothing(folder: Path):
    batch = chat(folder).encode(four(), with_targets=True)
    mask, labels = batch.tensors["attention_mask"], batch.tensors["labels"]
    assert mask.sum(1).max() == mask.shape[1]
    assert (mask.diff(dim=1) <= 0).all()
    assert (labels[mask == 0] == IGNORED_LABEL).all()


def test_the_render_counts_image_tokens(folder: Path):
    rendered = chat(folder).render(asked(0))
    assert ("<image> x 4", False) in rendered.tokens
    assert [token for token, label in rendered.tokens if label] == ["▁re", "d", "</s>"]
    assert rendered.notes["tokens of media"] == "4"


@pytest.mark.parametrize(
    ("parts", "moved"),
    [
        ({}, {"projector", "language"}),
        ({"language": "frozen"}, {"projector"}),
        ({"projector": "frozen"}, {"language"}),
        ({"vision": "lora"}, {"vision", "projector", "language"}),
        ({"vision": "full", "language": "frozen"}, {"vision", "projector"}),
    ],
)
def test_a_step_moves_the_parts_that_are_to_be_trained(folder: Path, parts: dict[str, str], moved: set[str]):
    made = chat(folder)
    train = Train.model_validate({"method": "lora", "steps": 1, "parts": parts, "lora": {"r": 2}})
    if parts.get("language") == "frozen":
        train = Train.model_validate({"method": "full", "steps": 1, "parts": parts})
    tuning = prepare(made.model, made.info, train, made.part_states())
    before = tuning.state()
    made.loss(tuning.network, made.encode(four(), with_targets=True)).backward()
    optimizer = torch.optim.SGD([value for value in tuning.network.parameters() if value.requires_grad], 0.1)
    optimizer.step()
    changed = {name for name, value in tuning.state().items() if not torch.equal(value, before[name])}
    found = {
        part
        for part, prefixes in made.info.parts.items()
        if any(f"{prefix}." in name for name in changed for prefix in prefixes)
    }
    assert found == moved


def test_training_is_the_same_however_a_step_is_split(folder: Path):
    def gradients(parts: list[list[Sample]]) -> dict[str, torch.Tensor]:
        made = chat(folder)
        tuning = prepare(
            made.model, made.info, Train.model_validate({"method": "lora", "steps": 1}), made.part_states()
        )
        for part in parts:
            made.loss(tuning.network, made.encode(part, with_targets=True)).backward()
        return {name: value.grad for name, value in tuning.network.named_parameters() if value.requires_grad}

    whole = gradients([four()])
    split = gradients([four()[:1], four()[1:]])
    for name, gradient in whole.items():
        torch.testing.assert_close(split[name], gradient, rtol=1e-4, atol=1e-5)


def learnable(folder: Path, made: Path) -> Path:
    """A task file with coloured pictures on disk, two questions about each."""
    rows = folder / "rows"
    rows.mkdir()
    colours = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}
    for split, count in (("train", 12), ("validation", 6), ("test", 12)):
        lines = []
        for number in range(count):
            name = list(colours)[number // 2 % 3]
            file = f"{split}_{number // 2}.png"
            Pillow.fromarray(np.full((20, 30, 3), colours[name], np.uint8)).save(rows / file)
            question = ("which colour?", "what colour is it?")[number % 2]
            row = {"id": f"{split}{number}", "image": file, "question": question, "answer": name}
            lines.append(json.dumps(row))
        (rows / f"{split}.jsonl").write_text("\n".join(lines))
    task = {
        "name": "colours",
        "kind": "vqa",
        "data": {
            "path": "./rows",
            "columns": {
                "id": "id",
                "image": "image",
                "question": "question",
                "target": "answer",
                "group": "id",
            },
        },
        "prompt": "{question}\nAnswer the question using a single word or phrase.",
        "model": {"checkpoint": str(made)},
        "generate": {"max_new_tokens": 6},
        "metrics": ["cer"],
        "train": {"method": "lora", "steps": 40, "batch": 6, "learning_rate": 0.01, "evaluate_every": 40},
    }
    (folder / "task.yaml").write_text(json.dumps(task))  # JSON is YAML
    return folder / "task.yaml"


@pytest.mark.heavy
def test_a_run_learns_and_can_be_exported(tmp_path: Path, folder: Path, harness: Callable[..., Any]):
    learnable(tmp_path, folder)
    done = harness("run", "task.yaml", "--json")
    assert done.code == 0, done.err
    base, tuned = done.json()["runs"]
    assert base["metrics"]["cer"]["value"] > 50 > tuned["metrics"]["cer"]["value"]
    assert base["family"] == tuned["family"] == "llava"
    [adapter] = (tmp_path / "results" / "adapters").iterdir()
    exported = harness("export", str(adapter), "--out", "merged")
    assert exported.code == 0, exported.err
    assert "logits differ" in exported.out


def test_options_of_a_choice_are_learned_by_their_words(folder: Path):
    made: Llava = chat(folder, "multiple_choice")
    assert learned(made, asked(0, target="B", options=("red", "a dog"))) == "▁a▁dog</s>"
