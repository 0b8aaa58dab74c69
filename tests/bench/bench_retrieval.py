"""Exact retrieval of 5,000 images and 25,000 captions of 512 dimensions, after encoding.

Both directions through the head that runs use, prediction by prediction, without the matrix of all cosines,
its ranks asserted to be those that sorting gives (100 images and 100 captions are checked). Limits: 2 s, and
500 MB of memory beyond the embeddings.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from harness.evaluation.heads import Embed, Means, Outcome
from harness.evaluation.memory import peak_bytes
from harness.evaluation.plan import Source
from harness.evaluation.retrieval import Retrieval
from harness.types import Prediction, Sample
from tests.tasks import task_of

IMAGES, EACH, DIMENSIONS = 5_000, 5, 512
REPEATS = 3
LIMIT_SECONDS, LIMIT_BYTES = 2.0, 500e6
SORTED = 50
"""Of so many images, and of the captions of so many, one is checked by sorting."""


def main() -> None:
    images, texts = embeddings()
    before = peak_bytes()
    seconds, began_cpu = [], time.process_time()
    for _ in range(REPEATS):
        began = time.perf_counter()
        found = by_head(images, texts)
        seconds.append(time.perf_counter() - began)
    cpu = (time.process_time() - began_cpu) / REPEATS
    more = peak_bytes() - before
    print(f"{cpu:.2f} s of processor time, on all cores together")
    each = ", ".join(f"{one:.2f}" for one in seconds)
    print(
        f"{IMAGES:,} images, {len(texts):,} captions: {min(seconds):.2f} s ({each}; limit {LIMIT_SECONDS:g})"
    )
    print(f"{more / 1e6:.0f} MB beyond the embeddings (limit {LIMIT_BYTES / 1e6:.0f})")
    of_text, of_image = found
    recalls = [float((np.array(ranks) <= k).mean()) for ranks in found for k in (1, 5, 10)]
    print(f"recall@1, 5, 10, text then image: {', '.join(f'{value:.4f}' for value in recalls)}")
    for ours, sorted_ in zip(
        (of_text[::SORTED], of_image[:: EACH * SORTED]), by_sorting(images, texts), strict=True
    ):
        moved = np.abs(np.array(ours) - np.array(sorted_))  # by neighbours within a rounding error
        assert moved.max() <= 1
        assert moved.mean() < 0.05
    assert min(seconds) <= LIMIT_SECONDS
    assert more <= LIMIT_BYTES


def embeddings() -> tuple[Any, Any]:
    """Of images, (5000, 512), and of their captions, (25000, 512), which resemble them a little."""
    random = np.random.default_rng(0)
    images = random.standard_normal((IMAGES, DIMENSIONS), dtype=np.float32)
    texts = random.standard_normal((IMAGES * EACH, DIMENSIONS), dtype=np.float32)
    for each in range(EACH):  # in place, since memory's peak is what is measured
        for start in range(0, IMAGES, 500):
            texts[each::EACH][start : start + 500] += 0.15 * images[start : start + 500]
    return images, texts


def by_head(images: Any, texts: Any) -> tuple[list[int], list[int]]:
    """Ranks that the head answers: of each image's best caption, and of each caption's image."""
    samples = Samples()
    task = task_of("nowhere", "retrieval", column="image")
    unused: Any = None
    head = Retrieval(Means(task, unused, samples, Known(texts), unused))  # type: ignore[arg-type]
    outcomes: list[Outcome] = [
        (samples[row], samples.ids[row], Prediction(samples.ids[row], images[row])) for row in range(IMAGES)
    ]
    answers: list[Any] = [prediction.output for _, _, prediction in head.answers(outcomes)]
    return [answer["text"] for answer in answers], [rank for answer in answers for rank in answer["image"]]


def by_sorting(images: Any, texts: Any) -> tuple[list[int], list[int]]:
    """Ranks of some images' captions and of some captions' images, as one would write it: row by row."""
    images = images / np.linalg.norm(images, axis=1, keepdims=True)
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    of_text = [
        int(np.flatnonzero(np.argsort(-(texts @ images[number])) // EACH == number)[0]) + 1
        for number in range(0, IMAGES, SORTED)
    ]
    of_image = [
        int(np.flatnonzero(np.argsort(-(images @ texts[number])) == number // EACH)[0]) + 1
        for number in range(0, len(texts), EACH * SORTED)
    ]
    return of_text, of_image


class Samples:
    """Images with five captions each, in one window."""

    def __init__(self) -> None:
        self.ids = [f"{number:06d}" for number in range(IMAGES)]

    def windows(self) -> Iterator[Samples]:
        yield self

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, row: int) -> Sample:
        captions = [f"caption {EACH * row + number}" for number in range(EACH)]
        return Sample(self.ids[row], {}, captions, self.ids[row])


class Known(Embed):
    """Captions that have been embedded."""

    def __init__(self, texts: Any) -> None:
        self._texts = texts

    def texts(self, texts: Any, label: str) -> Any:
        assert len(texts) == len(self._texts)
        return self._texts

    def samples(self, source: Source, label: str) -> Iterator[Outcome]:
        raise NotImplementedError


if __name__ == "__main__":
    main()
