"""Kinds of chat model that share beginnings: answers are those of prompts read anew.

`test_prefill` has seven networks against each prompt alone, `test_chat_cousins` answers of every kind; here
are options and beams of the kinds that the former hasn't.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from harness.models import prefill
from harness.models.chat_cousins import CHATS
from tests.models.chats import chat, four
from tests.models.tiny_chat import tiny_chat

KINDS = ["llava_next", "llava_onevision", "qwen2_5_vl", "qwen3_vl", "idefics2", "internvl"]
OPTIONS = [[[20, 21, 22], [30], [31, 32]]] * 4


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_shared_beginnings_change_no_answer(kind: str, tmp_path: Path):
    made = chat(tiny_chat(kind, tmp_path))
    prompts = made.encode(four()).settings["prompts"]
    assert prompts.repeats
    search = copy.copy(made._settings)
    search.num_beams = 3
    with torch.inference_mode():
        for settings in (made._settings, search):
            written = [
                prefill.generate(made.model, prompts, settings, share=share) for share in (True, False)
            ]
            assert written[0] == written[1]
        scored = [prefill.option_scores(made.model, prompts, OPTIONS, share=share) for share in (True, False)]
    shared, anew = ([[one.logprob for one in row] for row in rows] for rows in scored)
    assert torch.tensor(shared) == pytest.approx(torch.tensor(anew), abs=3e-5)


def test_only_models_that_see_all_of_a_prompt_read_it_anew():
    assert [kind for kind, row in CHATS.items() if not row.shares_prefix] == ["paligemma"]
