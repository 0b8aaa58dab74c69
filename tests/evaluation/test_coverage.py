"""Does a 95 % interval hold the truth 95 times in 100? A simulation with speakers who differ.

Each corpus has 150 speakers with 1 to 12 utterances each; a speaker's error rate is Beta distributed, the
edits of an utterance are binomial in its words, and the true corpus rate is the mean of that Beta.
"""

import numpy as np
import pytest

from harness.evaluation.statistics import MIN_CLUSTERS, interval, paired
from harness.metrics.wer import WordErrorRate

pytestmark = pytest.mark.heavy

CORPORA = 5000
DRAWS = 1000
SPEAKERS = 150
ALPHA, BETA = 1.2, 8.8
TRUTH = 100 * ALPHA / (ALPHA + BETA)


def corpus(rng, count=SPEAKERS):
    """Statistics of WER, (utterances, 4), and each utterance's speaker."""
    speakers = np.repeat(np.arange(count), rng.integers(1, 13, count))
    words = rng.integers(3, 25, len(speakers))
    return answers(rng, speakers, words), speakers


def answers(rng, speakers, words):
    """A system's statistics of WER, (utterances, 4)."""
    rates = rng.beta(ALPHA, BETA, speakers[-1] + 1)[speakers]
    stats = np.zeros((len(speakers), 4))
    stats[:, 0], stats[:, 3] = rng.binomial(words, rates), words
    return stats


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


def false_alarms(count, corpora=1500, draws=400):
    """Share of corpora of `count` speakers where two equally good systems seem to differ."""
    rng = np.random.default_rng(1)
    alarms = 0
    for seed in range(corpora):
        stats, speakers = corpus(rng, count)
        other = answers(rng, speakers, stats[:, 3].astype(int))
        found = paired(stats, other, speakers, WordErrorRate().reduce, draws, seed)
        alarms += not found.low <= 0 <= found.high
    return alarms / corpora


def test_what_few_clusters_seem_to_say_is_often_wrong():
    assert false_alarms(2) > 0.35
    assert 0.15 < false_alarms(5) < 0.25
    assert false_alarms(MIN_CLUSTERS) < 0.15
    assert false_alarms(30) < 0.1
