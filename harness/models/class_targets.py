"""What is learned about classes: their numbers, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.errors import AdapterError, RowError
from harness.registry import near
from harness.types import Sample


class ClassTargets:
    """Numbers of classes by their `names`; with `multilabel`, any number of them may be right at once."""

    def __init__(self, names: Sequence[str] | None, *, multilabel: bool) -> None:
        self._names = names
        self._multilabel = multilabel
        self._numbers = {name: number for number, name in enumerate(names or ())}

    @property
    def names(self) -> Sequence[str]:
        """In the order of their numbers. Raises AdapterError when nobody says which classes there are."""
        if self._names is None:
            raise AdapterError(
                "nothing says which classes there are to learn: the dataset's labels have no names",
                "List them under classes.names.",
            )
        return self._names

    def tensor(self, samples: Sequence[Sample], *, apart: bool) -> Any:
        """Numbers, int64 (samples,); zeros and ones, float32 (samples, classes), when classes are learned
        `apart` from each other or several may be right.

        Raises RowError for a sample of a class that isn't there, with the near name.
        """
        import torch

        rows = [self._row(sample) for sample in samples]
        if not (apart or self._multilabel):
            return torch.tensor([number for [number] in rows])
        labels = torch.zeros(len(rows), len(self.names))
        for label, row in zip(labels, rows, strict=True):
            label[row] = 1.0
        return labels

    def check(self, sample: Sample) -> None:
        """Raises RowError for a sample of a class that isn't there, with the near name."""
        self._row(sample)

    def _row(self, sample: Sample) -> list[int]:
        target = sample.target
        names = list(target) if isinstance(target, list | tuple) else [target]
        if len(names) != 1 and not self._multilabel:
            raise RowError(f"sample '{sample.id}' has {len(names)} classes where one is right")
        for name in names:
            if name not in self._numbers:
                hint = near(str(name), self.names)
                raise RowError(f"sample '{sample.id}' is of no class of the task: '{name}'. {hint}".strip())
        return [self._numbers[name] for name in names]
