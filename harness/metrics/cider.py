"""CIDEr-D (Vedantam et al. 2015): n-grams of a caption against those of its references, rare ones first.

How rare an n-gram is depends on the whole corpus: the score is no sum over images, and a bootstrap that kept
the document frequencies of all images would leave their uncertainty out. Here each draw has its own, and an
image that is drawn twice is two documents. What makes that cheap: products and lengths of the n-gram vectors
are linear in squared inverse document frequencies, and n-grams of the same images' references share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass as plain_dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from harness.metrics.base import OPTIONS, Weighted, WeightedMetric
from harness.metrics.mean_score import TextTarget, references
from harness.metrics.ngrams import ORDER, NGram, ngrams
from harness.metrics.ptb_tokenizer import SIGNATURE, words

if TYPE_CHECKING:
    from collections import Counter

SIGMA = 6.0
"""Standard deviation of the length penalty, in words (bigrams in COCO's code: differences are the same)."""
SCALE = 10 * 100
"""CIDEr-D is a cosine times 10, and is reported times 100."""

Caption: TypeAlias = "tuple[str, ...]"
Kept: TypeAlias = "tuple[Caption, tuple[Caption, ...]]"
"""What is kept of an image: the words of its caption and of each reference."""
Cell: TypeAlias = "tuple[int, int, float]"
"""Row, column and value of a sparse matrix; equal cells add up."""


@dataclass(frozen=True, config=OPTIONS)
class Cider(WeightedMetric):
    """CIDEr-D as COCO's evaluation code has it, times 100. A corpus of a single image has 0."""

    name: ClassVar[str] = "cider"
    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("text",)

    @property
    def signature(self) -> str:
        """Orders, length penalty, whose document frequencies, and who makes the words."""
        return f"variant:D|n:{ORDER}|sigma:{SIGMA:g}|idf:evaluated references|tokenizer:{SIGNATURE}"

    def kept(self, prediction: str, target: TextTarget) -> Kept:
        """The words of the caption and of its references."""
        return words(prediction), tuple(words(text) for text in references(target))

    def weighted(self, kept: Sequence[Kept]) -> Weighted:
        """CIDEr-D of images drawn so many times each, with the document frequencies of what was drawn."""
        return Corpus.of(kept).score


@plain_dataclass(frozen=True)
class Corpus:
    """Sparse matrices; a column is a set of images, and stands for the n-grams of just those references.

    `documents` (columns, images) has 1 where the set has the image. A row of the others is one order of a
    caption: its sum of squared counts (`captions`, images x orders; `texts`, references x orders), or of
    the clipped products of both (`shared`, as `texts`). `image_of` is each of those rows' in `captions`, and
    `means` (images, references x orders) averages over references and orders, with the length penalty.
    """

    documents: Any
    captions: Any
    texts: Any
    shared: Any
    image_of: NDArray[np.intp]
    means: Any

    @classmethod
    def of(cls, kept: Sequence[Kept]) -> Corpus:
        """From the words of every image."""
        said = [ngrams(caption) for caption, _ in kept]
        meant = [[ngrams(text) for text in texts] for _, texts in kept]
        columns = _columns(meant)
        sets = list(dict.fromkeys([(), *columns.values()]))
        number = {images: place for place, images in enumerate(sets)}
        column = {ngram: number[images] for ngram, images in columns.items()}
        image_of = [image for image, texts in enumerate(meant) for _ in texts]
        flat = [text for texts in meant for text in texts]
        rows, width = len(flat) * ORDER, len(sets)
        cells = ((place, image, 1.0) for place, images in enumerate(sets) for image in images)
        return cls(
            documents=_matrix(cells, (width, len(kept))),
            captions=_matrix(_squares(said, column), (len(kept) * ORDER, width)),
            texts=_matrix(_squares(flat, column), (rows, width)),
            shared=_matrix(_products(said, flat, image_of, column), (rows, width)),
            image_of=(np.array(image_of)[:, None] * ORDER + np.arange(ORDER)).ravel(),
            means=_matrix(_means(kept), (len(kept), rows)),
        )

    def score(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """100 CIDEr-D by how often each image was drawn, (draws, images) to (draws,); NaN without any."""
        times = weights.T
        drawn = times.sum(axis=0)
        count = np.where(drawn > 0, drawn, np.nan)
        rarity = (np.log(count) - np.log(np.maximum(self.documents @ times, 1.0))) ** 2
        lengths = np.sqrt(self.captions @ rarity)[self.image_of] * np.sqrt(self.texts @ rarity)
        cosines = (self.shared @ rarity) / np.where(lengths > 0, lengths, 1.0)
        found: NDArray[np.float64] = (times * (self.means @ cosines)).sum(axis=0) / count
        return found


def _columns(meant: Iterable[Iterable[Counter[NGram]]]) -> dict[NGram, tuple[int, ...]]:
    """The images whose references have each n-gram."""
    images: dict[NGram, list[int]] = {}
    for image, texts in enumerate(meant):
        for ngram in set().union(*texts):
            images.setdefault(ngram, []).append(image)
    return {ngram: tuple(found) for ngram, found in images.items()}


def _squares(captions: Sequence[Counter[NGram]], column: dict[NGram, int]) -> Iterator[Cell]:
    """Squared counts; an n-gram of no reference is in the column of no image, which is the first."""
    for number, caption in enumerate(captions):
        for ngram, count in caption.items():
            yield number * ORDER + len(ngram) - 1, column.get(ngram, 0), float(count * count)


def _products(
    said: Sequence[Counter[NGram]],
    texts: Sequence[Counter[NGram]],
    image_of: Sequence[int],
    column: dict[NGram, int],
) -> Iterator[Cell]:
    """A reference's counts times those of its image's caption, which count no more than the reference's."""
    for number, (text, image) in enumerate(zip(texts, image_of, strict=True)):
        for ngram in text.keys() & said[image].keys():
            clipped = min(text[ngram], said[image][ngram])
            yield number * ORDER + len(ngram) - 1, column[ngram], float(clipped * text[ngram])


def _means(kept: Sequence[Kept]) -> Iterator[Cell]:
    """What the cosine of each reference and order adds to its image's score."""
    row = 0
    for image, (caption, texts) in enumerate(kept):
        for text in texts:
            penalty = np.exp(-((len(caption) - len(text)) ** 2) / (2 * SIGMA**2))
            for _ in range(ORDER):
                yield image, row, SCALE * penalty / (ORDER * len(texts))
                row += 1


def _matrix(cells: Iterable[Cell], shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_array

    numbers = np.fromiter(chain.from_iterable(cells), dtype=np.float64)
    rows, columns, values = numbers.reshape(-1, 3).T
    return csr_array((values, (rows.astype(np.intp), columns.astype(np.intp))), shape=shape)
