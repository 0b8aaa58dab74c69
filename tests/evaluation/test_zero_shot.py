"""Classes from embeddings of images and of prompts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from harness.errors import DataError, RunError
from harness.evaluation.zero_shot import classifier, logits, probabilities
from harness.models.base import Similarity
from tests.evaluation.fakes import Table, answers, pictures, shown

NAMES = ("cat", "dog")
TEXTS = {"cat": (3, 0), "dog": (0, 2), "a cat.": (1, 1), "a dog.": (0, 5)}
ROWS = [(shown(50, 0), "cat"), (shown(3, 4), "dog"), (b"broken", "dog"), (shown(0, 7), 1)]


def test_probabilities_worked_out_by_hand(tmp_path: Path) -> None:
    table = Table(TEXTS, Similarity(2.0))
    found = answers(table, pictures(ROWS, names=NAMES), tmp_path)
    assert [id_ for _, id_, _ in found] == ["000000", "000001", "000002", "000003"]
    first, second, broken, last = (prediction for _, _, prediction in found)
    cat = 1 / (1 + math.exp(-2))  # cosines 1 and 0, times 2
    assert first.output == pytest.approx({"cat": cat, "dog": 1 - cat})
    assert list(second.output) == ["dog", "cat"]  # type: ignore[arg-type]
    dog = 1 / (1 + math.exp(2 * 0.6 - 2 * 0.8))
    assert second.output == pytest.approx({"dog": dog, "cat": 1 - dog})
    assert broken.error is not None
    assert broken.error.type == "MediaError"
    assert list(last.output) == ["dog", "cat"]  # type: ignore[arg-type]


def test_an_ensemble_is_the_mean_of_normalised_prompts(tmp_path: Path) -> None:
    table = Table(TEXTS, Similarity(10.0))
    classes = {"templates": ["{}", "a {}."]}
    found = answers(table, pictures(ROWS[:1], names=NAMES), tmp_path, classes=classes)
    unit = np.array([[1, 0], [math.sqrt(0.5), math.sqrt(0.5)]]).mean(axis=0)
    cosines = np.array([unit[0] / np.linalg.norm(unit), 0.0])
    expected = np.exp(10 * cosines) / np.exp(10 * cosines).sum()
    assert found[0][2].output == pytest.approx(dict(zip(NAMES, expected, strict=True)), abs=1e-6)


@pytest.mark.parametrize(
    ("own", "asked", "sums_to_one"),
    [
        ("softmax", "checkpoint", True),
        ("sigmoid", "checkpoint", False),
        ("sigmoid", "softmax", True),
        ("softmax", "sigmoid", False),
    ],
)
def test_scoring_is_the_checkpoints_unless_the_task_says(
    tmp_path: Path, own: str, asked: str, sums_to_one: bool
) -> None:
    table = Table(TEXTS, Similarity(2.0, -0.5, own))  # type: ignore[arg-type]
    found = answers(table, pictures(ROWS[:1], names=NAMES), tmp_path, classes={"scoring": asked})
    output = found[0][2].output
    assert isinstance(output, dict)
    if sums_to_one:
        assert sum(output.values()) == pytest.approx(1)
    else:
        assert output == pytest.approx({"cat": 1 / (1 + math.exp(-1.5)), "dog": 1 / (1 + math.exp(0.5))})


def test_the_most_probable_classes_are_kept_and_all_of_several(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(30)]
    texts = {name: (math.cos(number / 20), math.sin(number / 20)) for number, name in enumerate(names)}
    rows = [(shown(100, 0), "c0")]
    one = answers(Table(texts, Similarity(50.0)), pictures(rows, names=names), tmp_path)[0][2].output
    assert list(one) == names[:20]  # type: ignore[arg-type]
    several = pictures(rows, names=names, multilabel=True)
    found = answers(Table(texts, Similarity(50.0)), several, tmp_path, classes={"multilabel": True})
    assert list(found[0][2].output) == names  # type: ignore[arg-type]


def test_blocks_keep_order_and_failures(tmp_path: Path) -> None:
    rows = [(b"broken" if number % 7 == 3 else shown(number % 50, 50), "dog") for number in range(600)]
    found = answers(Table(TEXTS, Similarity(5.0)), pictures(rows, names=NAMES), tmp_path)
    assert [id_ for _, id_, _ in found] == [f"{number:06d}" for number in range(600)]
    for number, (_, _, prediction) in enumerate(found):
        assert (prediction.error is not None) == (number % 7 == 3)
        if prediction.error is None:
            away = (50 - number % 50) / math.hypot(number % 50, 50)
            expected = 1 / (1 + math.exp(-5 * away))
            assert prediction.output["dog"] == pytest.approx(expected, rel=1e-5)  # type: ignore[index,call-overload]


def test_nobody_says_which_classes_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing says which classes there are") as caught:
        answers(Table(TEXTS), pictures(ROWS), tmp_path)
    assert "classes.names" in caught.value.hint


def test_a_prompt_that_cannot_be_embedded_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"'emu' can't be embedded: .*'emu' is too long"):
        answers(Table(TEXTS), pictures(ROWS, names=("cat", "emu")), tmp_path)


def test_extreme_logits_keep_their_order() -> None:
    found = np.array([[1000.0, -1000.0, 999.0]])
    with np.errstate(all="raise", under="ignore"):
        assert probabilities(found, "softmax")[0] == pytest.approx([0.731, 0.0, 0.269], abs=1e-3)
        assert probabilities(found, "sigmoid")[0] == pytest.approx([1.0, 0.0, 1.0])


def test_an_embedding_of_zeros_is_like_no_class() -> None:
    weights = classifier(np.ones((2, 3, 4), np.float32))
    assert logits(np.zeros((1, 4), np.float32), weights, Similarity(10.0)).tolist() == [[0.0, 0.0]]
