"""Which samples a step learns from: seeded, complete, the same from any start and for any split."""

import itertools
from pathlib import Path

import pytest

from harness.data import Dataset, load
from harness.errors import UsageError
from harness.spec.schema import Data
from harness.spec.training import Train
from harness.training.order import Draw, draws, micro_batches, number_of_steps, share, steps
from harness.types import Audio, Sample
from tests.training.jobs import stream

COLUMNS = {"audio": "audio", "target": "target", "id": "id", "group": "group"}


def dataset(n: int = 10, **options: object) -> Dataset:
    section = Data(path="synthetic:dummy", columns=COLUMNS, options={"n": n, **options})
    return load(section, base=Path(), inputs=("audio",), split="train")


def length(sample: Sample) -> float:
    audio = sample.inputs["audio"]
    assert isinstance(audio, Audio)
    return audio.seconds()


def ids(chosen: list[Draw]) -> list[str]:
    return [draw.id for draw in chosen]


def first(n: int, **settings: object) -> list[list[str]]:
    found = steps(dataset(), 4, 7, **settings)  # type: ignore[arg-type]
    return [ids(step) for step in itertools.islice(found, n)]


def test_each_pass_takes_every_sample_once_in_another_order():
    drawn = [draw.id for draw in itertools.islice(draws(dataset(), 3), 20)]
    once, again = drawn[:10], drawn[10:]
    assert sorted(once) == sorted(again) == [f"train-{row:06d}" for row in range(10)]
    assert once != again != sorted(again)


def test_the_seed_decides_the_order():
    def order(seed: int) -> list[str]:
        return [draw.id for draw in itertools.islice(draws(dataset(), seed), 10)]

    assert order(1) == order(1) != order(2)


@pytest.mark.parametrize("start", [0, 1, 5, 13])
def test_a_training_that_starts_at_a_step_has_that_step_s_samples(start):
    found = steps(dataset(), 4, 7, start=start)
    assert [ids(step) for step in itertools.islice(found, 3)] == first(start + 3)[start:]


@pytest.mark.parametrize("start", [0, 49, 50, 73])
def test_so_does_one_with_samples_of_similar_length_together(start):
    def lengths(first_step: int, n: int) -> list[list[str]]:
        found = steps(dataset(), 4, 7, start=first_step, cost=length)
        return [ids(step) for step in itertools.islice(found, n)]

    assert lengths(start, 3) == lengths(0, start + 3)[start:]


def test_steps_of_similar_length_hold_less_padding_and_the_same_samples():
    def seconds(step: list[Draw]) -> list[float]:
        return [length(draw.sample()) for draw in step]

    def padding(found: list[list[Draw]]) -> float:
        return sum(max(s) * len(s) - sum(s) for s in map(seconds, found))

    data = dataset(n=200)
    plain = list(itertools.islice(steps(data, 4, 7), 50))
    alike = list(itertools.islice(steps(data, 4, 7, cost=length), 50))
    assert sorted(draw.place for step in plain for draw in step) == sorted(
        draw.place for step in alike for draw in step
    )
    assert padding(alike) < 0.2 * padding(plain)
    assert [max(seconds(step)) for step in alike] != sorted(max(seconds(step)) for step in alike)


@pytest.mark.parametrize(("world", "micro"), [(1, None), (1, 5), (2, None), (2, 1), (2, 2), (4, 2)])
def test_a_step_is_shared_out_whole_and_evenly(world, micro):
    [step] = itertools.islice(steps(dataset(), 8, 0), 1)
    parts = [share(step, rank, world, micro) for rank in range(world)]
    assert sorted(draw.place for own in parts for part in own for draw in part) == list(range(8))
    assert {len(own) for own in parts} == {micro_batches(8, world, micro)}
    assert all(part for own in parts for part in own)
    assert max(len(part) for own in parts for part in own) <= (micro or 8)


def test_processes_that_would_get_unequal_parts_are_refused():
    with pytest.raises(UsageError, match="2 processes can't share equally") as found:
        micro_batches(7, 2, None)
    assert "train.batch=8" in found.value.hint


def test_a_spare_is_always_the_same_one():
    [draw] = itertools.islice(draws(dataset(), 0), 1)
    assert draw.spare(5, 1) == draw.spare(5, 1)
    assert len({draw.spare(5, attempt).id for attempt in range(1, 20)}) > 3


def test_epochs_are_steps_rounded_up():
    assert number_of_steps(Train(epochs=3, batch=4), 10) == 8
    assert number_of_steps(Train(steps=5), None) == 5


def test_a_stream_is_drawn_from_window_by_window():
    found = stream(n=1500)
    assert found.size is None
    drawn = [draw.id for draw in itertools.islice(draws(found, 0), 3000)]
    assert len(set(drawn[:1500])) == len(set(drawn[1500:])) == 1500
    assert max(drawn[:1024]) == "train-001023"
    assert drawn[:1024] != sorted(drawn[:1024])
    assert [draw.id for draw in itertools.islice(draws(found, 0, start=1400), 200)] == drawn[1400:1600]
