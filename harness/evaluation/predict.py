"""The prediction engine: every sample of a source through an adapter, once, whatever happens.

Finished batches go to the journal at once, so a run that is killed goes on where it was. Batches are encoded
by threads while the model works on the one before. On out-of-memory a batch is halved. A sample that can't
be read or predicted becomes a typed failure.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

from harness.errors import HarnessError, PredictionError, RunError, SampleError
from harness.evaluation import memory
from harness.evaluation.entries import entry, prediction, sound
from harness.evaluation.journal import Journal
from harness.evaluation.plan import Plan, Samples, Source, make_plan
from harness.models.base import Adapter, Batch, PartlyFailedError
from harness.processes import Processes
from harness.progress import progress
from harness.types import Failure, Output, Prediction, Sample

Outcome: TypeAlias = tuple[int, Output | Failure, float]
"""Row, what came of it, and its seconds."""


@dataclass(frozen=True)
class Encoded:
    """A batch ready for the model: its rows, their samples, the tensors; and rows that failed."""

    rows: list[int]
    samples: list[Sample]
    batch: Batch | None
    failures: dict[int, Failure]


class Engine:
    """Predicts samples with one adapter.

    `context` is the cache folder of everything that decides outputs besides the sample (weights, settings,
    precision); `reuse` is false to predict anew what the cache already has; `warm_up` runs one sample
    untimed first, so that a GPU's start-up doesn't count as prediction time. In progress `what` says what the
    samples are, and `label` is added.
    """

    def __init__(
        self,
        adapter: Adapter,
        context: Path,
        *,
        batch_size: int,
        workers: int,
        processes: Processes | None = None,
        reuse: bool = True,
        warm_up: bool = False,
        show_progress: bool = True,
        what: str = "samples",
        label: str = "",
    ) -> None:
        self._adapter = adapter
        self._batch_size = batch_size
        self._workers = workers
        self._processes = processes or Processes()
        self._reuse = reuse
        self._warm_up = warm_up
        self._show = show_progress and self._processes.main
        self._journal = Journal(context, self._processes.share(uuid4().hex))
        self._what = what
        self._label = label
        self._succeeded = False
        self.fingerprint = ""
        """SHA-256 over ids, targets and inputs of what has been predicted."""

    def run(self, source: Source) -> Generator[tuple[Sample | None, str, Prediction]]:
        """Sample (None when its row can't be read), id and prediction, in the source's order.

        Only the main process yields; the others work and come back when everything is predicted.
        """
        try:
            for window in source.windows():
                plan = self._predict_window(window)
                if self._processes.main:
                    yield from self._join(window, plan)
        finally:
            self._journal.close()

    def _predict_window(self, window: Samples) -> Plan:
        plan = self._processes.share(self._plan(window) if self._processes.main else None)
        self.fingerprint = plan.fingerprint
        pending = self._processes.share(self._pending(plan) if self._processes.main else None)
        mine = pending[self._processes.rank :: self._processes.world]
        if mine:
            self._adapter.prepare()
        if self._warm_up and mine:
            self._outcomes(window, encode_rows(self._adapter, window, mine[0][:1]))
            self._warm_up = False
        total = sum(map(len, pending))
        doing = "Predicting" if self._what == "samples" else f"Embedding {self._what}"
        with progress(f"{doing}{self._label}", total, show=self._show and total > 0) as bar:
            for rows in self._finished(window, plan, mine):
                bar.advance(rows * self._processes.world)
        self._processes.wait()
        return plan

    def _plan(self, window: Samples) -> Plan:
        with progress(f"Looking at {self._what}{self._label}", len(window), show=self._show) as bar:
            return make_plan(
                window, self._adapter, self._batch_size, self._workers, bar, before=self.fingerprint
            )

    def _pending(self, plan: Plan) -> list[list[int]]:
        """The plan's batches without what the cache has."""
        if not self._reuse:
            return plan.batches
        self._journal.scan()
        left = ([row for row in rows if plan.keys[row] not in self._journal] for rows in plan.batches)
        return [rows for rows in left if rows]

    def _finished(self, window: Samples, plan: Plan, batches: list[list[int]]) -> Iterator[int]:
        """Predict these batches, journal each, and yield how many rows each had."""
        for encoded in self._encoded(window, batches):
            outcomes: list[Outcome] = [(row, failure, 0.0) for row, failure in encoded.failures.items()]
            outcomes += self._outcomes(window, encoded)
            self._journal.append((plan.keys[row], entry(outcome, spent)) for row, outcome, spent in outcomes)
            yield len(encoded.rows)

    def _encoded(self, window: Samples, batches: Iterable[list[int]]) -> Iterator[Encoded]:
        """Encoded batches in order, a few ahead of the model. Batches follow a halved batch size."""
        waiting: deque[Future[Encoded]] = deque()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="encode") as pool:
            try:
                for rows in batches:
                    for start in range(0, len(rows), self._batch_size):
                        part = rows[start : start + self._batch_size]
                        waiting.append(pool.submit(encode_rows, self._adapter, window, part))
                    while len(waiting) > self._workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _outcomes(self, window: Samples, encoded: Encoded) -> list[Outcome]:
        """What came of every row of an encoded batch."""
        if encoded.batch is None:
            return []
        good = [row for row in encoded.rows if row not in encoded.failures]
        started = time.perf_counter()
        try:
            outputs: Sequence[Output | Failure] = self._adapter.predict(encoded.batch)
        except HarnessError:
            raise
        except PartlyFailedError as partly:
            outputs = partly.outcomes
        except Exception as error:  # noqa: BLE001 - whatever a model raises becomes a typed failure below
            return self._after_error(window, good, error)
        if len(outputs) != len(good):
            raise RunError(f"the adapter returned {len(outputs)} outputs for a batch of {len(good)}")
        spent = (time.perf_counter() - started + encoded.batch.seconds) / len(good)
        outcomes = [(row, sound(output), spent) for row, output in zip(good, outputs, strict=True)]
        self._succeeded |= any(isinstance(output, Output) for output in outputs)
        self._check_not_hopeless(outcomes)
        return outcomes

    def _after_error(self, window: Samples, rows: list[int], error: Exception) -> list[Outcome]:
        """Halve on out-of-memory; otherwise try the rows one by one to find the ones at fault."""
        if len(rows) == 1:
            return [(rows[0], _failure(error), 0.0)]
        if memory.is_out_of_memory(error):
            half = (len(rows) + 1) // 2
            self._batch_size = min(self._batch_size, half)
            parts: Sequence[list[int]] = (rows[:half], rows[half:])
        else:
            parts = [[row] for row in rows]
        del error
        memory.release()
        outcomes: list[Outcome] = []
        for part in parts:
            encoded = encode_rows(self._adapter, window, part)
            outcomes += [(row, failure, 0.0) for row, failure in encoded.failures.items()]
            outcomes += self._outcomes(window, encoded)
        self._check_not_hopeless(outcomes)
        return outcomes

    def _check_not_hopeless(self, outcomes: list[Outcome]) -> None:
        """A model that has failed on everything so far is a broken run, not a set of broken samples."""
        failures = [outcome for _, outcome, _ in outcomes if isinstance(outcome, Failure)]
        if not self._succeeded and len(failures) == len(outcomes) > 1:
            hint = "Nothing was scored. `--debug` shows where it comes from."
            raise RunError(
                f"the model failed on every sample of its first batch: {failures[0].message}", hint
            )

    def _join(self, window: Samples, plan: Plan) -> Iterator[tuple[Sample | None, str, Prediction]]:
        """The window's rows in order, each with its prediction from the journal."""
        self._journal.scan()
        for number, id_ in enumerate(window.ids):
            failure = plan.failures.get(number)
            if failure is not None:
                yield None, id_, Prediction(id_, None, error=failure)
                continue
            try:
                row = self._journal.read(plan.keys[number])
            except KeyError as error:
                hint = "A process died, or the cache folder was deleted: run again."
                raise RunError(f"sample {id_} was never predicted", hint) from error
            yield window[number], id_, prediction(id_, row, plan.media_seconds[number])


def encode_rows(adapter: Adapter, window: Samples, rows: list[int]) -> Encoded:
    """Encode these rows; when that fails, one by one, so that only those at fault are left out."""
    try:
        samples = [window[row] for row in rows]
        return Encoded(rows, samples, adapter.encode(samples), {})
    except HarnessError:
        raise
    except Exception as error:  # noqa: BLE001 - one row's error, of whatever type, is found and recorded
        if len(rows) == 1:
            return Encoded(rows, [], None, {rows[0]: _failure(error)})
    alone = [encode_rows(adapter, window, [row]) for row in rows]
    failures = {row: failure for one in alone for row, failure in one.failures.items()}
    samples = [sample for one in alone for sample in one.samples]
    return Encoded(rows, samples, adapter.encode(samples) if samples else None, failures)


def _failure(error: Exception) -> Failure:
    """A sample's error as it is recorded: its own type when it has one, else what the model raised."""
    if isinstance(error, SampleError):
        return Failure.of(error)
    return Failure.of(PredictionError(f"{type(error).__name__}: {error}"))
