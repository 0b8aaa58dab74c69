"""Metrics refuse options that they don't have, and data that contradict their options."""

import dataclasses

import numpy as np
import pytest

from harness.errors import DataError, UsageError
from harness.metrics import build
from harness.metrics.base import Metric
from harness.metrics.bleu import Bleu
from harness.metrics.wer import WordErrorRate
from harness.registry import METRICS


@pytest.mark.parametrize("name", list(METRICS))
def test_unknown_options_are_refused_with_the_known_ones(name):
    with pytest.raises(UsageError) as raised:
        build(name, {"path": "x", "normaliser": "none"} if name == "evaluate" else {"normaliser": "none"})
    assert "normaliser" in raised.value.message
    assert "normalizer" in raised.value.hint


def test_unknown_metric_is_refused_with_the_near_one():
    with pytest.raises(UsageError) as raised:
        build("were")
    assert "'wer'" in raised.value.hint


def test_values_of_options_are_checked():
    with pytest.raises(UsageError, match="tokenize"):
        build("bleu", {"tokenize": "14a"})
    with pytest.raises(UsageError, match="path"):
        build("evaluate")


def test_metrics_are_frozen_and_can_be_varied():
    wer = build("wer", {"normalizer": "whisper", "skip_references": [""]})
    assert isinstance(wer, WordErrorRate)
    with pytest.raises(dataclasses.FrozenInstanceError):
        wer.normalizer = "none"  # type: ignore[misc]
    resolved = dataclasses.replace(wer, normalizer="whisper-basic")
    assert resolved.signature == "normalizer:whisper-basic|skip:''"


def test_options_show_in_signatures():
    assert build("wer").signature == "normalizer:none"
    assert build("cer", {"spaces": False}).signature == "normalizer:none|spaces:no"
    assert build("bleu", {"normalizer": "lower"}).signature.endswith("|normalizer:lower")


def test_a_tokenizer_without_its_package_says_what_to_install():
    with pytest.raises(UsageError, match=r"pip install sacrebleu\[ja\]"):
        _ = build("bleu", {"tokenize": "ja-mecab"}).signature


def test_the_number_of_references_must_be_as_declared():
    with pytest.raises(DataError) as raised:
        Bleu().stats("a", ["a", "b"])
    assert "references" in raised.value.hint
    assert Bleu(references="var").stats("a", ["a", "b"])
    assert "nrefs:var" in Bleu(references="var").signature


@pytest.mark.parametrize("name", ["bleu", "chrf", "chrf++", "wer", "cer"])
def test_nothing_to_sum_is_no_crash(name):
    metric = build(name)
    assert isinstance(metric, Metric)
    assert metric.reduce(np.empty((0, len(metric.columns)))).shape == (0,)


def test_an_error_rate_refuses_several_references():
    wer = build("wer")
    assert isinstance(wer, WordErrorRate)
    with pytest.raises(DataError, match="one reference a sample"):
        wer.stats("a", ["a", "b"])
