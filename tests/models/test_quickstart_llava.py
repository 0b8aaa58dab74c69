"""The shipped LLaVA: small, half precision, good at what it knows, clearly less at what it is tuned on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.data import load as load_data
from harness.models import load as load_model
from harness.models import resolve
from harness.spec.find import shipped_tasks
from harness.spec.load import load
from tests.models.quickstart import FOLDER, check_same_bytes, script_of

if TYPE_CHECKING:
    from harness.spec.schema import Task

KNOWN = {"colours": "bright", "background": [0.0, 0.2], "noise": 0.0}
IMAGES = 40


@pytest.fixture(scope="module")
def script() -> Any:
    return script_of("train_shapes_vqa")


@pytest.fixture(scope="module")
def processor() -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(FOLDER / "shapes_vqa", backend="pil")


def quickstart(**look: Any) -> Task:
    """The shipped task, with fewer images."""
    file = dict(shipped_tasks())["quickstart/shapes_vqa"]
    settings = [*look.items(), ("data.options.n", IMAGES)]
    return load(file, settings)[0].task


def answered(task: Task) -> list[tuple[str, str]]:
    """Each sample's right answer and the model's."""
    dataset = load_data(task.data, base=FOLDER.parent, inputs=("image", "question"))
    adapter = load_model(task, base=FOLDER.parent, device="cpu", offline=True)
    samples = [sample for window in dataset.windows() for sample in window]
    outputs = adapter.predict(adapter.encode(samples))
    return [(str(one.target), str(out.output)) for one, out in zip(samples, outputs, strict=True)]


def accuracy(pairs: list[tuple[str, str]]) -> float:
    return sum(target == answer for target, answer in pairs) / len(pairs)


def test_less_than_a_million_parameters_in_a_few_megabytes() -> None:
    checkpoint = resolve("./shapes_vqa", None, base=FOLDER, offline=True)
    assert 0.5e6 < checkpoint.parameters() < 1e6
    assert sum(file.stat().st_size for file in (FOLDER / "shapes_vqa").iterdir()) < 2e6
    assert checkpoint.config()["dtype"] == "float16"
    assert checkpoint.config()["architectures"] == ["LlavaForConditionalGeneration"]


def test_knows_its_own_scenes_and_not_the_quickstarts() -> None:
    known, new = (answered(quickstart(**look)) for look in (KNOWN, {}))
    assert len(known) == len(new) == 5 * IMAGES
    assert accuracy(known) > 0.95
    assert 0.55 < accuracy(new) < 0.8
    assert all(answer for _, answer in new)


def test_the_card_scores_the_scenes_of_the_quickstart(script: Any) -> None:
    options = dict(quickstart().data.options)
    assert {name: options[name] for name in script.NEW} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in script.NEW.items()
    }
    card = (FOLDER / "shapes_vqa" / "README.md").read_text(encoding="utf-8")
    assert "| as the quickstart has them |" in card


def test_a_prompt_has_a_token_for_each_patch_and_knows_every_word(script: Any, processor: Any) -> None:
    from PIL import Image

    from harness.data.shapes import Shapes, ShapesOptions

    rows = Shapes.rows(ShapesOptions(n=150, size=16, questions=script.QUESTIONS), "train")
    tokenizer, image = processor.tokenizer, Image.new("RGB", (50, 40))
    for row in (rows[position] for position in range(len(rows))):
        messages = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": row["question"]}]}
        ]
        text = processor.apply_chat_template(messages, add_generation_prompt=True)
        assert text == f"USER: <image>\n{row['question']} ASSISTANT:"
        ids = processor(text=text, images=image).input_ids[0]
        assert ids.count(tokenizer.convert_tokens_to_ids("<image>")) == 16
        assert ids.count(tokenizer.bos_token_id) == 1
        answer = tokenizer(row["target"], add_special_tokens=False).input_ids
        assert tokenizer.unk_token_id not in [*ids, *answer]
        assert tokenizer.decode(answer) == row["target"]


def test_the_template_marks_the_answer_and_its_end(processor: Any) -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Where is the circle?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "top left"}]},
    ]
    found = processor.tokenizer.apply_chat_template(
        messages,
        chat_template=processor.chat_template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    learned = [
        token for token, mask in zip(found["input_ids"], found["assistant_masks"], strict=True) if mask
    ]
    assert processor.tokenizer.convert_ids_to_tokens(learned) == ["▁top", "▁left", "</s>"]


def test_questions_that_share_a_sequence_are_read_as_if_alone(script: Any) -> None:
    """Training packs what is asked of an image; a question that saw another's answer would learn to copy."""
    import torch

    processor = script.new_processor()
    torch.manual_seed(0)
    model = script.new_model(processor.tokenizer).eval()
    scenes = script.drawn(processor, "train", 3)
    with torch.no_grad():
        packed = script.logits_of(model, script.batch_of(scenes, [0, 2]))
        for place, row in enumerate([0, 2]):
            ends = len(scenes.start)
            for one in scenes.asked[row]:
                span = slice(ends, ends := ends + len(one.tokens))
                ids = torch.tensor([scenes.start + one.tokens])
                alone = model(input_ids=ids, pixel_values=scenes.pixels[row : row + 1]).logits[0]
                torch.testing.assert_close(packed[place, span], alone[len(scenes.start) :])


@pytest.mark.heavy
def test_training_again_gives_the_same_bytes(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("model.safetensors", "README.md", "tokenizer.json", "processor_config.json")
    check_same_bytes(script, tmp_path, monkeypatch, files, IMAGES=80, TEST_IMAGES=10)
