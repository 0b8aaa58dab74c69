"""A logistic regression on embeddings: what it learns, on what, and what it refuses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data import Dataset
from harness.errors import DataError
from harness.evaluation import logistic
from harness.evaluation.few_shot import few_shot, share_samples
from tests.evaluation.fakes import Table, answers, pictures, shown

NAMES = ("left", "right", "up")
CENTRES = np.array([[-40, 0], [40, 0], [0, 40]])


def blobs(
    n: int, seed: int, *, split: str = "test", spread: float = 6, extra: list[Any] | None = None
) -> Dataset:
    random = np.random.default_rng(seed)
    kinds = random.integers(len(NAMES), size=n)
    points = (CENTRES[kinds] + random.normal(0, spread, (n, 2))).round().clip(-100, 155).astype(int)
    rows = [(shown(*map(int, point)), int(kind)) for point, kind in zip(points, kinds, strict=True)]
    return pictures([*rows, *(extra or [])], "linear_probe", NAMES, split=split)


def probe(folder: Path, dataset: Dataset, splits: dict[str, Dataset], **sections: Any) -> list[Any]:
    return answers(Table(), dataset, folder, "linear_probe", splits, **sections)


def splits(**changes: Dataset) -> dict[str, Dataset]:
    found = {"train": blobs(60, 1, split="train"), "validation": blobs(30, 2, split="validation")}
    return found | changes


def test_classes_that_lie_apart_are_recovered(tmp_path: Path) -> None:
    found = probe(tmp_path, blobs(30, 0), splits())
    for sample, _, prediction in found:
        assert next(iter(prediction.output)) == sample.target
        assert sum(prediction.output.values()) == pytest.approx(1)
        assert list(prediction.output.values()) == sorted(prediction.output.values(), reverse=True)
    extras = found[0][2].extras
    assert extras == {
        "C": 1e-4, "C_chosen_by": 1.0, "train_samples": 60, "train_failures": 0, "converged": True
    }  # fmt: skip


def test_the_strength_is_the_validation_splits_best(tmp_path: Path) -> None:
    train = blobs(12, 1, split="train", spread=30)
    validation = blobs(60, 2, split="validation", spread=20)
    values = {}
    for strength in (1e-6, 1e-3, 10.0):
        own = probe(tmp_path, blobs(60, 2, spread=20), {"train": train}, probe={"strengths": [strength]})
        values[strength] = np.mean([next(iter(one.output)) == sample.target for sample, _, one in own])
        assert own[0][2].extras["C_chosen_by"] is None
    chosen = probe(
        tmp_path, blobs(5, 0), {"train": train, "validation": validation}, probe={"strengths": list(values)}
    )
    extras = chosen[0][2].extras
    assert len(set(values.values())) > 1
    assert extras["C"] == max(values, key=lambda strength: (values[strength], -strength))
    assert extras["C_chosen_by"] == pytest.approx(max(values.values()), abs=1e-6)


def test_one_strength_needs_no_validation_split(tmp_path: Path) -> None:
    found = probe(tmp_path, blobs(6, 0), {"train": blobs(60, 1, split="train")}, probe={"strengths": [2]})
    assert found[0][2].extras["C"] == 2


def test_a_missing_validation_split_is_named_with_its_cure(tmp_path: Path) -> None:
    def opened(purpose: str) -> Dataset:
        if purpose == "validation":
            raise DataError("the task names no validation split", "Add data.splits.validation.")
        return blobs(60, 1, split="train")

    class Splits(dict[str, Dataset]):
        def __getitem__(self, purpose: str) -> Dataset:
            return opened(purpose)

    with pytest.raises(DataError, match="names no validation split") as caught:
        probe(tmp_path, blobs(6, 0), Splits({"": blobs(6, 0)}))
    assert "probe.strengths with one value needs none" in caught.value.hint


def test_training_samples_that_fail_are_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = blobs(60, 1, split="train", extra=[(b"broken", "left"), (shown(1, 1), "lfet")])
    found = probe(tmp_path, blobs(6, 0), splits(train=train))
    assert found[0][2].extras["train_failures"] == 2
    assert found[0][2].extras["train_samples"] == 60
    assert (
        "2 training samples of the probe could not be embedded and were left out" in capsys.readouterr().err
    )


def test_a_solver_that_gives_up_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logistic, "ITERATIONS", 1)
    found = probe(tmp_path, blobs(6, 0), splits(), probe={"strengths": [100]})
    assert found[0][2].extras["converged"] is False
    assert "did not converge" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        ([(shown(1, 2), "left"), (shown(2, 1), "up")], "has no samples of right"),
        ([(shown(1, 2), "left"), (shown(2, 1), "left")], "has no samples of right, up"),
        ([(b"broken", "left")], "none of the 1 train samples could be embedded"),
    ],
)
def test_a_class_that_nothing_shows(tmp_path: Path, train: list[Any], reason: str) -> None:
    dataset = pictures(train, "linear_probe", NAMES, split="train")
    with pytest.raises(DataError, match=reason):
        probe(tmp_path, blobs(6, 0), splits(train=dataset))


def test_one_class_only_where_nothing_lists_them(tmp_path: Path) -> None:
    train = pictures([(shown(1, 2), "left"), (shown(2, 1), "left")], "linear_probe", split="train")
    validation = pictures([(shown(3, 3), "left")], "linear_probe", split="validation")
    scored = pictures([(shown(5, 5), "left")], "linear_probe")
    with pytest.raises(DataError, match="has nothing but samples of left"):
        probe(tmp_path, scored, splits(train=train, validation=validation))


def test_what_is_scored_is_not_learned(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="would learn from what is scored: rows, split test"):
        probe(tmp_path, blobs(6, 0), splits(train=blobs(60, 1, split="test")))
    with pytest.raises(DataError, match="would learn from what is scored"):
        probe(tmp_path, blobs(60, 1), splits())


def test_strengths_are_not_chosen_on_what_is_learned(tmp_path: Path) -> None:
    for validation in (blobs(60, 1, split="validation"), blobs(30, 2, split="train")):
        with pytest.raises(DataError, match="would choose its strength on what it learned from"):
            probe(tmp_path, blobs(6, 0), splits(validation=validation))


@pytest.mark.parametrize("purpose", ["train", "validation"])
def test_splits_that_name_other_classes(tmp_path: Path, purpose: str) -> None:
    """A folder per class names those that have files, which may be fewer in a small split."""
    rows = [(shown(1, 2), "left"), (shown(2, 9), "up"), (shown(9, 9), "right")]
    fewer = pictures(rows[:2], "linear_probe", ("left", "up"), split=purpose)
    with pytest.raises(DataError, match=f"splits {purpose} and test have different .* has right"):
        probe(tmp_path, blobs(6, 0), splits(**{purpose: fewer}))


def test_a_class_that_only_the_validation_split_shows(tmp_path: Path) -> None:
    train = pictures([(shown(1, 2), "left"), (shown(2, 9), "up")], "linear_probe", split="train")
    validation = pictures([(shown(3, 1), "right")], "linear_probe", split="validation")
    with pytest.raises(DataError, match="train split has no samples of right"):
        probe(
            tmp_path,
            pictures([(shown(5, 5), "left")], "linear_probe"),
            splits(train=train, validation=validation),
        )


def test_samples_that_two_datasets_share() -> None:
    assert share_samples(blobs(20, 0), blobs(20, 0))
    assert share_samples(blobs(20, 0), blobs(20, 0, extra=[(b"broken", "left")]))
    assert not share_samples(blobs(20, 0), blobs(20, 1))
    unread = pictures([(shown(1), "lfet")], names=NAMES)
    assert not share_samples(unread, unread), "nothing could be compared"


def test_several_classes_at_once(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def rows(n: int) -> list[Any]:
        points = random.integers(-50, 50, (n, 2))
        return [
            (shown(*map(int, at)), [*["right"] * int(at[0] > 0), *["up"] * int(at[1] > 0)]) for at in points
        ]

    names = ("right", "up")
    made = {
        split: pictures(rows(80), "linear_probe", names, split=split, multilabel=True)
        for split in ("train", "validation", "test")
    }
    found = probe(tmp_path, made.pop("test"), made, classes={"multilabel": True})
    right = [
        {name for name, value in prediction.output.items() if value > 0.5} == set(sample.target)
        for sample, _, prediction in found
    ]
    assert np.mean(right) > 0.85
    assert {tuple(sorted(sample.target)) for sample, _, _ in found} >= {(), ("right", "up")}


def test_shots_are_drawn_by_class_and_seed(tmp_path: Path) -> None:
    train = blobs(60, 1, split="train")
    few, more, other = few_shot(train, 2, 0), few_shot(train, 4, 0), few_shot(train, 2, 1)
    [window] = few.windows()
    assert Counter(window[at].target for at in range(len(window))) == dict.fromkeys(NAMES, 2)
    assert few.places == few_shot(train, 2, 0).places
    assert set(few.places) < set(more.places)
    assert few.places != other.places
    assert list(few.places) == sorted(few.places)
    assert len(few_shot(train, 100, 0).places) == 60


def test_only_the_shots_are_embedded(tmp_path: Path) -> None:
    table = Table()
    settings = {"shots": 3, "strengths": [1]}
    found: list[Any] = answers(table, blobs(6, 0), tmp_path, "linear_probe", splits(), probe=settings)
    assert table.images_asked <= 6 + 9
    assert found[0][2].extras["train_samples"] == 9
    assert all(next(iter(prediction.output)) == sample.target for sample, _, prediction in found)
