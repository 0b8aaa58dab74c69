"""From samples to what metrics score: the engine's predictions, and where a kind has a head, its answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.data import Dataset
from harness.data.loading import Purpose
from harness.errors import RunError
from harness.evaluation.heads import Embed, Head, Means, Outcome
from harness.evaluation.plan import Samples, Source
from harness.evaluation.predict import Engine
from harness.evaluation.speed import SpeedMeter
from harness.evaluation.usage import UsageMeter
from harness.models.base import Adapter
from harness.processes import Processes
from harness.registry import HEADS
from harness.spec.schema import Task
from harness.types import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Engines:
    """Makes engines for one model that differ in nothing but what they predict.

    `context` is the cache folder of everything that decides outputs besides the sample; `towers` are those of
    inputs that only a part of the network embeds. For the other fields see `Engine`.
    """

    adapter: Adapter
    context: Path
    batch_size: int
    workers: int
    processes: Processes
    reuse: bool = True
    warm_up: bool = False
    show_progress: bool = True
    label: str = ""
    towers: Mapping[str, Path] = field(default_factory=dict)

    def engine(self, what: str = "samples", *, tower: str = "", folder: str = "") -> Engine:
        """An engine for `what`, inputs of one tower; its predictions are kept in a folder of that's cache."""
        return Engine(
            self.adapter,
            self.towers.get(tower, self.context) / folder,
            batch_size=self.batch_size,
            workers=self.workers,
            processes=self.processes,
            reuse=self.reuse,
            warm_up=self.warm_up,
            show_progress=self.show_progress,
            what=what,
            label=self.label,
        )


class Answers:
    """A task's samples with what its metrics take. What the task's head embeds by itself, it does at once.

    `split` opens other splits of the task's data. Every process has to make one. Raises what the head raises.
    """

    def __init__(
        self, task: Task, dataset: Dataset, engines: Engines, split: Callable[[Purpose], Dataset]
    ) -> None:
        self._dataset = dataset
        self._head = _head(task, dataset, engines, split)
        self._engine = engines.engine(tower=task.inputs[0] if task.mode == "embed" else "")

    def run(self, *meters: SpeedMeter | UsageMeter) -> Generator[Outcome]:
        """Outcomes in the dataset's order; `meters` watch the samples' own predictions.

        Only the main process yields; the others work and come back when everything is predicted.
        """
        with closing(self._engine.run(self._dataset)) as predicted:
            outcomes: Iterator[Outcome] = predicted
            for meter in meters:
                outcomes = meter.watch(outcomes)
            yield from self._head.answers(outcomes) if self._head else outcomes

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids, targets and inputs of what has been predicted."""
        return self._engine.fingerprint


def _head(task: Task, dataset: Dataset, engines: Engines, split: Callable[[Purpose], Dataset]) -> Head | None:
    name = task.head
    if name is None:
        return None
    head: Head = HEADS.get(name)(
        Means(task, engines.adapter, dataset, EngineEmbed(engines, task.inputs[0]), split)
    )
    return head


class EngineEmbed(Embed):
    """Embeds with engines, so whatever was embedded before by these weights comes from the cache."""

    def __init__(self, engines: Engines, medium: str = "") -> None:
        self._engines = engines
        self._medium = medium

    def texts(self, texts: Sequence[str], label: str) -> NDArray[np.float32]:
        """Embeddings of texts, shape (texts, dimensions), in every process; (0, 0) when there is no text."""
        if not texts:
            return np.zeros((0, 0), np.float32)
        distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        vectors: list[NDArray[np.float32]] = []
        cut: list[str] = []
        with closing(
            self._engines.engine(label, tower="text", folder="texts").run(_Texts(list(distinct)))
        ) as outcomes:
            for sample, _, prediction in outcomes:
                text = str(sample.inputs["text"]) if sample else "?"
                if prediction.error is not None:
                    raise RunError(f"'{text}' can't be embedded: {prediction.error.message}")
                cut += [text] if prediction.truncated else []
                vectors.append(np.asarray(prediction.output, dtype=np.float32))
        if cut:
            _tell(
                f"{len(cut)} of {len(distinct)} {label} are longer than the model reads: '{cut[0]}' is cut."
            )
        found = self._engines.processes.share(np.stack(vectors) if vectors else None)
        return found[[distinct[text] for text in texts]]

    def samples(self, source: Source, label: str) -> Iterator[Outcome]:
        """Samples of another split with their embeddings; only the main process yields."""
        with closing(self._engines.engine(label, tower=self._medium).run(source)) as outcomes:
            yield from outcomes


class _Texts:
    """Texts as samples, in one window."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self.ids = [f"text-{number}" for number in range(len(texts))]

    def windows(self) -> Iterator[Samples]:
        yield self

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.ids[index], {"text": self._texts[index]}, "", self.ids[index])


@cache
def _tell(line: str) -> None:
    """Say it once, however often the same texts are embedded while a model is trained."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201
