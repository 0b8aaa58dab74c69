"""What a metric is: sufficient statistics per sample, and a value from their sum.

A per-sample score that is averaged afterwards is never a metric here: the corpus word error rate is
the ratio of summed edits to summed words, and only sums can be resampled correctly. Where the statistics
would be many (a column per class), a metric is a function of how often each sample is drawn instead; and
where it is somebody else's code, of the drawn lists themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from pydantic import ConfigDict, TypeAdapter, ValidationError

from harness.errors import UsageError
from harness.registry import METRICS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Weighted: TypeAlias = "Callable[[NDArray[np.float64]], NDArray[np.float64]]"
"""From how often each sample counts, shape (draws, n), to values, shape (draws,); NaN where undefined."""

OPTIONS = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""Configuration of every metric's dataclass: an option that doesn't exist is refused."""


class Metric(ABC):
    """A score of predictions against targets.

    `columns` names the sufficient statistics; `unit` is "%" for rates times 100, or "" for plain numbers.
    `normalizer` names the text normalizer that the scorer applies to prediction and target before `stats`
    ("none" when the metric wants raw text), possibly "whisper", which the scorer resolves by language.
    `takes` names the forms of answer that it can score (`harness.spec.kinds.Kind.form`).
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    higher_is_better: ClassVar[bool]
    columns: ClassVar[tuple[str, ...]]
    takes: ClassVar[tuple[str, ...]] = ("text",)
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

    Its interval comes from resampled indices, so it is called once per draw; where it is `averaged`, the mean
    of what it gives for each sample alone, once per sample.
    """

    takes: ClassVar[tuple[str, ...]] = ("text", "class")
    normalizer: str = "none"
    averaged: bool = False

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called."""

    @property
    @abstractmethod
    def unit(self) -> str:
        """ "%" for rates times 100, or "" for plain numbers."""

    @property
    @abstractmethod
    def higher_is_better(self) -> bool:
        """Direction."""

    @property
    @abstractmethod
    def signature(self) -> str:
        """Everything that tells this score from another of the same name."""

    @abstractmethod
    def compute(self, predictions: Sequence[Any], targets: Sequence[Any]) -> float:
        """The score of these predictions."""

    def alone(self, predictions: Sequence[Any], targets: Sequence[Any]) -> NDArray[np.float64]:
        """Each sample's score and 1, shape (n, 2), whose sums `mean` reduces; of what is `averaged`."""
        import numpy as np

        pairs = zip(predictions, targets, strict=True)
        values = [self.compute([prediction], [target]) for prediction, target in pairs]
        return np.stack([np.array(values, dtype=np.float64), np.ones(len(values))], axis=1)


def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score / samples, shape (..., 2) to (...,)."""
    found: NDArray[np.float64] = sums[..., 0] / sums[..., 1]
    return found


class WeightedMetric(CorpusMetric):
    """A metric that is no function of a sum, but one of how often each sample counts.

    A draw of the bootstrap is a row of such weights, so a thousand draws cost a few passes over arrays
    where lists would be gathered anew for each.
    """

    @abstractmethod
    def kept(self, prediction: Any, target: Any) -> Any:
        """What has to be remembered of one sample; None when it isn't scored."""

    @abstractmethod
    def weighted(self, kept: Sequence[Any]) -> Weighted:
        """The score of the samples that these were kept of, by how often each counts."""

    def compute(self, predictions: Sequence[Any], targets: Sequence[Any]) -> float:
        """The score of these predictions; NaN where it is undefined."""
        import numpy as np

        pairs = zip(predictions, targets, strict=True)
        found = [one for one in (self.kept(*pair) for pair in pairs) if one is not None]
        return float(self.weighted(found)(np.ones((1, len(found))))[0]) if found else float("nan")


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
        hint = f"Its options: {known}." if known else "It has no options."
        raise UsageError(f"metric '{name}': {problems}", hint) from error
    return metric
