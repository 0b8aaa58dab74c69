"""LLaVA 1.5: what is asked, answered and chosen, against prompts written out and loops written by hand."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from harness.errors import AdapterError, MediaError, PredictionError, RowError
from harness.models.llava import Llava
from harness.types import Sample, Turn
from tests.models.chats import asked, chat, four, learned, seen
from tests.models.clips import noise
from tests.models.pictures import picture
from tests.models.tiny_chat import tiny_llava
from tests.models.tiny_chat_cousins import tiny_qwen2_vl
from tests.models.tiny_chat_parts import LLAVA_TEMPLATE

SHORT = "{question}\nAnswer the question using a single word or phrase."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def made(folder: Path) -> Llava:
    return chat(folder)


def options(*given: str, number: int = 0, target: str = "A") -> Sample:
    return asked(number, target=target, options=given)


def greedy(made: Llava, sample: Sample, more: int) -> list[int]:
    """A loop by hand: no cache, no padding, no batch."""
    tensors = made.encode([sample]).settings["prompts"]
    ids = [*tensors.prefixes["input_ids"][0].tolist(), *tensors.suffixes[0]]
    new: list[int] = []
    with torch.inference_mode():
        while len(new) < more:
            logits = made.model(
                input_ids=torch.tensor([ids + new]), pixel_values=tensors.prefixes["pixel_values"]
            ).logits
            new.append(int(logits[0, -1].argmax()))
            if new[-1] == made._tokenizer.eos_token_id:
                return new[:-1]
    return new


def test_the_task_words_stand_in_the_template(folder: Path):
    made = chat(folder, prompt=SHORT)
    assert made.request(asked(0, "Is it red?")) == (
        "USER: <image>\nIs it red?\nAnswer the question using a single word or phrase. ASSISTANT:"
    )


def test_a_caption_without_words_is_an_image_alone(folder: Path):
    sample = Sample("c", {"image": picture(0)}, ["a cat", "a dog"], "g")
    assert chat(folder, "captioning").request(sample) == "USER: <image>\nASSISTANT:"


def test_a_conversation_goes_on_from_its_turns(folder: Path):
    turns = (
        Turn("user", (picture(0), "What?")),
        Turn("assistant", ("A cat.",)),
        Turn("user", ("Where?",)),
        Turn("assistant", ("There.",)),
    )
    sample = Sample("m", {"messages": turns}, "There.", "g")
    made = chat(folder, "conversation")
    assert made.request(sample) == "USER: <image>\nWhat? ASSISTANT: A cat. USER: Where? ASSISTANT:"


def test_answers_are_those_of_a_loop_by_hand(made: Llava):
    samples = four()
    outputs = made.predict(made.encode(samples))
    for sample, output in zip(samples, outputs, strict=True):
        assert output.output == made._text(greedy(made, sample, 8))


def test_an_image_goes_through_its_processor_once(made: Llava, monkeypatch: pytest.MonkeyPatch):
    seen_images = []
    processor = made.weights.processor.image_processor
    kind, preprocess = type(processor), type(processor).preprocess

    def counted(self: Any, images: Any, *arguments: Any, **settings: Any) -> Any:
        seen_images.append(images)
        return preprocess(self, images, *arguments, **settings)

    monkeypatch.setattr(kind, "preprocess", counted)
    batch = made.encode([asked(number, "why?" * number, of=number % 2) for number in range(6)])
    assert len(seen_images) == 2
    assert batch.settings["prompts"].prefix_of == [0, 1, 0, 1, 0, 1]


def test_one_image_is_one_prefix(made: Llava):
    assert made.prefix(asked(0)) == made.prefix(asked(1, "another?", of=0)) != made.prefix(asked(2))
    two = replace(asked(3), inputs={"question": "x", "image": (picture(0), picture(1))})
    turned = replace(two, inputs={"question": "x", "image": (picture(1), picture(0))})
    assert made.prefix(two) != made.prefix(turned)


def test_several_images_stand_where_the_words_place_them(folder: Path):
    made = chat(folder, prompt="First <image>, then <image>: {question}")
    sample = replace(asked(0, "same?"), inputs={"question": "same?", "image": (picture(0), picture(1))})
    # LLaVA 1.5's template writes images before words, wherever they stood, and a space after each part.
    assert made.request(sample) == "USER: <image>\n<image>\nFirst  , then  : same? ASSISTANT:"
    assert made.encode([sample]).tensors["pixel_values"].shape[0] == 2
    assert made.predict(made.encode([sample]))[0].output == made._text(greedy(made, sample, 8))


def test_texts_without_images_share_a_batch_with_images(folder: Path):
    made = chat(folder, "conversation")
    alone = Sample("t", {"messages": (Turn("user", ("Hi?",)), Turn("assistant", ("Ho",)))}, "Ho", "g")
    shown = (Turn("user", (picture(0), "Hi?")), Turn("assistant", ("Ho",)))
    both = [alone, Sample("i", {"messages": shown}, "Ho", "g")]
    together = [output.output for output in made.predict(made.encode(both))]
    assert together == [made.predict(made.encode([sample]))[0].output for sample in both]
    with torch.no_grad():
        whole = float(made.loss(made.model, made.encode(both, with_targets=True)))
        parts = [float(made.loss(made.model, made.encode([sample], with_targets=True))) for sample in both]
    assert whole == pytest.approx(sum(parts), rel=1e-5)
    assert seen(made, alone) == "<s>▁USER:▁Hi?▁ASSISTANT:▁Ho</s>"


def test_the_limit_ends_an_answer(folder: Path):
    [output] = chat(folder, generate={"max_new_tokens": 3}).predict(chat(folder).encode([asked(1)]))
    assert (output.tokens, output.truncated) == (3, True)


def test_answers_end_at_the_checkpoints_ends(folder: Path, made: Llava, tmp_path: Path):
    first = greedy(made, asked(1), 3)
    other = shutil.copytree(folder, tmp_path / "other")
    config = other / "generation_config.json"
    config.write_text(config.read_text().replace('"eos_token_id": 2', f'"eos_token_id": [2, {first[2]}]'))
    short = chat(other)
    [output] = short.predict(short.encode([asked(1)]))
    place = first.index(first[2])
    assert (output.output, output.tokens, output.truncated) == (made._text(first[:place]), place, False)


def test_the_default_limit_is_llavas(folder: Path):
    assert chat(folder, generate={})._settings.max_new_tokens == 128


def test_beams_are_transformers_own(folder: Path):
    made = chat(folder, generate={"num_beams": 3, "max_new_tokens": 5})
    prompts = made.encode([four()[1]]).settings["prompts"]
    ids = torch.tensor([[*prompts.prefixes["input_ids"][0].tolist(), *prompts.suffixes[0]]])
    with torch.inference_mode():
        row = made.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=prompts.prefixes["pixel_values"],
            num_beams=3,
            max_new_tokens=5,
        )[0, ids.shape[1] :].tolist()
    ends = row.index(2) if 2 in row else len(row)
    assert made.predict(made.encode(four()))[1].output == made._text(row[:ends])


def test_samples_are_drawn_from_their_own_seed(folder: Path):
    settings = {"temperature": 1.5, "max_new_tokens": 6}
    made = chat(folder, generate=settings)
    assert len({made.bucket(sample) for sample in four()}) == 4
    torch.manual_seed(1)
    [one] = made.predict(made.encode([asked(0)]))
    torch.manual_seed(2)
    [again] = made.predict(made.encode([asked(0)]))
    other = chat(folder, generate={**settings, "seed": 1})
    assert one == again != other.predict(other.encode([asked(0)]))[0]


def test_pieces_of_a_stream_are_the_answer(made: Llava):
    for sample in four():
        pieces = list(made.stream(sample))
        assert "".join(pieces) == made.predict(made.encode([sample]))[0].output
    assert len(pieces) > 1


def test_a_search_with_beams_is_not_streamed(folder: Path):
    with pytest.raises(AdapterError, match="streamed"):
        list(chat(folder, generate={"num_beams": 2}).stream(asked(0)))


def test_options_are_scored_behind_the_prompt(folder: Path):
    made = chat(folder, "multiple_choice", prompt="{question}")
    sample = options("red", "a blue cat")
    found: Any = made.predict(made.encode([sample]))[0].output
    assert list(found) == ["A", "B"]
    for letter, words in (("A", "▁re d"), ("B", "▁ a ▁ b l u e ▁ c a t")):
        prompts = made.encode([sample]).settings["prompts"]
        asking = [*prompts.prefixes["input_ids"][0].tolist(), *prompts.suffixes[0]]
        answer = made._tokenizer.convert_tokens_to_ids(words.split())
        with torch.inference_mode():
            logits = made.model(
                input_ids=torch.tensor([asking + answer]), pixel_values=prompts.prefixes["pixel_values"]
            ).logits[0]
        chances = logits.log_softmax(-1)
        by_hand = sum(float(chances[len(asking) - 1 + at, token]) for at, token in enumerate(answer))
        assert found[letter]["tokens"] == len(answer)
        assert found[letter]["logprob"] == pytest.approx(by_hand, rel=1e-5)


def test_letters_can_be_what_is_scored_and_learned(folder: Path):
    made = chat(folder, "multiple_choice", choice={"answer": "letter"})
    sample = options("red", "blue", target="B")
    assert made.request(sample) == {
        "prompt": "USER: <image>\nwhat is it?\nA. red\nB. blue ASSISTANT:",
        "options": [" A", " B"],
    }
    assert learned(made, sample) == "▁B</s>"


def test_a_letter_can_be_written(folder: Path):
    made = chat(folder, "multiple_choice", choice={"by": "letter"})
    assert isinstance(made.predict(made.encode([options("red", "blue")]))[0].output, str)


def test_a_prompt_too_long_names_the_numbers(tmp_path: Path):
    made = chat(tiny_llava(tmp_path, positions=48), generate={"max_new_tokens": 8})
    # "<s>▁USER:▁" is 8 tokens, the image 4, the line break 1, "▁ASSISTANT:" 11: 24 without the question.
    assert made.encode([asked(0, "w" * 16)]).settings["prompts"]
    with pytest.raises(RowError, match=r"'s0' has 41 tokens \(4 of media\) and up to 8 .* 48 positions"):
        made.encode([asked(0, "w" * 17)])
    with pytest.raises(RowError, match="'s0' has 49 tokens"):
        made.encode([asked(0, "w" * 22, target="t")], with_targets=True)


def test_a_place_for_an_image_in_a_text_is_refused(made: Llava):
    sample = replace(asked(0), inputs={"question": "is <image> it?", "image": (picture(0), picture(1))})
    with pytest.raises(RowError, match="'s0' has 2 images"):
        made.request(sample)


def test_a_checkpoint_that_does_not_hear_says_so(folder: Path):
    made = chat(folder, medium="audio")
    with pytest.raises(RowError, match="places for media"):
        made.encode([Sample("a", {"audio": noise(0.1, 0), "question": "what?"}, "x", "g")])


def test_an_image_that_cannot_be_read_is_named(made: Llava, monkeypatch: pytest.MonkeyPatch):
    sample = asked(0)

    def fails() -> None:
        raise MediaError("broken")

    monkeypatch.setattr(sample.inputs["image"], "load", fails)
    with pytest.raises(MediaError, match="broken"):
        made.encode([sample])


def test_a_shape_that_the_processor_refuses_fails_its_sample(tmp_path: Path):
    made = chat(tiny_qwen2_vl(tmp_path))
    assert made.cost(asked(0, size=(40, 20))) > 0
    with pytest.raises(MediaError, match=r"refuses 2000x2: .*aspect ratio"):
        made.cost(asked(0, size=(2000, 2)))


@pytest.mark.parametrize(
    "generate",
    [{"language": "en"}, {"task": "translate"}, {"timestamps": "word"}, {"temperature": [0.0, 0.5]}],
    ids=str,
)
def test_settings_of_speech_are_refused(folder: Path, generate: dict[str, Any]):
    with pytest.raises(AdapterError, match=rf"generate\.{next(iter(generate))}.* is for speech"):
        chat(folder, generate=generate)


def test_tokens_that_the_checkpoint_suppresses_are_so_until_the_task_says_no(folder: Path, tmp_path: Path):
    other = shutil.copytree(folder, tmp_path / "other")
    free = chat(folder)
    first = greedy(free, asked(0), 1)
    config = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps(config | {"suppress_tokens": first}))
    none = {"suppress_tokens": "none", "max_new_tokens": 8}
    made = (free, chat(other), chat(other, generate=none))
    before, kept, cleared = (one.predict(one.encode([asked(0)]))[0].output for one in made)
    assert kept != before
    assert cleared == before


def test_numbers_that_are_none_are_an_error(folder: Path):
    made = chat(folder)
    with torch.no_grad():
        made.model.lm_head.weight[5] = float("nan")
    with pytest.raises(PredictionError, match="non-finite"):
        made.predict(made.encode([asked(0)]))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", "has no chat template"),
        (LLAVA_TEMPLATE.replace("'ASSISTANT:'", "''"), "no generation marker"),
        (LLAVA_TEMPLATE.replace("'ASSISTANT:'", "'Assistant:'"), "no generation marker"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(folder: Path, tmp_path: Path, template: str, said: str):
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "chat_template.jinja").write_text(template)
    if not template:
        (other / "chat_template.jinja").unlink()
    with pytest.raises(AdapterError, match=said):
        chat(other)


def test_the_date_in_a_template_stands_still(folder: Path, tmp_path: Path):
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "chat_template.jinja").write_text("{{ date_string }} " + LLAVA_TEMPLATE)
    assert str(chat(other).request(asked(0))).startswith("26 Jul 2024 USER:")


def test_a_kind_without_words_is_refused(folder: Path):
    columns = {"audio": "audio", "target": "target"}
    with pytest.raises(AdapterError, match="asks in no words"):
        chat(folder, "asr", medium="audio", data={"path": "nowhere", "columns": columns})


def test_threads_encode_what_one_would(made: Llava):
    expected = made.encode(four()).tensors["input_ids"]
    found: list[torch.Tensor] = []
    threads = [
        Thread(target=lambda: found.append(made.encode(four()).tensors["input_ids"])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(torch.equal(one, expected) for one in found)
