"""What a head is: it turns what a model says into answers (classes, ranks), which metrics can score.

A model says embeddings, log-likelihoods of options, or a text that names one. What it says is cached before a
head reads it. An embedding depends on the weights and on what is embedded, never on the task, so it serves
every head, every list of classes and every set of templates; a parser or a way to normalise likelihoods may
change, and nothing is predicted anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from harness.data import Dataset
from harness.data.loading import Purpose
from harness.evaluation.plan import Source
from harness.models.base import Adapter
from harness.spec.schema import Task
from harness.types import Prediction, Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Outcome: TypeAlias = tuple[Sample | None, str, Prediction]
"""Sample (None when its row can't be read), id and prediction."""


class Embed(ABC):
    """Embeds what a head needs besides the samples that are scored; cached, and each distinct thing once.

    Every process has to take part in each call.
    """

    @abstractmethod
    def texts(self, texts: Sequence[str], label: str) -> NDArray[np.float32]:
        """Embeddings of texts as the network gives them, shape (texts, dimensions), in every process.

        `label` says in the progress what they are ("prompts"). Raises RunError for a text that can't be.
        """

    @abstractmethod
    def samples(self, source: Source, label: str) -> Iterator[Outcome]:
        """Samples of another split, or of part of it, with their embeddings; only the main process yields."""


@dataclass(frozen=True)
class Means:
    """What a head is made of: `split` opens another split of the task's data (train, validation)."""

    task: Task
    adapter: Adapter
    dataset: Dataset
    embed: Embed
    split: Callable[[Purpose], Dataset]


class Head(ABC):
    """Made once for a run, in every process; whatever it embeds by itself it embeds then."""

    @abstractmethod
    def __init__(self, means: Means) -> None: ...

    @abstractmethod
    def answers(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """The outcomes with answers in place of what the model said, in their order; failures as they are.

        Only the main process has any.
        """
