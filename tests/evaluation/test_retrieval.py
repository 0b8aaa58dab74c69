"""Ranks both ways: by hand, with ties and failures, and against brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.evaluation import retrieval
from harness.evaluation.embeddings import normalised
from harness.evaluation.heads import Outcome
from harness.evaluation.retrieval import TIE, ranks
from tests.evaluation.fakes import Table, answers, pictures, shown

TEXTS = {"right": (1, 0), "up": (0, 1), "right up": (1, 1), "left": (-1, 0), "up left": (-1, 1)}


def ranked(folder: Path, *rows: tuple[bytes, Any]) -> list[Outcome]:
    return answers(Table(TEXTS), pictures(rows, "retrieval"), folder, "retrieval")


def outputs(found: list[Outcome]) -> list[Any]:
    return [prediction.output for _, _, prediction in found]


def test_ranks_worked_out_by_hand(tmp_path: Path) -> None:
    found = ranked(
        tmp_path,
        (
            shown(9, 1),
            ["up", "right up"],
        ),  # cosines: right .99, right up .78, up .11, up left -.62, left -.99
        (shown(1, 9), ["right"]),  # up .99, right up .78, up left .62, right .11, left -.11
        (shown(-9, 2), ["up left", "left"]),  # left .98, up left .84, up .22, right up -.54, right -.98
    )
    assert outputs(found) == [
        {"text": 2, "image": [3, 2]},
        {"text": 4, "image": [2]},
        {"text": 1, "image": [1, 1]},
    ]


def test_a_constant_model_scores_nothing(tmp_path: Path) -> None:
    same = dict.fromkeys("abcdef", (1.0, 2.0, 3.0))
    rows = [(shown(3, 1, 4), list("ab")), (shown(3, 1, 4), list("cd")), (shown(3, 1, 4), list("ef"))]
    found = answers(Table(same), pictures(rows, "retrieval"), tmp_path, "retrieval")
    assert outputs(found) == [{"text": 5, "image": [3, 3]}] * 3


def test_a_caption_of_two_images_is_embedded_once_and_a_candidate_twice(tmp_path: Path) -> None:
    table = Table(TEXTS)
    rows = [(shown(5, 0), "right"), (shown(0, 5), ["up", "right"]), (shown(5, 1), ["left"])]
    found = answers(table, pictures(rows, "retrieval"), tmp_path, "retrieval")
    assert sorted(table.texts_asked) == ["left", "right", "up"]
    assert outputs(found) == [
        {"text": 2, "image": [1]},  # the other image's "right" is as near
        {"text": 1, "image": [1, 3]},
        {"text": 4, "image": [2]},
    ]


def test_an_image_that_fails_is_no_candidate_and_its_captions_are(tmp_path: Path) -> None:
    found = ranked(
        tmp_path, (shown(5, 1), "right up"), (b"broken", ["right"]), (shown(5, 0), "left"), (shown(1, 1), "")
    )
    assert outputs(found) == [{"text": 2, "image": [1]}, None, {"text": 3, "image": [2]}, None]
    broken, empty = found[1][2].error, found[3][2].error
    assert broken is not None
    assert empty is not None
    assert (broken.type, empty.type) == ("MediaError", "RowError")


def test_when_every_image_fails(tmp_path: Path) -> None:
    assert outputs(ranked(tmp_path, (b"broken", "up"), (b"damaged", "left"))) == [None, None]


def test_when_no_row_has_a_caption(tmp_path: Path) -> None:
    assert outputs(ranked(tmp_path, (shown(5, 1), ""), (shown(5, 0), []))) == [None, None]


def test_media_are_let_go(tmp_path: Path) -> None:
    [(sample, _, _)] = ranked(tmp_path, (shown(5, 1), "right"))
    assert sample is not None
    assert (sample.inputs, sample.target) == ({}, ["right"])


def brute_force(media: Any, texts: Any, owners: Any) -> tuple[list[int], list[int]]:
    """By the whole matrix: how many others are at least as near, less than a rounding error aside."""
    cosines = normalised(media).astype(np.float64) @ normalised(texts).astype(np.float64).T
    of_text, of_media = [], []
    for image, row in enumerate(cosines):
        best = max((row[caption] for caption in np.flatnonzero(owners == image)), default=-np.inf)
        of_text.append(1 + int((row[owners != image] >= best - TIE).sum()))
    for caption, owner in enumerate(owners):
        others: Any = np.delete(cosines[:, caption], owner) if owner >= 0 else []
        of_media.append(0 if owner < 0 else 1 + int((others >= cosines[owner, caption] - TIE).sum()))
    return of_text, of_media


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bytes_at_once", [1, 3000, 10**9])
def test_in_blocks_as_by_brute_force(seed: int, bytes_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_BLOCK_BYTES", bytes_at_once)
    random = np.random.default_rng(seed)
    n, m = int(random.integers(1, 300)), int(random.integers(1, 400))
    owners = random.integers(-1, n, m)
    media = random.integers(-3, 4, (n, 3)).astype(np.float32)  # few directions: many are exactly as near
    texts = random.integers(-3, 4, (m, 3)).astype(np.float32)
    found = ranks(media, texts, owners)
    expected = brute_force(media, texts, owners)
    assert found[0].tolist() == expected[0]
    assert found[1].tolist() == expected[1]


def test_rounding_decides_nothing() -> None:
    random = np.random.default_rng(0)
    direction = random.standard_normal(512).astype(np.float32)
    media = np.outer(random.uniform(0.5, 2, 40), direction).astype(np.float32)  # alike but for rounding
    texts = np.outer(random.uniform(0.5, 2, 120), direction).astype(np.float32)
    text, image = ranks(media, texts, np.repeat(np.arange(40), 3))
    assert set(text.tolist()) == {118}
    assert set(image.tolist()) == {40}
