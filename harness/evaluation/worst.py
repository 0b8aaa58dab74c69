"""The samples that cost a run the most, with what was said of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rapidfuzz.distance import Levenshtein
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from harness.evaluation.forms import answer_of, form_of, most_probable, nearest_reference, target_of
from harness.metrics.base import Metric, build
from harness.metrics.names import in_words
from harness.results.record import Record

WORST = 5
WORDS_KEPT = 12
"""Words kept at each end of a long stretch."""
CLASSES_SHOWN = 3
NAME_LENGTH = 60
"""Letters of a target that are shown where it isn't words that were to be said."""


@dataclass(frozen=True)
class Costly:
    """A sample row, its own value (None when undefined: an empty reference) and what it costs.

    `cost` is how much better the corpus value would be without the sample, in the metric's unit.
    """

    row: dict[str, Any]
    value: float | None
    cost: float


def costliest(record: Record, table: Any, count: int = WORST) -> list[Costly]:
    """The samples that cost the deciding metric the most, the costliest first; none for a CorpusMetric.

    Of equal ones the worst answers come first: the wrong class that was surest, the farthest rank. Where
    every sample is wrong, leaving one out changes nothing, and the first ones are returned, at no cost.
    """
    import numpy as np

    part = record.metrics[record.primary]
    metric = build(part.metric.name, part.metric.options)
    if not isinstance(metric, Metric):
        return []
    columns = [table.column(column).to_numpy(zero_copy_only=False) for column in part.columns]
    stats = np.stack(columns, axis=1).astype(np.float64)
    scored = np.flatnonzero(~np.isnan(stats[:, 0]))
    stats = stats[scored]
    total = stats.sum(axis=0)
    without = np.nan_to_num(metric.reduce(total - stats))  # nothing is left when there is one sample
    change = metric.reduce(total) - without
    cost = np.nan_to_num(-change if metric.higher_is_better else change)
    if (right := metric.correct(stats)) is not None:
        cost[right] = 0
    values = metric.reduce(stats)
    order = [at for at in np.argsort(-cost, kind="stable") if cost[at] > 0]
    if not order and right is not None and not right.any():
        order = list(range(len(stats)))
    if order[count:] and (form := form_of(record)) != "text":
        tied = [at for at in order if cost[at] >= cost[order[count - 1]]]
        answers = table.column("prediction").take(scored[tied]).to_pylist()
        badness = [_badness(answer_of(answer, form), form) for answer in answers]
        order = [tied[place] for place in np.lexsort((-np.array(badness), -cost[tied]))]
    return [
        Costly(
            table.slice(int(scored[at]), 1).to_pylist()[0],
            None if np.isnan(values[at]) else float(values[at]),
            float(cost[at]),
        )
        for at in order[:count]
    ]


def _badness(answer: Any, form: str) -> float:
    """How wrong a wrong answer is: the first class's probability, or the rank of the best caption."""
    if isinstance(answer, str):
        return 0.0
    found = answer["text"] if form == "ranks" else next(iter(answer.values()), 0.0)
    return float(found)


def costliest_text(record: Record, table: Any, cell: str = "") -> Iterable[RenderableType]:
    """The costliest samples for the terminal: what was right and what was said."""
    part, form = record.metrics[record.primary], form_of(record)
    found = costliest(record, table)
    if found:
        where = f" ({cell})" if cell else ""
        how = "; normalised, [these words] differ" if form == "text" else ""
        what = "What costs the most" if found[0].cost else "Every sample is wrong, for example"
        yield Text(f"\n{what}{where}{how}:", style="bold")
    for sample in found:
        told = [f"costs {sample.cost:.2f}{' points' if part.unit == '%' else ''}"] if sample.cost else []
        if form == "text":
            own = "empty reference" if sample.value is None else f"{sample.value:.1f}{part.unit}"
            told.insert(0, f"{in_words(record.primary)} {own}")
        yield Text.assemble((str(sample.row["id"]), "cyan"), f"  {', '.join(told)}")
        for label, side in _sides(sample.row, form):
            yield Padding(Text(label).append(side), (0, 0, 0, 2), expand=False)


def _sides(row: Mapping[str, Any], form: str) -> Iterable[tuple[str, Text]]:
    """What is shown of a row: two texts aligned, a class and the first ones said, or captions and ranks."""
    if form == "text":
        said = row["prediction_normalised"]
        meant = nearest_reference(row["target_normalised"], said)
        return zip(("ref ", "hyp "), word_diff(meant, said), strict=True)
    answer, target = answer_of(row["prediction"], form), target_of(row["target"], form)
    if form == "ranks":
        first = target if isinstance(target, str) else target[0]
        more = "" if isinstance(target, str) or len(target) == 1 else f" (and {len(target) - 1} more)"
        return ("caption ", Text(_clipped(first) + more)), ("ranks   ", Text(_ranks_text(answer)))
    right = target if isinstance(target, str) else ", ".join(target)
    said = _printable(most_probable(answer, CLASSES_SHOWN))
    if not answer and (text := json.loads(row["extras"]).get("said")):
        said = f"{said} {_clipped(text)}"
    return ("is   ", Text(_clipped(right), style="green")), ("said ", Text(said, style="red"))


def _ranks_text(answer: Any) -> str:
    """Where the first of its captions came for the media, and the media for each of its captions."""
    if isinstance(answer, str):
        return answer
    media = [
        f"{name} {', '.join(map(str, ranks))} for its captions"
        for name, ranks in answer.items()
        if name != "text"
    ]
    return "; ".join([f"best caption {answer['text']}", *media])


def _clipped(text: str) -> str:
    shown = _printable(" ".join(text.split()))
    return shown if len(shown) <= NAME_LENGTH else f"{shown[: NAME_LENGTH - 1]}…"


def word_diff(reference: str, hypothesis: str) -> tuple[Text, Text]:
    """Both texts with the words that differ in brackets, aligned as the word error rate counts them."""
    ref, hyp = reference.split(), hypothesis.split()
    left: list[Text] = []
    right: list[Text] = []
    for same, steps in groupby(Levenshtein.opcodes(ref, hyp), key=lambda step: step.tag == "equal"):
        part = list(steps)
        left += _marked(ref[part[0].src_start : part[-1].src_end], "" if same else "green")
        right += _marked(hyp[part[0].dest_start : part[-1].dest_end], "" if same else "red")
    return Text(" ").join(left), Text(" ").join(right)


def _marked(words: Sequence[str], style: str) -> list[Text]:
    if not words:
        return []
    clipped = words if len(words) <= 2 * WORDS_KEPT else [*words[:WORDS_KEPT], "...", *words[-WORDS_KEPT:]]
    shown = _printable(" ".join(clipped))
    return [Text(f"[{shown}]" if style else shown, style=style)]


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
