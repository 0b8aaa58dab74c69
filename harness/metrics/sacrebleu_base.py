"""What BLEU and chrF share: sacrebleu counts each segment's n-grams, their sums give the corpus score."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from harness.errors import DataError, UsageError
from harness.metrics import normalizers
from harness.metrics.base import OPTIONS, Metric


@dataclass(frozen=True, config=OPTIONS)
class SacrebleuMetric(Metric):
    """A sacrebleu score, 0 to 100, whose signature is sacrebleu's own.

    A normalizer other than none is named at the signature's end, since sacrebleu doesn't know of it.
    """

    unit: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True

    normalizer: str = "none"
    """Text normalizer before sacrebleu's own tokenizer; published scores use none."""
    lowercase: bool = False
    """Ignore case."""
    references: int | Literal["var"] = 1
    """References per sample; var when it differs between samples. It is part of the signature."""

    @abstractmethod
    def make_scorer(self) -> Any:
        """The sacrebleu metric with these options; may raise when a tokenizer's package is missing."""

    @cached_property
    def scorer(self) -> Any:
        """The sacrebleu metric. Raises UsageError when its tokenizer can't be made here."""
        try:
            scorer = self.make_scorer()
        except (ImportError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"metric '{self.name}' can't make its tokenizer: {reason}") from error
        scorer.num_refs = -1 if self.references == "var" else self.references
        return scorer

    @property
    def signature(self) -> str:
        """Such as nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0."""
        own = self.scorer.get_signature().format()
        known = normalizers.signature(self.normalizer)
        return own if known == "none" else f"{own}|normalizer:{known}"

    def stats(self, prediction: str, target: str | list[str]) -> tuple[float, ...]:
        """N-gram counts in the order of `columns`; with several references, as sacrebleu combines them.

        Raises DataError when the number of references isn't `references`.
        """
        references = [target] if isinstance(target, str) else list(target)
        if not references or self.references not in ("var", len(references)):
            raise DataError(
                f"metric '{self.name}' expects references: {self.references}, a sample has {len(references)}",
                "Set the metric's option `references` to the number per sample, or to var.",
            )
        rows = self.scorer._extract_corpus_statistics([prediction], [[text] for text in references])
        return tuple(rows[0])
