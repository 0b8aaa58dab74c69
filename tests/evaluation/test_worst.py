"""The costliest samples are those that the corpus score would gain most from losing."""

from __future__ import annotations

import json

import pytest

from harness.evaluation.worst import word_diff


@pytest.fixture
def shown(harness, dummy_task, tmp_path):
    def show(rows):
        dummy_task(n=1)
        (tmp_path / "stored.jsonl").write_text("\n".join(map(json.dumps, rows)))
        done = harness("score", "task.yaml", "--predictions", "stored.jsonl", COLUMNS="80")
        assert done.code == 0, done.err
        return done.out

    return show


def test_words_said_into_silence_are_among_them(shown):
    out = shown(
        [
            {"id": "silence", "prediction": "zero one", "target": ""},
            {"id": "one wrong", "prediction": "a b x", "target": "a b c"},
            {"id": "right", "prediction": "a b c", "target": "a b c"},
        ]
    )
    lines = [line for line in out.splitlines() if "WER" in line and "costs" in line]
    # 3 edits of 6 words; without the silence 1 of 6, without the other 2 of 3.
    assert lines == ["silence  WER empty reference, costs 33.33 points"]


def test_markup_in_texts_and_ids_is_shown_as_it_is(shown):
    out = shown([{"id": "[bold]x", "prediction": "[red]a[/red] b", "target": "[red]a[/red] c"}])
    assert "[bold]x" in out
    assert "hyp [red]a[/red] [b]" in out


def test_words_are_aligned_as_they_are_counted():
    left, right = word_diff("a b c d", "a x c")
    assert (left.plain, right.plain) == ("a [b] c [d]", "a [x] c")
    assert word_diff("", "x y")[1].plain == "[x y]"
