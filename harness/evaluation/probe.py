"""Linear probe: a logistic regression on frozen embeddings (Radford et al. 2021, appendix A.3)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data import Dataset
from harness.data.loading import Purpose
from harness.errors import DataError
from harness.evaluation.embeddings import KEPT, ClassAnswer, answered, by_class, stacked, without_media
from harness.evaluation.few_shot import few_shot, share_samples
from harness.evaluation.heads import Head, Means, Outcome
from harness.evaluation.logistic import ITERATIONS, Labelled, Regression, chosen
from harness.spec.classes import Probe
from harness.spec.training_data import probe_splits
from harness.types import Json

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMED_AT_MOST = 5


class LinearProbe(Head):
    """Classes by their probabilities, of a regression that learns from the train split.

    The strength of its penalty is chosen on the validation split; `extras` of each answer say which it was,
    on how many samples it learned, and whether the solver converged. Raises DataError for a split that isn't
    there, is scored as well, or has no samples of a class.
    """

    def __init__(self, means: Means) -> None:
        self._means = means
        self._probe = means.task.probe or Probe()
        self._multilabel = means.task.classes is not None and means.task.classes.multilabel
        self._failed = 0
        self._train = means.dataset
        found: dict[Purpose, Sequence[Outcome]] = {
            purpose: self._embedded(purpose) for purpose in probe_splits(means.task)
        }
        self._names: Sequence[str] = ()
        self._extras: Mapping[str, Json] = {}
        self._regression: Regression | None = None
        if any(found.values()):  # only the main process has embeddings
            self._learn(found)

    def answers(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """The outcomes with probabilities of classes in place of embeddings."""
        return answered(outcomes, self._answers, self._extras)

    def _answers(self, vectors: NDArray[np.float32]) -> Iterator[ClassAnswer]:
        assert self._regression is not None
        values = self._regression.probabilities(vectors)
        return by_class(values, values, self._names, len(self._names) if self._multilabel else KEPT)

    def _embedded(self, purpose: Purpose) -> list[Outcome]:
        """Outcomes of a split's samples that could be embedded, or of the shots drawn from it."""
        dataset = self._opened(purpose)
        shots = self._probe.shots if purpose == "train" else None
        source = dataset if shots is None else few_shot(dataset, shots, self._probe.seed)
        outcomes = [
            without_media(outcome) for outcome in self._means.embed.samples(source, f"{purpose} samples")
        ]
        good = [outcome for outcome in outcomes if outcome[2].error is None]
        if purpose == "train":
            self._failed = len(outcomes) - len(good)
        if outcomes and not good:
            raise DataError(f"none of the {len(outcomes)} {purpose} samples could be embedded")
        return good

    def _opened(self, purpose: Purpose) -> Dataset:
        try:
            dataset = self._means.split(purpose)
        except DataError as error:
            if purpose == "validation":
                choice = "The penalty's strength is chosen on it; probe.strengths with one value needs none."
                error.hint = f"{error.hint} {choice}".strip()
            raise
        self._refuse_other_classes(dataset)
        if purpose == "train":
            self._refuse_same(dataset, self._means.dataset, "learn from what is scored")
            self._train = dataset
        else:
            self._refuse_same(dataset, self._train, "choose its strength on what it learned from")
        return dataset

    def _refuse_other_classes(self, dataset: Dataset) -> None:
        own, scored = set(dataset.class_names or ()), set(self._means.dataset.class_names or ())
        if own != scored:
            raise DataError(
                f"{dataset.path}: the splits {dataset.split} and {self._means.dataset.split} have different "
                f"classes: only one of them has {', '.join(sorted(own ^ scored)[:_NAMED_AT_MOST])}",
                "Folders per class need the same folders in every split, with files in each; metadata.jsonl "
                "beside classes.names allows for classes without samples.",
            )

    @staticmethod
    def _refuse_same(dataset: Dataset, other: Dataset, what: str) -> None:
        if dataset.split == other.split or share_samples(other, dataset):
            raise DataError(
                f"the probe would {what}: {dataset.path}, split {dataset.split}",
                "Name different splits under data.splits; a file given by its own path serves every split.",
            )

    def _learn(self, found: Mapping[Purpose, Sequence[Outcome]]) -> None:
        self._names = self._means.dataset.class_names or _seen(chain(*found.values()))
        learned = self._labelled(found["train"])
        self._refuse_missing(learned)
        validation = self._labelled(found["validation"]) if "validation" in found else None
        best = chosen(learned, validation, self._probe.strengths)
        self._regression = best
        self._extras = {
            "C": best.strength,
            "C_chosen_by": None if best.value is None else round(best.value, 6),
            "train_samples": len(learned.vectors),
            "train_failures": self._failed,
            "converged": best.converged,
        }
        if self._failed:
            _say(f"{self._failed} training samples of the probe could not be embedded and were left out")
        if not best.converged:
            _say(f"The probe's solver (C = {best.strength:g}) did not converge in {ITERATIONS} steps")

    def _labelled(self, outcomes: Sequence[Outcome]) -> Labelled:
        numbers = {name: number for number, name in enumerate(self._names)}
        vectors = stacked([prediction for _, _, prediction in outcomes]).astype(np.float64)
        targets: list[Any] = [sample.target for sample, _, _ in outcomes if sample]
        if not self._multilabel:
            return Labelled(vectors, np.array([numbers[target] for target in targets]))
        labels = np.zeros((len(targets), len(numbers)), np.int64)
        for row, target in zip(labels, targets, strict=True):
            row[[numbers[name] for name in target]] = 1
        return Labelled(vectors, labels)

    def _refuse_missing(self, learned: Labelled) -> None:
        """A class that no sample has can't be learned; nor can one, of several at once, that all have."""
        if self._multilabel:
            counts = learned.labels.sum(axis=0)
        else:
            counts = np.bincount(learned.labels, minlength=len(self._names))
        missing = [name for name, count in zip(self._names, counts, strict=True) if not count]
        everywhere = [
            name for name, count in zip(self._names, counts, strict=True) if count == len(learned.labels)
        ]
        for names, what in ((missing, "has no samples of"), (everywhere, "has nothing but samples of")):
            if names:
                more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
                raise DataError(
                    f"the probe's train split {what} {', '.join(names[:_NAMED_AT_MOST])}{more}",
                    "Every class needs samples with it and samples without: name another split under "
                    "data.splits.train, or list no more classes under classes.names than there are.",
                )


def _seen(outcomes: Iterable[Outcome]) -> list[str]:
    """The names among the targets, in order, where nothing lists the classes."""
    targets: list[Any] = [sample.target for sample, _, _ in outcomes if sample]
    return sorted({name for target in targets for name in ([target] if isinstance(target, str) else target)})


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
