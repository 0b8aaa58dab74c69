"""BLIP says what transformers says of a single sample, whatever else is in the batch."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import AdapterError, PredictionError, RowError
from harness.types import Sample, Turn
from tests.models.blips import (
    ANSWERS,
    CAPTIONS,
    MATCHING,
    WORDS,
    answers,
    captioned,
    captions,
    choices,
    given,
    opened,
    optional,
    questioned,
    said,
    tiny_blips,
)
from tests.models.pictures import picture
from tests.models.tiny_blip import POSITIONS, asked, tiny_blip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return tiny_blips(tmp_path_factory.mktemp("blips"))


@pytest.mark.parametrize("words", [WORDS, ""])
@pytest.mark.parametrize(
    "generate",
    [{}, {"num_beams": 1}, {"min_new_tokens": 4}, {"max_new_tokens": 16, "length_penalty": 2.0}],
    ids=str,
)
def test_captions_are_those_of_transformers_without_the_words(
    folders: dict[str, Path], words: str, generate: dict[str, Any]
) -> None:
    made, samples = captions(folders, words, **generate), captioned()
    processor = made.weights.processor
    settings = {"num_beams": 3, "max_new_tokens": 8} | generate
    found = said(made, samples)
    for sample, caption in zip(samples, found, strict=True):
        ids = made.model.generate(**given(made, sample, words), **settings)
        whole = processor.decode(ids[0], skip_special_tokens=True)
        assert whole == f"{words.strip()} {caption}".strip() or whole == words.strip() + caption
        assert not caption.startswith("a picture")
    assert len(set(found)) > 1


def test_tokens_are_counted_without_the_end_that_shows_whether_a_limit_was_met(
    folders: dict[str, Path],
) -> None:
    made = captions(folders, num_beams=1)
    samples = [asked(seed) for seed in range(8)]
    outputs = made.predict(made.encode(samples))
    assert {output.truncated for output in outputs} == {True, False}
    for sample, output in zip(samples, outputs, strict=True):
        new = made.model.generate(**given(made, sample, WORDS), num_beams=1, max_new_tokens=8)[0, 4:].tolist()
        assert output.truncated == (3 not in new)
        assert output.tokens == (8 if output.truncated else new.index(3))


def test_a_piece_that_continues_the_last_of_the_words_is_read_as_that(folders: dict[str, Path]) -> None:
    """As the published code cuts captions: the whole is decoded, then its beginning is taken off."""
    made = captions(folders)
    names = ["a", "picture", "of", "##s", "cat", "[SEP]", "dog"]
    ids = made.weights.processor.tokenizer.convert_tokens_to_ids(names)
    output = made._output([33, *ids], [33, *ids[:3]])
    assert (output.output, output.tokens, output.truncated) == ("s cat", 2, False)


def test_words_of_different_lengths_share_a_batch(folders: dict[str, Path]) -> None:
    made = captions(folders, words="{hint}")
    samples = [replace(sample, meta={"hint": sample.target}) for sample in captioned()]
    assert said(made, samples) == [said(made, [sample])[0] for sample in samples]
    assert said(made, samples[1:2]) != said(captions(folders, words=""), samples[1:2])


def test_answers_are_those_of_transformers_to_a_single_question(folders: dict[str, Path]) -> None:
    made, samples = answers(folders), questioned()
    for sample, answer in zip(samples, said(made, samples), strict=True):
        ids = made.model.generate(**given(made, sample, sample.inputs["question"]), max_new_tokens=6)
        assert answer == made.weights.processor.decode(ids[0], skip_special_tokens=True)


def test_a_question_is_answered_alike_beside_longer_ones(folders: dict[str, Path]) -> None:
    """To the last digit that matters: transformers' decoder looks at the padding of questions."""
    made, samples = answers(folders), questioned()
    made.prepare()

    def first_logits(asks: list[Sample]) -> torch.Tensor:
        """What the decoder says at first of each of them, in the order of their questions' lengths."""
        found: list[torch.Tensor] = []
        hook = made.speaker.register_forward_hook(
            lambda _, given, named, said: (
                found.append(said.logits[:, 0])
                if named["input_ids"].shape[1] == 1 and int(named["input_ids"][0, 0]) == 33
                else None
            ),
            with_kwargs=True,
        )
        made.predict(made.encode(asks))
        hook.remove()
        return torch.cat(found)

    lengths = [len(made._read(sample)) for sample in samples]
    alone = torch.cat([first_logits([samples[at]]) for at in sorted(range(4), key=lengths.__getitem__)])
    torch.testing.assert_close(first_logits(samples), alone, rtol=1e-4, atol=1e-4)
    assert (first_logits(samples[:1]) - first_logits(samples[1:2])).abs().max() > 0.01  # one image


def test_an_image_goes_through_the_vision_tower_once(folders: dict[str, Path]) -> None:
    for made, samples in ((answers(folders), questioned()), (choices(folders), optional())):
        seen: list[int] = []
        made.prepare()
        hook = made.model.vision_model.register_forward_pre_hook(
            lambda _, inputs, named, seen=seen: seen.append(len([*inputs, *named.values()][0])),
            with_kwargs=True,
        )
        made.predict(made.encode(samples))
        hook.remove()
        assert seen == [3]
        assert made.prefix(samples[0]) == made.prefix(samples[1]) != made.prefix(samples[2])


def test_options_are_scored_by_the_matching_head(folders: dict[str, Path]) -> None:
    made, samples = choices(folders), optional()
    for sample, scores in zip(samples, said(made, samples), strict=True):
        texts = sample.inputs["options"]
        assert isinstance(texts, tuple)
        assert list(scores) == ["A", "B", "C"][: len(texts)]
        for text, (_, score) in zip(texts, scores.items(), strict=True):
            with torch.inference_mode():
                own = made.model(**given(made, sample, text)).itm_score.softmax(-1)[0, 1].item()
            assert math.exp(score["logprob"]) == pytest.approx(own, abs=1e-5)
            assert score["tokens"] == 1


def test_options_are_ranked_by_the_decoder_that_answers(folders: dict[str, Path]) -> None:
    made, samples = choices(folders, ANSWERS), optional()
    tokenizer = made.weights.processor.tokenizer
    for sample, scores in zip(samples, said(made, samples), strict=True):
        for text, (_, score) in zip(sample.inputs["options"], scores.items(), strict=True):  # type: ignore[arg-type]
            asks = given(made, sample, sample.inputs["question"])
            labels = tokenizer(text, return_tensors="pt").input_ids  # [CLS] answer [SEP]
            inputs = labels.clone()
            inputs[:, 0] = made.model.config.text_config.bos_token_id
            with torch.inference_mode():
                mean = made.model(**asks, labels=labels, decoder_input_ids=inputs).loss
            assert score["tokens"] == labels.shape[1] - 1
            assert score["logprob"] == pytest.approx(-mean.item() * score["tokens"], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        (CAPTIONS, "vqa", ANSWERS),
        (MATCHING, "yes_no", ANSWERS),
        (ANSWERS, "captioning", CAPTIONS),
        (CAPTIONS, "multiple_choice", f"{ANSWERS} or a {MATCHING}"),
    ],
)
def test_a_network_of_another_kind_is_refused_by_the_one_that_is_needed(
    folders: dict[str, Path], name: str, kind: str, wanted: str
) -> None:
    with pytest.raises(AdapterError, match=f"needs a {wanted}, .* is a {name}") as caught:
        opened(folders[name], kind)
    assert "Salesforce/blip-" in caught.value.hint


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"choice": {"answer": "letter"}}, r"choice\.answer: letter"),
        ({"choice": {"normalize": "bytes"}}, r"choice\.normalize: bytes"),
        ({"choice": {"by": "letter"}}, "can generate for kind 'multiple_choice'"),
    ],
)
def test_a_choice_without_a_meaning_is_refused(
    folders: dict[str, Path], section: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(AdapterError, match=complaint):
        choices(folders, **section)


@pytest.mark.parametrize(
    "generate",
    [{"language": "en"}, {"task": "translate"}, {"timestamps": "word"}, {"temperature": [0.0, 0.5]}],
    ids=str,
)
def test_settings_of_speech_are_refused(folders: dict[str, Path], generate: dict[str, Any]) -> None:
    with pytest.raises(AdapterError, match=rf"generate\.{next(iter(generate))}"):
        captions(folders, **({"num_beams": 1} | generate))


def test_samples_that_cannot_be_asked(folders: dict[str, Path]) -> None:
    two = Sample("two", {"image": (picture(0), picture(1)), "question": "no"}, "no", "")
    none = Sample("none", {"question": "no"}, "no", "")
    talk: list[tuple[Any, ...]] = [
        ("user", picture(0), "no"),
        ("assistant", "a"),
        ("user", "?"),
        ("assistant", "b"),
    ]
    turns = Sample("turns", {"messages": tuple(Turn(role, tuple(parts)) for role, *parts in talk)}, "b", "")
    long = Sample("long", {"image": picture(0), "question": "big " * POSITIONS}, "no", "")
    made = answers(folders)
    for sample, complaint in (
        (two, "'two' has 2 images"),
        (none, "'none' has no image"),
        (turns, "'turns' has 3 turns"),
        (long, f"'long': the question's {POSITIONS + 2} tokens are more than the {POSITIONS}"),
    ):
        with pytest.raises(RowError, match=complaint):
            made.request(sample)
        with pytest.raises(RowError, match=complaint):
            made.encode([sample])


def test_room_is_counted_before_anything_is_written(folders: dict[str, Path]) -> None:
    made = captions(folders, words="{hint}", max_new_tokens=20)
    made.request(replace(asked(0, ""), meta={"hint": "a big dog"}))
    with pytest.raises(RowError, match=f"5 tokens and 20 new ones are more than the decoder's {POSITIONS}"):
        made.request(replace(asked(0, ""), meta={"hint": "a big red dog"}))
    learning = captions(folders)
    with pytest.raises(RowError, match=f"25 tokens, more than the decoder's {POSITIONS} positions"):
        learning.encode([asked(0, "big " * 21)], with_targets=True)
    learning.encode([asked(0, "big " * 20)], with_targets=True)
    with pytest.raises(RowError, match="empty text"):
        learning.encode([asked(0, "")], with_targets=True)
    with pytest.raises(RowError, match="an option's 26 tokens"):
        choices(folders).request(asked(0, "A", question="?", options=("a", "big " * POSITIONS)))
    with pytest.raises(RowError, match="none of its 2 options is 'C'"):
        choices(folders).encode([asked(0, "C", question="?", options=("a", "b"))], with_targets=True)


def test_without_a_limit_the_checkpoints_own_holds(tmp_path: Path, folders: dict[str, Path]) -> None:
    own = tiny_blip(tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    config["text_config"]["max_length"] = 9  # as the published checkpoints have it
    (own / "config.json").write_text(json.dumps(config))
    made = opened(own, "captioning", prompt=WORDS)
    assert all(output.tokens <= 5 for output in made.predict(made.encode(captioned())))
    assert any(output.tokens == 5 for output in made.predict(made.encode(captioned())))
    with pytest.raises(RowError, match="10 tokens leave none of 9"):
        opened(own, "captioning", prompt="a picture of a cat on the red mat").request(asked(0))
    made = opened(folders[CAPTIONS], "captioning", prompt=WORDS)
    outputs = made.predict(made.encode([asked(seed) for seed in range(8)]))
    assert max(output.tokens for output in outputs) == POSITIONS - 4


def test_sampling_depends_on_the_seed_and_on_what_is_asked_alone(folders: dict[str, Path]) -> None:
    def say(seed: int, number: int) -> str:
        made = captions(folders, num_beams=1, temperature=2.0, seed=seed)
        assert made.bucket(asked(1)) != made.bucket(asked(2))
        torch.manual_seed(number)
        return str(said(made, [asked(1)])[0])

    assert say(0, 1) == say(0, 2)
    assert len({say(seed, 1) for seed in range(5)}) > 1


@pytest.mark.parametrize("kind", ["captions", "answers", "matching", "options"])
def test_numbers_that_are_none_are_an_error_and_not_a_text(folders: dict[str, Path], kind: str) -> None:
    made = {
        "captions": captions(folders),
        "answers": answers(folders),
        "matching": choices(folders),
        "options": choices(folders, ANSWERS),
    }[kind]
    made.prepare()
    with torch.no_grad():
        made.model.vision_model.post_layernorm.bias.fill_(math.nan)
    with pytest.raises(PredictionError, match="non-finite"):
        made.predict(made.encode(captioned() if kind == "captions" else optional()))


def test_an_answer_is_streamed_as_it_is_predicted(folders: dict[str, Path]) -> None:
    made, sample = captions(folders), asked(4)
    assert "".join(made.stream(sample)) == said(made, [sample])[0] != ""
