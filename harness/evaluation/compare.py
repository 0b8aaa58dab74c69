"""Two runs of one task: the difference, how sure it is, and which samples made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from harness.evaluation.changes import Change
from harness.evaluation.comparable import RunData, asked_differently, labels, require_comparable
from harness.evaluation.difference import difference, pairs
from harness.evaluation.forms import form_of
from harness.evaluation.statistics import MIN_CLUSTERS, McNemar, Paired, few
from harness.evaluation.trained import differing
from harness.metrics.base import build
from harness.results.record import plain
from harness.types import Json


@dataclass(frozen=True)
class Comparison:
    """What is known of b against a, on the `n` samples that both scored; `left_out` is the others.

    `value_a` and `value_b` are over those n samples; `difference` is b - a. `ci95` and `p` come from the
    paired clustered bootstrap and are None where there is nothing to resample (a single cluster).
    `verdict` is "better", "worse", "no clear difference", or "too few groups" to say any of these.
    `mcnemar` is None for metrics that call no sample right or wrong.
    """

    run_a: str
    run_b: str
    label_a: str
    label_b: str
    metric: str
    unit: str
    higher_is_better: bool
    value_a: float
    value_b: float
    difference: float
    ci95: tuple[float, float] | None
    p: float | None
    n: int
    clusters: int
    left_out: int
    verdict: str
    sentence: str
    mcnemar: McNemar | None
    wins: tuple[Change, ...]
    losses: tuple[Change, ...]
    differs: Mapping[str, tuple[str, ...]]
    """Keys in which the tasks differ, and those of the train section in which two fine-tunes were made
    differently, with both values."""

    def to_json(self) -> Json:
        """All of it as JSON values; null where a number is undefined."""
        return plain(asdict(self))


def compare(
    a: RunData,
    b: RunData,
    metric_name: str | None = None,
    draws: int = 1000,
    seed: int = 0,
    *,
    subject: str = "B",
    across: Sequence[str] = (),
) -> Comparison:
    """Compare b with a by `metric_name`, else by the metric that decides; the sentence calls b `subject`.

    `across` are keys of the task that may differ between them (classes.templates). Raises ResultError, with
    every reason, when the runs aren't comparable.
    """
    key = metric_name or a.record.primary
    require_comparable(a, b, key, across)
    part = a.record.metrics[key]
    metric = build(part.metric.name, part.metric.options)
    both = pairs(a.samples, b.samples, part, form_of(a.record))
    found = difference(metric, part, both, draws, seed, decides=key == a.record.primary)
    label_a, label_b = labels(a.record, b.record)
    drawn, verdict = found.paired, _verdict(found.paired, part.higher_is_better)
    return Comparison(
        run_a=a.record.run_id,
        run_b=b.record.run_id,
        label_a=label_a,
        label_b=label_b,
        metric=key,
        unit=part.unit,
        higher_is_better=part.higher_is_better,
        value_a=found.value_a,
        value_b=found.value_b,
        difference=drawn.difference,
        ci95=drawn.bounds,
        p=None if drawn.bounds is None else drawn.p,
        n=drawn.n,
        clusters=drawn.clusters,
        left_out=found.left_out,
        verdict=verdict,
        sentence=_sentence(drawn, key, part.unit, verdict, subject),
        mcnemar=found.mcnemar,
        wins=found.wins,
        losses=found.losses,
        differs={**asked_differently(a.record, b.record), **differing((a.record, b.record))},
    )


def _verdict(found: Paired, higher_is_better: bool) -> str:
    """Whether b is better, worse, or neither can be said: the interval has to leave out zero."""
    if few(found.clusters):
        return "too few groups"
    if found.bounds is None or found.low <= 0 <= found.high:
        return "no clear difference"
    return "better" if (found.low > 0) == higher_is_better else "worse"


def _sentence(found: Paired, metric: str, unit: str, verdict: str, subject: str) -> str:
    size = f"{metric} {found.difference:+.2f}{' points' if unit == '%' else ''}"
    if few(found.clusters):
        clusters = f"{found.clusters} cluster{'s' if found.clusters > 1 else ''}"
        return f"Too few groups to say: {clusters} ({MIN_CLUSTERS} or more are needed) for {size}."
    if found.bounds is None:
        return f"No clear difference: {size}, without an interval ({found.clusters} clusters)."
    interval = f"95% interval {found.low:+.2f} to {found.high:+.2f}, p = {found.p:.3g}"
    start = f"{subject} is {verdict}" if verdict in ("better", "worse") else "No clear difference"
    return f"{start}: {size} ({interval}, {found.n} samples in {found.clusters} clusters)."
