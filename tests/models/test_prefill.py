"""Prompts that share a beginning say what they would say alone, and cost one look at each image.

The reference is transformers called by hand on one prompt at a time, without any padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from harness.errors import AdapterError
from harness.models import continuation, prefill
from harness.models.prefill import Prompts, generate, option_scores
from tests.models.tiny_networks import ANEW, ENDS, SHARING, Tiny, llava

PREFIX_OF = [0, 1, 0, 0, 1]
SUFFIXES = [[3, 4, 5], [6], [9, 8], [11], [12, 13, 14, 15]]
OPTIONS = [[[13], [4, 5]], [[6, 7, 8], [9]], [[11, 12], [13, 4], [5]], [[4], [5]], [[20, 21], [22, 23, 24]]]
EVERY = {**SHARING, **ANEW}
ALONG = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "cross_attention_mask")


def made(build: Callable[[], Tiny]) -> tuple[Tiny, Prompts]:
    torch.manual_seed(0)
    tiny = build()
    return tiny, Prompts(tiny.prefixes, PREFIX_OF, SUFFIXES, 0, **tiny.extra)


def config(**wishes: Any) -> GenerationConfig:
    return GenerationConfig(max_new_tokens=6, eos_token_id=ENDS, do_sample=False, pad_token_id=0, **wishes)


def alone(tiny: Tiny, row: int, answer: list[int] | None = None) -> dict[str, Any]:
    """One prompt, with an answer behind it, as a processor would make it."""
    number, answer = PREFIX_OF[row], answer or []
    real = tiny.prefixes["attention_mask"][number] == 1
    more = len(SUFFIXES[row]) + len(answer)
    found = {}
    for name, tensor in tiny.prefixes.items():
        if name in ALONG:
            own = tensor[number : number + 1][:, real]
            rest = {"input_ids": [SUFFIXES[row] + answer], "attention_mask": [[1] * more]}.get(
                name, [[0] * more]
            )
            if name == "token_type_ids" and tiny.extra.get("answer_type"):
                rest = [[0] * len(SUFFIXES[row]) + [1] * len(answer)]
            behind = own[:, -1:].repeat(1, more, 1, 1) if tensor.dim() > 2 else torch.tensor(rest)
            found[name] = torch.cat([own, behind.to(own.dtype)], 1)
        elif name == "pixel_values" and "image_grid_thw" in tiny.prefixes:
            found[name] = tensor.split(tiny.prefixes["image_grid_thw"].prod(-1).tolist())[number]
        else:
            found[name] = tensor[number : number + 1]
    return found


def written_alone(tiny: Tiny, settings: GenerationConfig) -> list[list[int]]:
    answers = []
    for row in range(len(SUFFIXES)):
        inputs = alone(tiny, row)
        ids = tiny.network.generate(**inputs, generation_config=settings)[0]
        new = ids[inputs["input_ids"].shape[1] :].tolist()
        ends = [place for place, token in enumerate(new) if token in ENDS]
        answers.append(new[: ends[0]] if ends else new)
    return answers


def scored_alone(tiny: Tiny) -> list[float]:
    found = []
    for row, options in enumerate(OPTIONS):
        for ids in options:
            with torch.no_grad():
                logits = tiny.network(**alone(tiny, row, ids), use_cache=False).logits[0].log_softmax(-1)
            found.append(sum(logits[place - len(ids) - 1, token].item() for place, token in enumerate(ids)))
    return found


@contextmanager
def looks(tiny: Tiny) -> Iterator[list[int]]:
    """How many rows of pixels or sound the tower is given."""
    found = [0]
    tower = tiny.network.get_submodule(tiny.tower)

    def count(_: Any, args: Any, named: Any) -> None:
        found[0] += len(args[0] if args else next(iter(named.values())))

    hook = tower.register_forward_pre_hook(count, with_kwargs=True)
    yield found
    hook.remove()


def once(tiny: Tiny) -> int:
    """Rows that a tower is given when every image is encoded once; blank ones are left out."""
    tensor: Any = tiny.prefixes.get("pixel_values", tiny.prefixes.get("input_features"))
    return sum(tiny.extra["media"]) if "media" in tiny.extra else len(tensor)


@pytest.mark.parametrize("name", EVERY)
def test_answers_are_those_of_each_prompt_alone(name):
    tiny, prompts = made(EVERY[name])
    expected = written_alone(tiny, config())
    assert len(set(map(tuple, expected))) >= 4, "the test says nothing: answers don't depend on prompts"
    share = name != "paligemma"
    with looks(tiny) as given:
        found = generate(tiny.network, prompts, config(), share=share)
    assert [one.ids for one in found] == expected
    assert given == [once(tiny)]
    found = generate(tiny.network, prompts, config(), share=False)
    assert [one.ids for one in found] == expected


@pytest.mark.parametrize("name", EVERY)
def test_options_are_as_likely_as_behind_each_prompt_alone(name):
    tiny, prompts = made(EVERY[name])
    expected = pytest.approx(scored_alone(tiny), abs=2e-5)
    share = name != "paligemma"
    with looks(tiny) as given:
        found = option_scores(tiny.network, prompts, OPTIONS, share=share)
    assert [one.logprob for row in found for one in row] == expected
    assert [[one.tokens for one in row] for row in found] == [[len(ids) for ids in row] for row in OPTIONS]
    assert given == [once(tiny)]
    anew = option_scores(tiny.network, prompts, OPTIONS, share=False)
    assert [one.logprob for row in anew for one in row] == expected


def test_an_end_token_ends_an_answer_and_the_limit_cuts_it():
    tiny, prompts = made(llava)
    settings = config()
    settings.eos_token_id = None
    free = generate(tiny.network, prompts, settings, share=True)
    assert all(one.truncated and len(one.ids) == 6 for one in free)
    end = free[0].ids[3]
    first = free[0].ids.index(end)
    for ends in (end, [3, end]):
        settings.eos_token_id = ends
        cut = generate(tiny.network, prompts, settings, share=True)[0]
        assert (cut.ids, cut.truncated) == (free[0].ids[:first], False)


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "mllama"])
def test_beams_go_on_from_shared_beginnings_too(name):
    tiny, prompts = made(SHARING[name])
    settings = config(num_beams=3)
    expected = written_alone(tiny, settings)
    assert expected != written_alone(tiny, config()), "the test says nothing: beams find what greedy finds"
    with looks(tiny) as given:
        found = generate(tiny.network, prompts, settings, share=True)
    assert [one.ids for one in found] == expected
    assert given == [once(tiny)]


def test_the_language_model_reads_a_beginning_and_a_question_once(monkeypatch):
    tiny, prompts = made(llava)
    read = []
    language = tiny.network.model.language_model
    hook = language.register_forward_pre_hook(
        lambda _, args, named: read.append(tuple(named["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    option_scores(tiny.network, prompts, OPTIONS, share=True)
    # Two beginnings of 7, five questions of at most 4, and behind them what six options have after a first
    # token, as many at once as there are prompts.
    assert read == [(2, 7), (5, 4), (5, 2), (1, 2)]
    hook.remove()


def test_nothing_is_left_of_a_batch_for_the_next():
    tiny, prompts = made(SHARING["qwen2_vl"])
    first = generate(tiny.network, prompts, config(), share=True)
    other = replace(prompts, prefix_of=[1, 0, 1, 0, 1])
    generate(tiny.network, other, config(), share=True)
    option_scores(tiny.network, other, OPTIONS, share=True)
    assert generate(tiny.network, prompts, config(), share=True) == first


def test_a_selected_cache_leaves_the_one_it_comes_from():
    tiny, prompts = made(llava)
    cache = continuation.prefilled(tiny.network, prompts)
    keys = cache.layers[0].keys.clone()
    rows = continuation.selected(cache, [1, 1, 0])
    inputs = {"input_ids": torch.zeros(3, 8, dtype=torch.long), "attention_mask": torch.ones(3, 8).long()}
    continuation.forward(tiny.network, inputs, rows, keep=1, new=1)
    assert rows.get_seq_length() == 8
    assert cache.get_seq_length() == 7
    assert torch.equal(cache.layers[0].keys, keys)


def test_prompts_that_share_nothing_are_read_in_one_go(monkeypatch):
    tiny, prompts = made(llava)
    monkeypatch.setattr(prefill, "prefilled", lambda *_: pytest.fail("read in two parts"))
    apart = replace(prompts, prefix_of=[1, 0], suffixes=[[3, 4], [5]])
    assert len(generate(tiny.network, apart, config(), share=True)) == 2


def test_prompts_without_an_image_stand_beside_others():
    tiny, prompts = made(llava)
    prefixes = {name: tensor.clone() for name, tensor in tiny.prefixes.items()}
    prefixes["input_ids"][1] = torch.tensor([0, 0, 0, 0, 0, 0, 1])
    prefixes["attention_mask"][1] = torch.tensor([0, 0, 0, 0, 0, 0, 1])
    prefixes["pixel_values"] = prefixes["pixel_values"][:1]
    mixed = replace(prompts, prefixes=prefixes, media=[1, 0])
    expected = []
    for row, number in enumerate(PREFIX_OF):
        ids = torch.tensor([[1, *[50] * 4, *SUFFIXES[row]] if number == 0 else [1, *SUFFIXES[row]]])
        image = {"pixel_values": prefixes["pixel_values"]} if number == 0 else {}
        found = tiny.network.generate(ids, **image, generation_config=config())[0]
        expected.append(found[ids.shape[1] :].tolist())
    for share in (True, False):
        found = generate(tiny.network, mixed, config(), share=share)
        assert [one.ids for one in found] == expected


def test_media_whose_rows_cannot_be_told_apart_are_refused():
    tiny, prompts = made(llava)
    crops = {**tiny.prefixes, "pixel_values": torch.zeros(3, 3, 16, 16)}
    with pytest.raises(AdapterError, match="'pixel_values' has 3 rows for 2 prompts with 2 images or clips"):
        generate(
            tiny.network, replace(prompts, prefixes=crops, prefix_of=[1, 0, 1, 1, 1]), config(), share=False
        )
