"""Any metric of the `evaluate` library, by name (from the Hub) or by the path of its script."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import PurePath
from typing import Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from harness.errors import RemoteError, RunError, UsageError
from harness.metrics import normalizers
from harness.metrics.base import OPTIONS, CorpusMetric

LOWER_IS_BETTER = frozenset(
    {"brier_score", "cer", "character", "charcut_mt", "mae", "mape", "mase", "mse", "perplexity", "smape"}
    | {"ter", "wer"}
)
"""Errors and losses among the library's metrics; every other one is taken as better when higher."""
MEANS = frozenset({"meteor"})
"""Those that are a mean over samples."""
_NLTK_DATA = re.compile(r"nltk\.download\('([\w.-]+)'\)")
"""Where NLTK's error names the data that it lacks."""


@dataclass(frozen=True, config=OPTIONS)
class EvaluateMetric(CorpusMetric):
    """`- evaluate: meteor`, or `- evaluate: {path: ./my_metric.py, key: score}`.

    The library knows only whole lists, so it runs once per bootstrap draw, unless the score is a mean over
    samples (`averaged`). References may be lists of texts where the metric takes several (meteor, bleu). The
    signature carries the digest of the metric's source, not its path: the same script on another machine is
    the same metric.
    """

    path: str
    """Name on the Hub (meteor, someone/metric), or path of a metric's script or folder."""
    config: str | None = None
    """Configuration of the metric, where it has several."""
    key: str | None = None
    """Which entry of the result is the score, where it has several."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the metric's compute()."""
    higher_is_better: bool = Field(default=None, validate_default=True)
    """Direction; taken from the metric's name when not given."""
    unit: str = ""
    """Unit to show: "%" for percent, empty for a plain number."""
    normalizer: str = "none"
    """Text normalizer before the metric's own processing."""
    averaged: bool = Field(default=None, validate_default=True)
    """Whether the score is the mean of what the metric gives for each sample alone: it is then computed once
    per sample, not per draw of the bootstrap. Known of meteor; false for others when not given."""

    @field_validator("averaged", mode="before")
    @classmethod
    def _mean(cls, given: Any, info: ValidationInfo) -> Any:
        return _stem(str(info.data.get("path"))) in MEANS if given is None else given

    @field_validator("higher_is_better", mode="before")
    @classmethod
    def _direction(cls, given: Any, info: ValidationInfo) -> Any:
        return _stem(str(info.data.get("path"))) not in LOWER_IS_BETTER if given is None else given

    @property
    def name(self) -> str:
        """The metric's own name: meteor."""
        return _stem(self.path)

    @property
    def signature(self) -> str:
        """Name, digest of the source, configuration, key, arguments, normalizer, version of the library."""
        import evaluate

        given = {
            "evaluate": f"{self.name}@{self._module._hash[:8]}" if self._module._hash else self.name,
            "config": self.config,
            "key": self.key,
            **{key: self.arguments[key] for key in sorted(self.arguments)},
            "normalizer": normalizers.signature(self.normalizer),
            "version": evaluate.__version__,
        }
        return "|".join(f"{key}:{value}" for key, value in given.items() if value is not None)

    def compute(self, predictions: Sequence[Any], targets: Sequence[Any]) -> float:
        """The chosen entry of the metric's result.

        Raises UsageError when the result doesn't have it or NLTK's data are missing, RunError when the metric
        itself fails, and RemoteError when it has to come from the Hub and doesn't.
        """
        module = self._module
        try:
            result = module.compute(predictions=list(predictions), references=list(targets), **self.arguments)
        except Exception as error:  # the metric is somebody else's code
            if missing := _NLTK_DATA.search(str(error)):
                raise UsageError(
                    f"metric '{self.name}' needs NLTK's data '{missing[1]}', which isn't on this disk",
                    f"Run: python -m nltk.downloader {missing[1]} (meteor: wordnet omw-1.4 punkt_tab). "
                    "The variable NLTK_DATA names a folder that has them already.",
                ) from error
            raise RunError(
                f"metric '{self.name}' of the evaluate library failed: {error}",
                "Its `arguments` and the types of predictions and targets must be what its script expects.",
            ) from error
        return self._entry(result)

    def _entry(self, result: Mapping[str, Any]) -> float:
        key = self.key or (self.name if self.name in result else next(iter(result), ""))
        if key not in result or (self.key is None and key != self.name and len(result) > 1):
            raise UsageError(
                f"metric '{self.name}' of the evaluate library returns {', '.join(map(repr, result))}",
                "Name the one that is the score with its option `key`.",
            )
        try:
            return float(result[key])
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"entry '{key}' of metric '{self.name}' is no number: {result[key]!r}",
                "Choose another `key`, or `arguments` that give one number.",
            ) from error

    @cached_property
    def _module(self) -> Any:
        import evaluate

        try:
            return evaluate.load(self.path, config_name=self.config, keep_in_memory=True)
        except ImportError as error:
            raise UsageError(
                f"metric '{self.name}' can't be loaded: {error}", "Install what its script imports."
            ) from error
        except OSError as error:
            if self.path.endswith(".py"):
                raise UsageError(f"there is no metric script at {self.path}") from error
            raise RemoteError(
                f"metric '{self.path}' of the evaluate library is not on this disk, "
                f"and {evaluate.config.HF_ENDPOINT} doesn't have it or can't be reached",
                "Without network, a script works by its path (./my_metric.py), and so does a metric that was "
                "loaded before; wer, cer, bleu, chrf and chrf++ are built in and need nothing.",
            ) from error


def _stem(path: str) -> str:
    return PurePath(path).name.removesuffix(".py")
