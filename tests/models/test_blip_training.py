"""What BLIP learns from: its loss is the network's own, and a batch teaches what its samples teach alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from harness.models.base import IGNORED_LABEL
from tests.models.blips import (
    WORDS,
    answers,
    captioned,
    captions,
    choices,
    given,
    loss,
    optional,
    questioned,
    said,
    tiny_blips,
)
from tests.models.tiny_blip import asked


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return tiny_blips(tmp_path_factory.mktemp("blips"))


def test_loss_of_captions_is_the_networks_own_times_its_labels(folders: dict[str, Path]) -> None:
    made, samples = captions(folders), captioned()
    for sample in samples:
        ids = made.weights.processor.tokenizer(f"{WORDS}{sample.target}", return_tensors="pt").input_ids
        ids[:, 0] = made.model.config.text_config.bos_token_id
        labels = ids.clone()
        labels[:, :4] = IGNORED_LABEL  # the start and "a picture of"
        own = made.model(**given(made, sample), input_ids=ids, labels=labels).loss
        batch = made.encode([sample], with_targets=True)
        assert made.items(batch) == ids.shape[1] - 4
        assert loss(made, [sample]).item() == pytest.approx(own.item() * made.items(batch), rel=1e-5)


def test_loss_of_answers_is_the_networks_own_times_its_labels(folders: dict[str, Path]) -> None:
    made, samples = answers(folders), questioned()
    processor = made.weights.processor
    for sample, answer in zip(samples, ("a cat", "two", "yes", "it is blue"), strict=True):
        asks = given(made, sample, sample.inputs["question"])
        labels = processor.tokenizer(answer, return_tensors="pt").input_ids
        inputs = labels.clone()
        inputs[:, 0] = made.model.config.text_config.bos_token_id
        own = made.model(**asks, labels=labels, decoder_input_ids=inputs).loss
        count = labels.shape[1] - 1
        assert made.items(made.encode([sample], with_targets=True)) == count
        assert loss(made, [sample]).item() == pytest.approx(own.item() * count, rel=1e-5)


def test_loss_of_matching_is_by_hand(folders: dict[str, Path]) -> None:
    made, samples = choices(folders), optional()
    wanted = 0.0
    for sample, scores in zip(samples, said(made, samples), strict=True):
        for letter, score in scores.items():
            matches = math.exp(score["logprob"])
            wanted -= math.log(matches if letter == sample.target else 1 - matches)
    assert made.items(made.encode(samples, with_targets=True)) == 9
    assert loss(made, samples).item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("kind", ["captions", "answers", "matching"])
def test_a_batch_teaches_what_its_samples_teach_alone(folders: dict[str, Path], kind: str) -> None:
    made, samples = {
        "captions": lambda: (captions(folders), captioned()),
        "answers": lambda: (answers(folders), questioned()),
        "matching": lambda: (choices(folders), optional()),
    }[kind]()
    together = loss(made, samples)
    together.backward()
    whole = {name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None}
    made.model.zero_grad()
    alone = [loss(made, [sample]) for sample in samples]
    for one in alone:
        one.backward()
    parts = {name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None}
    made.model.zero_grad(set_to_none=True)
    assert together.dtype == torch.float32
    assert together.item() == pytest.approx(sum(one.item() for one in alone), rel=1e-5)
    scale = max(gradient.abs().max().item() for gradient in whole.values())
    untaught = {name for name, _ in made.model.named_parameters()} - whole.keys()
    assert {name.split(".")[0] for name in untaught} <= {"vision_proj", "text_proj"}
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, parts[name], rtol=1e-4, atol=1e-5 * scale)


def test_what_is_learned_is_the_answer_and_its_end(folders: dict[str, Path]) -> None:
    shown = captions(folders).render(captioned()[1])
    learned = [token for token, label in shown.tokens if label]
    assert learned == ["two", "big", "dog", "##s", "on", "the", "mat", "[SEP]"]
    assert [token for token, label in shown.tokens if not label] == ["<33>", "a", "picture", "of"]
    shown = answers(folders).render(questioned()[2])
    assert [token for token, label in shown.tokens if label] == ["yes", "[SEP]"]  # most people's
    assert [token for token, label in shown.tokens if not label] == ["[CLS]", "no", "[SEP]", "<33>"]
    assert shown.shapes["image"] == "int64 (1,)"


def test_one_of_several_captions_is_drawn_and_peoples_answers_are_not(
    folders: dict[str, Path],
) -> None:
    import numpy as np

    several = asked(0, ["a", "b", "c"])
    drawn = {captions(folders).chosen(several, np.random.default_rng(seed)).target for seed in range(20)}
    assert drawn == {"a", "b", "c"}
    assert answers(folders).chosen(questioned()[2], np.random.default_rng(0)).target == ["no", "yes", "yes"]
