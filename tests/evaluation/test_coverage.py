"""Does a 95 % interval hold the truth 95 times in 100? A simulation with speakers who differ.

Each corpus has 150 speakers with 1 to 12 utterances each; a speaker's error rate is Beta distributed, the
edits of an utterance are binomial in its words, and the true corpus rate is the mean of that Beta.
"""

import numpy as np
import pytest

from harness.evaluation.statistics import interval
from harness.metrics.wer import WordErrorRate

pytestmark = pytest.mark.heavy

CORPORA = 5000
DRAWS = 1000
SPEAKERS = 150
ALPHA, BETA = 1.2, 8.8
TRUTH = 100 * ALPHA / (ALPHA + BETA)


def corpus(rng):
    """Statistics of WER, (utterances, 4), and each utterance's speaker."""
    speakers = np.repeat(np.arange(SPEAKERS), rng.integers(1, 13, SPEAKERS))
    rates = rng.beta(ALPHA, BETA, SPEAKERS)[speakers]
    words = rng.integers(3, 25, len(speakers))
    stats = np.zeros((len(speakers), 4))
    stats[:, 0], stats[:, 3] = rng.binomial(words, rates), words
    return stats, speakers


def coverage(corpora, draws, clusters):
    """Share of corpora whose interval holds the truth; `clusters` are made from the speakers."""
    rng = np.random.default_rng(2024)
    reduce = WordErrorRate().reduce
    held = 0
    for seed in range(corpora):
        stats, speakers = corpus(rng)
        found = interval(stats, clusters(speakers), reduce, draws, seed)
        held += found.low <= TRUTH <= found.high
    return held / corpora


def test_the_interval_holds_the_truth_as_often_as_it_says():
    assert 0.93 <= coverage(CORPORA, DRAWS, clusters=lambda speakers: speakers) <= 0.97


def test_ignoring_clusters_falls_short():
    assert coverage(200, 200, clusters=lambda speakers: np.arange(len(speakers))) < 0.85
