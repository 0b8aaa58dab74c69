"""What a metric is: sufficient statistics per sample, and a value from their sum.

A per-sample score that is averaged afterwards is never a metric here: the corpus word error rate is
the ratio of summed edits to summed words, and only sums can be resampled correctly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from harness.errors import UsageError
from harness.registry import METRICS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OPTIONS = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""Configuration of every metric's dataclass: an option that doesn't exist is refused."""


class Metric(ABC):
    """A score of predictions against targets.

    `columns` names the sufficient statistics; `unit` is "%" for rates times 100, or "" for plain numbers.
    `normalizer` names the text normalizer that the scorer applies to prediction and target before `stats`
    ("none" when the metric wants raw text), possibly "whisper", which the scorer resolves by language.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]
    columns: ClassVar[tuple[str, ...]]
    normalizer: str = "none"

    @property
    @abstractmethod
    def signature(self) -> str:
        """Everything that tells this score from another of the same name."""

    @abstractmethod
    def stats(self, prediction: Any, target: Any) -> tuple[float, ...] | None:
        """Sufficient statistics of one sample, in the order of `columns`.

        None means the sample is not scored (a reference that is empty once normalised).
        """

    @abstractmethod
    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values from summed statistics, shape (..., len(columns)) to (...,); NaN where undefined."""

    def correct(self, stats: NDArray[np.float64]) -> NDArray[np.bool_] | None:
        """Which samples are entirely right, (n, columns) to (n,), for McNemar's test; None if meaningless."""
        return None


class CorpusMetric(ABC):
    """A metric known only as a function of whole lists (one of the `evaluate` library).

    Its interval comes from resampled indices, so it is called once per draw.
    """

    name: str
    unit: str
    higher_is_better: bool
    normalizer: str = "none"

    @property
    @abstractmethod
    def signature(self) -> str:
        """Everything that tells this score from another of the same name."""

    @abstractmethod
    def compute(self, predictions: Sequence[Any], targets: Sequence[Any]) -> float:
        """The score of these predictions."""


def build(name: str, options: Mapping[str, Any] | None = None) -> Metric | CorpusMetric:
    """The metric registered as `name`, with these options.

    Raises UsageError for an unknown name, and for options that it doesn't have or that don't fit.
    """
    kind = METRICS.get(name)
    try:
        metric: Metric | CorpusMetric = TypeAdapter(kind).validate_python(dict(options or {}))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(kind.__pydantic_fields__)
        raise UsageError(f"metric '{name}': {problems}", f"Its options: {known}.") from error
    return metric
