"""What came of a task's cell: its records, and what is known of the fine-tune against its base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, ResultError
from harness.evaluation.comparable import RunData
from harness.evaluation.compare import Comparison, compare
from harness.evaluation.kept import KeptCheck
from harness.results.record import Record
from harness.results.store import Store
from harness.spec.load import ResolvedTask
from harness.spec.training import Keep

if TYPE_CHECKING:
    from harness.training.fine_tune import FineTuned

SUBJECT = "The fine-tune"
THE_MODEL = "the checkpoint"
"""What tables call the task's model beside its baselines."""


@dataclass(frozen=True)
class Pair:
    """The same question asked of the base and of the fine-tune.

    `comparisons` has one for each metric that can be compared; `refusal` says why the first can't.
    """

    base: Record
    tuned: Record
    comparisons: Mapping[str, Comparison]
    refusal: str = ""

    @property
    def deciding(self) -> Comparison | None:
        """The comparison by the first metric."""
        return self.comparisons.get(self.base.primary)

    def check(self, keep: Keep) -> KeptCheck:
        """As a check against forgetting."""
        return KeptCheck(keep, self.base, self.tuned, self.deciding, self.refusal)


@dataclass(frozen=True)
class BaselineResult:
    """What came of a baseline: its record, or why there is none."""

    name: str
    record: Record | None = None
    error: HarnessError | None = None

    def to_json(self) -> dict[str, Any]:
        """{"name", "run"}, or {"name", "error"}."""
        if self.error is not None:
            return {"name": self.name, "error": self.error.message}
        return {"name": self.name, "run": self.record and self.record.model_dump(mode="json")}


@dataclass(frozen=True)
class Shown:
    """A run as a line of the table of scores: `cell` tells it from the others, what has no name is the
    model's; `beside` says it's a baseline's."""

    record: Record
    cell: Mapping[str, Any]
    beside: bool = False


@dataclass(frozen=True)
class CellResult:
    """What came of one cell. `record` is that of its model, `baselines` are what it is to be read beside; the
    rest is there when it was fine-tuned."""

    cell: ResolvedTask
    record: Record
    made: FineTuned | None = None
    pair: Pair | None = None
    kept: Sequence[KeptCheck] = field(default=())
    baselines: Sequence[BaselineResult] = field(default=())

    @property
    def records(self) -> list[Record]:
        """The model's, and the fine-tune's if there is one."""
        return [self.record, self.pair.tuned] if self.pair else [self.record]

    @property
    def shown(self) -> Iterator[Shown]:
        """The model's run and those of its baselines, told apart where there are any."""
        yield Shown(self.record, ({"": THE_MODEL} if self.baselines else {}) | dict(self.cell.cell))
        for baseline in self.baselines:
            if baseline.record is not None:
                yield Shown(baseline.record, {"": baseline.name} | dict(self.cell.cell), beside=True)

    @property
    def all_records(self) -> Iterator[Record]:
        """Those of the checks and of the baselines as well."""
        yield from self.records
        for check in self.kept:
            yield from (check.base, check.tuned)
        yield from (baseline.record for baseline in self.baselines if baseline.record)


def paired(store: Store, base: Record, tuned: Record) -> Pair:
    """Compare a fine-tune with its base, metric by metric, from their stored rows.

    What can't be compared (too many failures, say) is said instead.
    """
    a, b = (RunData(record, store.samples(record.run_id)) for record in (base, tuned))
    statistics = base.spec["statistics"]
    found: dict[str, Comparison] = {}
    refusals: dict[str, str] = {}
    for metric in base.metrics:
        try:
            found[metric] = compare(a, b, metric, statistics["draws"], statistics["seed"], subject=SUBJECT)
        except ResultError as error:
            refusals[metric] = error.message
    return Pair(base, tuned, found, refusals.get(base.primary, ""))
