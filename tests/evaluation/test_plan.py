"""Batches: similar costs together, and prompts that begin alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.errors import MediaError
from harness.evaluation.plan import Plan, Samples, make_plan
from harness.evaluation.predict import Engine
from harness.models.base import Adapter, AdapterInfo, Batch, Rendered
from harness.progress import progress
from harness.types import Json, Output, Sample


class Rows:
    """Samples in one window."""

    def __init__(self, count: int) -> None:
        self.ids = [str(number) for number in range(count)]

    def windows(self) -> Iterator[Samples]:
        yield self

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.ids[index], {"question": self.ids[index]}, "", self.ids[index])


class Asked(Adapter):
    """Costs, prefixes ("?" can't be read) and buckets from lists; keeps the batches that it answered."""

    info = AdapterInfo("asked", "1", frozenset({"generate"}), frozenset({"text"}))

    def __init__(
        self, costs: Sequence[float], prefixes: Sequence[str | None] = (), buckets: Sequence[str] = ()
    ) -> None:
        self.costs, self.prefixes, self.buckets = costs, prefixes, buckets
        self.answered: list[list[int]] = []
        self.stop_after = len(costs)

    def request(self, sample: Sample) -> Json:
        return sample.id

    def cost(self, sample: Sample) -> float:
        return self.costs[int(sample.id)]

    def bucket(self, sample: Sample) -> str | None:
        return self.buckets[int(sample.id)] if self.buckets else None

    def prefix(self, sample: Sample) -> str | None:
        name = self.prefixes[int(sample.id)] if self.prefixes else super().prefix(sample)
        if name == "?":
            raise MediaError("the image can't be read")
        return name

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        return Batch(samples, {})

    def prepare(self) -> None: ...

    def predict(self, batch: Batch) -> list[Output]:
        if len(self.answered) == self.stop_after:
            raise KeyboardInterrupt
        self.answered.append([int(sample.id) for sample in batch.samples])
        return [Output("yes") for _ in batch.samples]

    def render(self, sample: Sample) -> Rendered:
        return Rendered([], {})


def plan(adapter: Asked, size: int) -> Plan:
    with progress("", 0, show=False) as bar:
        return make_plan(Rows(len(adapter.costs)), adapter, size, 1, bar)


def test_without_prefixes_batches_are_full_and_fall_in_cost():
    assert plan(Asked([1, 5, 2, 5, 4, 3, 9]), 3).batches == [[6, 1, 3], [4, 5, 2], [0]]


def test_buckets_stay_apart_the_costliest_first():
    adapter = Asked([1, 5, 2, 5, 4, 3, 9], buckets="bababaa")
    assert plan(adapter, 2).batches == [[6, 1], [3, 5], [4, 2], [0]]


def test_questions_about_one_image_share_a_batch_where_the_largest_puts_it():
    adapter = Asked([1, 7, 9, 2, 8, 3], ["cat", "dog", "cat", "dog", "dog", "cat"])
    assert plan(adapter, 4).batches == [[2, 5, 0], [4, 1, 3]]


def test_groups_fill_a_batch_together_with_prompts_that_share_nothing():
    adapter = Asked([9, 8, 7, 6, 5, 4], ["cat", None, "dog", "cat", None, "dog"])
    assert plan(adapter, 3).batches == [[0, 3, 1], [2, 5, 4]]


def test_a_group_larger_than_a_batch_is_cut_and_its_rest_is_followed_by_the_next():
    adapter = Asked([9, 8, 7, 6, 5, 4, 3, 2], ["cow", "cat", "cat", "cat", "cat", "cat", "dog", "dog"])
    assert plan(adapter, 3).batches == [[0], [1, 2, 3], [4, 5], [6, 7]]
    assert plan(adapter, 4).batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_one_image_in_two_buckets_is_two_groups():
    adapter = Asked([4, 3, 2, 1], ["cat"] * 4, buckets="abab")
    assert plan(adapter, 4).batches == [[0, 2], [1, 3]]


def test_a_prefix_that_cant_be_read_fails_its_row_alone():
    found = plan(Asked([3, 2, 1], ["cat", "?", "cat"]), 2)
    assert found.batches == [[0, 2]]
    assert {row: failure.type for row, failure in found.failures.items()} == {1: "MediaError"}


def test_a_run_that_goes_on_puts_together_what_it_would_have_before(tmp_path: Path):
    prefixes = ["cat", "dog", "cow", "cat", "dog", "cow", "cat", "cat", "cat"]
    adapter = Asked([1.0] * 9, prefixes)
    whole = plan(adapter, 4).batches
    assert whole == [[0, 3, 6, 7], [8, 1, 4], [2, 5]]
    adapter.stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        run(adapter, tmp_path)
    adapter.stop_after = 9
    run(adapter, tmp_path)
    assert adapter.answered == whole


def run(adapter: Asked, context: Path) -> None:
    engine = Engine(adapter, context, batch_size=4, workers=1, show_progress=False)
    assert [prediction.output for _, _, prediction in engine.run(Rows(9))] == ["yes"] * 9
