"""Agreement with jiwer and sacrebleu on random text, where hand-computed cases end."""

from typing import Any

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU, CHRF

from harness.metrics import Metric, build

random_text = settings(derandomize=True, deadline=None, database=None, max_examples=150)

# Few letters make ambiguous alignments; the rest is any visible Unicode. jiwer splits words at spaces only.
FEW = st.sampled_from("ab")
VISIBLE = st.characters(categories=("L", "M", "N", "P", "S"))
SENTENCE = st.lists(st.text(FEW | VISIBLE, min_size=1, max_size=3), max_size=8).map(" ".join)
PAIRS = st.lists(st.tuples(SENTENCE, SENTENCE), min_size=1, max_size=6)


def scored(
    name: str, options: dict[str, Any], pairs: list[tuple[Any, Any]]
) -> tuple[NDArray[np.float64], float]:
    """Summed statistics and value of (target, prediction) pairs."""
    metric = build(name, options)
    assert isinstance(metric, Metric)
    rows = [metric.stats(prediction, target) for target, prediction in pairs]
    sums: NDArray[np.float64] = np.array(rows, dtype=np.float64).sum(axis=0)
    return sums, float(metric.reduce(sums))


@pytest.mark.parametrize(
    ("name", "process"), [("wer", jiwer.process_words), ("cer", jiwer.process_characters)]
)
@random_text
@given(pairs=PAIRS)
def test_error_rates_agree_with_jiwer(name, process, pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    theirs = process(references, hypotheses)
    sums, value = scored(name, {}, pairs)
    assert sums.tolist()[:3] == [theirs.substitutions, theirs.deletions, theirs.insertions]
    assert sums[3] == theirs.hits + theirs.substitutions + theirs.deletions
    if sums[3]:
        assert value == pytest.approx(100 * getattr(theirs, name), abs=1e-9)
    else:
        assert np.isnan(value)


BLEU_OPTIONS = [
    {},
    {"lowercase": True, "tokenize": "intl"},
    {"tokenize": "char", "smooth": "none"},
    {"smooth": "floor", "smooth_value": 0.3},
    {"smooth": "floor", "effective_order": True},
    {"smooth": "add-k"},
    {"smooth": "none", "effective_order": True},
]


@pytest.mark.parametrize("options", BLEU_OPTIONS, ids=str)
@random_text
@given(pairs=PAIRS)
def test_bleu_agrees_with_sacrebleu(options, pairs):
    renamed = {("smooth_method" if key == "smooth" else key): value for key, value in options.items()}
    theirs = BLEU(**renamed, force=True)
    references, hypotheses = map(list, zip(*pairs, strict=True))
    expected = theirs.corpus_score(hypotheses, [references])
    assert scored("bleu", options, pairs)[1] == pytest.approx(expected.score, abs=1e-9)
    assert build("bleu", options).signature == str(theirs.get_signature())


@pytest.mark.parametrize(("name", "word_order"), [("chrf", 0), ("chrf++", 2)])
@pytest.mark.parametrize("options", [{}, {"lowercase": True, "whitespace": True}], ids=str)
@random_text
@given(pairs=PAIRS)
def test_chrf_agrees_with_sacrebleu(name, word_order, options, pairs):
    theirs = CHRF(word_order=word_order, **options)
    references, hypotheses = map(list, zip(*pairs, strict=True))
    expected = theirs.corpus_score(hypotheses, [references])
    assert scored(name, options, pairs)[1] == pytest.approx(expected.score, abs=1e-9)
    assert build(name, options).signature == str(theirs.get_signature())


@pytest.mark.parametrize(("name", "theirs"), [("bleu", BLEU(force=True)), ("chrf++", CHRF(word_order=2))])
@random_text
@given(triples=st.lists(st.tuples(SENTENCE, SENTENCE, SENTENCE), min_size=1, max_size=4))
def test_several_references_agree_with_sacrebleu(name, theirs, triples):
    first, second, hypotheses = map(list, zip(*triples, strict=True))
    expected = theirs.corpus_score(hypotheses, [first, second])
    pairs = [([a, b], hypothesis) for a, b, hypothesis in triples]
    assert scored(name, {"references": 2}, pairs)[1] == pytest.approx(expected.score, abs=1e-9)
    assert build(name, {"references": 2}).signature == str(theirs.get_signature())


@pytest.mark.parametrize("name", ["wer", "cer", "bleu", "chrf", "chrf++"])
@random_text
@given(pairs=PAIRS)
def test_reduce_is_vectorised(name, pairs):
    metric = build(name)
    assert isinstance(metric, Metric)
    stats = np.array([metric.stats(prediction, target) for target, prediction in pairs], dtype=np.float64)
    assert stats.shape == (len(pairs), len(metric.columns))
    alone = [metric.reduce(row) for row in stats]
    np.testing.assert_array_equal(metric.reduce(stats), alone)
    np.testing.assert_array_equal(metric.reduce(stats[:, None]), np.array(alone)[:, None])
