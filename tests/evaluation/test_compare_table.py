"""The table of a comparison: widths, texts, changes, words that differ."""

from dataclasses import replace

import numpy as np

from harness.evaluation.changes import WordDifference, differing_words
from harness.evaluation.compare import compare
from harness.results.record import (
    MetricIdentity,
    MetricPart,
)
from tests.evaluation.stored_runs import TARGETS, garbled, printed, run


def test_the_table_fits_80_columns_and_reads_texts_literally():
    a = garbled(0.4)
    a[7] = "[bold]word7[/nope] " + "averylongwordwithoutanyspace" * 5
    text = printed(compare(run(a), run(garbled(0.1, seed=1), checkpoint="tuned")))
    assert max(map(len, text.splitlines())) <= 80
    for expected in (
        "wer, lower is better",
        "95% interval",
        "20 clusters",
        "McNemar",
        "Largest wins of B (wer falls)",
        "and → oops",
    ):
        assert expected in text
    assert "[/nope]" in text


def test_long_names_and_markup_do_not_break_the_table():
    checkpoint = "/somewhere/" + "deep/" * 40 + "base"
    found = compare(run(garbled(0.4)), run(TARGETS, checkpoint=checkpoint))
    ids = ["/data/" + "averylongfolder/" * 12 + "[/b][red]clip7.wav", "[link=x]utt"]
    wins = [replace(win, id=name) for win, name in zip(found.wins, ids, strict=False)]
    text = printed(replace(found, wins=tuple(wins), metric="[/i]" + "metric" * 8))
    assert max(map(len, text.splitlines())) <= 80
    cells = "".join(line.split("│")[1].strip() for line in text.splitlines() if "│" in line)
    assert "[/b][red]clip7.wav" in cells  # the end of a path is what tells it from others
    assert "[link=x]utt" in cells
    assert "/data/" not in cells
    assert checkpoint in "".join(line.strip() for line in text.splitlines())


def test_the_changes_say_what_they_count_and_have_the_sign_of_the_difference():
    a, b = run(garbled(0.4)), run(garbled(0.1, seed=1))
    wer, bleu = printed(compare(a, b)), printed(compare(a, b, "bleu"))
    assert "Largest wins of B (wer falls)" in wer
    assert "Largest losses of B (wer rises)" in wer
    assert "Largest wins of B (bleu rises)" in bleu
    assert all(part in wer for part in ("change of", "wer,", "points"))
    assert "points" not in bleu.split("Largest")[1]


def test_a_metric_of_whole_lists_is_compared_by_its_texts(monkeypatch):
    from harness.metrics.evaluate_library import EvaluateMetric

    class Hits:
        _hash = "0" * 64

        def compute(self, predictions, references):
            return {"hits": float(np.mean([p == r for p, r in zip(predictions, references, strict=True)]))}

    monkeypatch.setattr(EvaluateMetric, "_module", Hits())
    part = MetricPart(
        value=1.0,
        n=40,
        clusters=20,
        unit="",
        higher_is_better=True,
        signature="evaluate:hits@0|normalizer:lower|version:0",
        metric=MetricIdentity(name="evaluate", options={"path": "hits", "normalizer": "whisper"}),
    )
    a, b = (run(side, parts={"hits": part}) for side in (garbled(0.2), [t.upper() for t in TARGETS]))
    found = compare(a, b, "hits", draws=100)
    assert found.value_b == 1
    assert found.verdict == "better"
    assert (found.wins, found.mcnemar) == ((), None)


def test_words_differ_along_the_scored_alignment():
    assert differing_words("a b c", "a b c") == ()
    assert differing_words("", "x y") == (WordDifference("inserted", "", "x y"),)
    assert differing_words("a b c d", "a x y d") == (WordDifference("substituted", "b c", "x y"),)
