"""Metrics refuse options that they don't have, and data that contradict their options."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from harness.errors import DataError, UsageError
from harness.metrics import build
from harness.metrics.base import Metric, WeightedMetric
from harness.metrics.bleu import Bleu
from harness.metrics.wer import WordErrorRate
from harness.registry import METRICS


@pytest.mark.parametrize("name", list(METRICS))
def test_unknown_options_are_refused_with_the_known_ones(name):
    with pytest.raises(UsageError) as raised:
        build(name, {"path": "x", "normaliser": "none"} if name == "evaluate" else {"normaliser": "none"})
    assert "normaliser" in raised.value.message
    known = getattr(METRICS.get(name), "__pydantic_fields__", {})
    assert raised.value.hint == (f"Its options: {', '.join(known)}." if known else "It has no options.")


def test_unknown_metric_is_refused_with_the_near_one():
    with pytest.raises(UsageError) as raised:
        build("were")
    assert "'wer'" in raised.value.hint


@pytest.mark.parametrize(("name", "k"), [("accuracy", 0), ("accuracy", 21), ("text_recall", 0)])
def test_a_k_that_says_nothing_is_refused(name, k):
    with pytest.raises(UsageError, match="k: Input should be"):
        build(name, {"k": k})


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
    assert build("accuracy", {"k": 5}).signature == "k:5"
    assert build("text_recall", {"k": 5}).signature.startswith("k:5|queries:images")
    assert build("image_recall", {"k": 5}).signature.startswith("k:5|queries:captions")


def test_a_tokenizer_without_its_package_says_what_to_install():
    with pytest.raises(UsageError, match=r"pip install sacrebleu\[ja\]"):
        _ = build("bleu", {"tokenize": "ja-mecab"}).signature


def test_the_number_of_references_must_be_as_declared():
    with pytest.raises(DataError) as raised:
        Bleu().stats("a", ["a", "b"])
    assert "references" in raised.value.hint
    assert Bleu(references="var").stats("a", ["a", "b"])
    assert "nrefs:var" in Bleu(references="var").signature


@pytest.mark.parametrize(
    "name", ["bleu", "chrf", "chrf++", "wer", "cer", "accuracy", "image_recall", "text_mrr"]
)
def test_nothing_to_sum_is_no_crash(name):
    metric = build(name)
    assert isinstance(metric, Metric)
    assert metric.reduce(np.empty((0, len(metric.columns)))).shape == (0,)


def test_an_error_rate_refuses_several_references():
    wer = build("wer")
    assert isinstance(wer, WordErrorRate)
    with pytest.raises(DataError, match="one reference a sample"):
        wer.stats("a", ["a", "b"])


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1", "ece"])
def test_metrics_of_one_class_refuse_several_and_name_the_one_that_takes_them(name):
    metric = build(name)
    ask = metric.stats if isinstance(metric, Metric) else metric.compute
    several: list[Any] = [{"a": 1.0}, ["a", "b"]]
    with pytest.raises(DataError, match="takes one class a sample, not a list of 2") as raised:
        ask(*(several if isinstance(metric, Metric) else [[one] for one in several]))
    assert "map" in raised.value.hint


def test_mean_average_precision_refuses_a_name():
    metric = build("map")
    assert isinstance(metric, WeightedMetric)
    with pytest.raises(DataError, match="takes a list of classes") as raised:
        metric.compute([{"a": 1.0}], ["a"])
    assert "multilabel" in raised.value.hint
