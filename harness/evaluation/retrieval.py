"""Retrieval both ways: where an image's captions rank among all captions, and it among all images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from harness.errors import SampleError
from harness.evaluation.embeddings import normalised, stacked, without_media
from harness.evaluation.heads import Head, Means, Outcome
from harness.evaluation.plan import Source
from harness.types import Json

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIE = 2.0**-21
"""Cosines closer than this are equal: about twice the rounding error of a float32 product."""
_BLOCK_ROWS = 255  # counts of a block fit into a byte
_BLOCK_BYTES = 32_000_000


class Retrieval(Head):
    """Ranks (1 is best) of a sample: {"text": of its best caption among all captions, "image": its own among
    all images, for each of its captions}.

    Ties count against the model. An image that fails is no candidate; its captions are, for all others.
    """

    def __init__(self, means: Means) -> None:
        [self._media] = means.task.inputs
        texts, self._owned = captions(means.dataset)
        self._texts = means.embed.texts(texts, "captions")

    def answers(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """The outcomes with ranks in place of embeddings, once all of them are there."""
        kept = [without_media(outcome) for outcome in outcomes]
        found = [prediction for _, _, prediction in kept if prediction.error is None]
        row_of = {prediction.sample_id: row for row, prediction in enumerate(found)}
        owners = np.full(len(self._texts), -1)
        for id_, row in row_of.items():
            owners[self._owned[id_]] = row
        texts, media = ranks(stacked(found), self._texts, owners) if found else (owners, owners)
        for sample, id_, prediction in kept:
            if prediction.error is not None:
                yield sample, id_, prediction
                continue
            own: list[Json] = [int(rank) for rank in media[self._owned[id_]]]
            answer: dict[str, Json] = {"text": int(texts[row_of[id_]]), self._media: own}
            yield sample, id_, replace(prediction, output=answer)


def captions(source: Source) -> tuple[list[str], dict[str, slice]]:
    """All captions, and where those of each sample are among them; rows that can't be read have none."""
    texts: list[str] = []
    owned: dict[str, slice] = {}
    for window in source.windows():
        for number, id_ in enumerate(window.ids):
            try:
                own: Sequence[str] = window[number].target
            except SampleError:  # the engine meets it too, and records it
                continue
            owned[id_] = slice(len(texts), len(texts) + len(own))
            texts.extend(own)
    return texts, owned


def ranks(
    media: NDArray[np.float32], texts: NDArray[np.float32], owners: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranks from 1 of each image's best own caption among the captions of others, shape (n,), and of each
    caption's image among the other images, shape (m,); the latter is 0 for captions without one.

    `media` has the shape (n, dimensions), `texts` (m, dimensions); `owners` are rows of `media`, -1 for none.
    Exact, in blocks of images; what isn't further behind than rounding goes before.
    """
    media, texts = normalised(media), normalised(texts)
    own = _own_cosines(media, texts, owners)
    best = np.full(len(media), -np.inf, np.float32)
    owned = owners >= 0
    np.maximum.at(best, owners[owned], own[owned])
    before_text = np.ones(len(media), np.int64)
    before_media = owned.astype(np.int64)
    order = np.argsort(owners, kind="stable")  # captions of one block's images follow each other
    best, own = best[:, None] - np.float32(TIE), own - np.float32(TIE)
    for start, cosines, ahead in _blocks(media, texts):
        stop = start + len(cosines)
        first, last = np.searchsorted(owners, [start, stop], sorter=order)
        mine = order[first:last]
        cosines[owners[mine] - start, mine] = -np.inf
        np.greater_equal(cosines, best[start:stop], out=ahead)
        before_text[start:stop] += [np.count_nonzero(row) for row in ahead]
        np.greater_equal(cosines, own, out=ahead)
        before_media += np.add.reduce(ahead.view(np.uint8), axis=0, dtype=np.uint8)
    before_media[~owned] = 0
    return before_text, before_media


def _blocks(
    media: NDArray[np.float32], texts: NDArray[np.float32]
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.bool_]]]:
    """The first row of a block of images, its cosines with all captions, and as many truth values.

    Every block has the same memory.
    """
    rows = min(_BLOCK_ROWS, max(1, _BLOCK_BYTES // (4 * max(1, len(texts)))), len(media))
    cosines, ahead = np.empty((rows, len(texts)), np.float32), np.empty((rows, len(texts)), np.bool_)
    for start in range(0, len(media), rows):
        part = media[start : start + rows]
        yield start, np.matmul(part, texts.T, out=cosines[: len(part)]), ahead[: len(part)]


def _own_cosines(
    media: NDArray[np.float32], texts: NDArray[np.float32], owners: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Cosine of each caption with its own image, shape (m,); infinite where it has none."""
    found = np.full(len(texts), np.inf, np.float32)
    owned = np.flatnonzero(owners >= 0)
    for part in np.array_split(owned, 1 + len(owned) // 4096):
        found[part] = np.einsum("md,md->m", texts[part], media[owners[part]])
    return found
