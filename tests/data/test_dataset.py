"""Columns, ids, groups, limits, joins and transforms: what a task may ask of any dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from harness.data import Dataset, Window
from harness.data.dataset import WINDOW_ROWS, make_dataset, subset
from harness.data.rows import Request, Row, Stream
from harness.data.samples import SampleMaker
from harness.data.targets import target_of
from harness.errors import DataError, MediaError, RowError
from harness.types import Audio

LoadFrom = Callable[..., Dataset]
WriteJsonl = Callable[..., Path]
TEXT = {"question": "question", "target": "answer"}


def only_window(dataset: Dataset) -> Window:
    [window] = dataset.windows()
    return window


def numbered(n: int) -> list[dict[str, Any]]:
    return [{"key": f"k{i}", "question": f"q{i}", "answer": i, "speaker": i % 3} for i in range(n)]


def test_a_row_becomes_a_sample(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("test.jsonl", [{"audio": "a.wav", "text": "hello", "speaker": 7, "lang": "en"}])
    columns = {"audio": "audio", "target": "text", "group": "speaker", "language": "lang"}
    dataset = load_from("./test.jsonl", columns=columns)
    window = only_window(dataset)
    sample = window[0]
    assert (dataset.size, dataset.revision, dataset.split) == (1, None, "test")
    assert window.ids == ["000000"]
    assert (sample.id, sample.target, sample.group) == ("000000", "hello", "7")
    assert sample.meta == {"language": "en"}
    assert isinstance(sample.inputs["audio"], Audio)


def test_without_a_group_each_sample_is_its_own(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("test.jsonl", numbered(2))
    samples = list(only_window(load_from("./test.jsonl", columns={**TEXT, "id": "key"})))
    assert [sample.group for sample in samples] == ["k0", "k1"]


def test_every_missing_column_is_named_with_the_near_one(
    load_from: LoadFrom, write_jsonl: WriteJsonl
) -> None:
    write_jsonl("test.jsonl", [{"audio": "a.wav", "transcription": "hello", "speaker_id": 1}])
    columns = {"audio": "audio", "target": "transcript", "group": "speaker", "language": "xyz"}
    with pytest.raises(DataError) as caught:
        load_from("./test.jsonl", columns=columns)
    lines = caught.value.message.splitlines()
    assert len(lines) == 3
    assert "data.columns.target" in lines[0]
    assert "Did you mean 'transcription'?" in lines[0]
    assert "Did you mean 'speaker_id'?" in lines[1]
    assert "'xyz'" in lines[2]
    assert caught.value.hint == "It has: audio, transcription, speaker_id."


def test_columns_are_checked_before_ids(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("test.jsonl", [{"key": 1, "answer": 1}, {"key": 1, "answer": 2}])
    with pytest.raises(DataError, match="no column 'question'"):
        load_from("./test.jsonl", columns={**TEXT, "id": "key"})


def test_duplicate_ids_name_their_rows(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    rows = [{**row, "key": position // 2} for position, row in enumerate(numbered(20))]
    write_jsonl("test.jsonl", rows)
    with pytest.raises(DataError, match=r"ids are not unique: '0' in rows 0 and 1; .* and 5 more") as caught:
        load_from("./test.jsonl", columns={**TEXT, "id": "key"})
    assert "group" in caught.value.hint


def test_a_duplicate_outside_the_limit_is_still_refused(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("test.jsonl", [*numbered(50), {**numbered(1)[0]}])
    with pytest.raises(DataError, match="'k0' in rows 0 and 50"):
        load_from("./test.jsonl", columns={**TEXT, "id": "key"}, limit=1)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"target": None}, "'text' (target) is empty"),
        ({"audio": None}, "'audio' (audio) is empty"),
        ({"audio": 3}, "the audio is int"),
        ({"audio": {"bytes": None, "path": None}}, "the audio is dict"),
        ({"audio": {"bytes": "abc"}}, "the audio's bytes are str"),
        ({"audio": {"path": 5}}, "the audio's path is int"),
        ({"audio": "a\0.wav"}, "'a\\x00.wav' can't be the name of a file"),
        ({"audio": "\ud800.wav"}, "the audio's path holds half a character"),
        ({"audio": {"array": [0.1], "sampling_rate": "abc"}}, "sampling_rate is 'abc'"),
        ({"audio": {"array": [0.1], "sampling_rate": None}}, "sampling_rate is None"),
        ({"audio": {"array": [0.1], "sampling_rate": float("nan")}}, "sampling_rate is nan"),
        ({"audio": {"array": [0.1], "sampling_rate": 0}}, "sampling_rate is 0"),
        ({"target": "\ud800"}, "'text' (target) holds half a character: '\\ud800'"),
        ({"speaker": "\ud800"}, "'speaker' (group) holds half a character"),
        ({"key": "\ud800"}, "'key' (id) holds half a character"),
        ({"lang": "\ud800"}, "'lang' (language) holds half a character"),
        ({"target": True}, "'text' (target) holds bool, not text"),
        ({"target": {"a": 1}}, "'text' (target) holds dict, not text"),
        ({"target": float("nan")}, "'text' (target) holds nan, not text"),
        ({"target": [["a"]]}, "'text' (target) holds list, not text"),
        ({"target": []}, "'text' (target) holds list, not text"),
        ({"target": ["a", None]}, "'text' (target) is empty"),
    ],
)
def test_a_row_without_a_value_fails_alone(
    load_from: LoadFrom, write_jsonl: WriteJsonl, broken: dict[str, Any], reason: str
) -> None:
    good = {"audio": "a.wav", "text": "hello", "key": None, "speaker": "s", "lang": "en"}
    bad = {**good, **{("text" if name == "target" else name): value for name, value in broken.items()}}
    write_jsonl("test.jsonl", [good, bad, good])
    columns = {"audio": "audio", "target": "text", "id": "key", "group": "speaker", "language": "lang"}
    window = only_window(load_from("./test.jsonl", columns=columns))
    with pytest.raises(RowError) as caught:
        window[1]
    assert reason in str(caught.value)
    assert (window[0].target, window[2].target) == ("hello", "hello")


@pytest.mark.parametrize(
    "array",
    [["a", "b"], [0.1, None], [[0.1, 0.2], [0.3]], [[[0.1]]], [True], [], [[]], [1e300, 0.0], [10**400]],
    ids=str,
)
def test_an_array_that_is_no_clip_fails_alone(
    load_from: LoadFrom, write_jsonl: WriteJsonl, array: list[Any]
) -> None:
    clip = {"array": array, "sampling_rate": 16_000}
    write_jsonl("test.jsonl", [{"audio": clip, "text": "a"}])
    window = only_window(load_from("./test.jsonl"))
    with pytest.raises(MediaError, match="000000: the clip"):
        window[0].inputs["audio"].load(16_000)  # type: ignore[union-attr,call-arg]


def test_a_name_that_no_disk_takes_fails_alone(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("test.jsonl", [{"audio": "a" * 300 + ".wav", "text": "a"}])
    with pytest.raises(MediaError, match="can't be read"):
        only_window(load_from("./test.jsonl"))[0].inputs["audio"].load(16_000)  # type: ignore[union-attr,call-arg]


def test_a_row_that_is_nested_too_deep_fails_alone(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    deep = '{"question": ' + "[" * 100_000 + "]" * 100_000 + ', "answer": "a"}'
    write_jsonl("test.jsonl", [{"question": "q", "answer": "a"}, deep])
    with pytest.raises(RowError, match=r"test\.jsonl:2 is nested too deep"):
        only_window(load_from("./test.jsonl", columns=TEXT))[1]


def test_targets_are_text(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    targets = ["a", "", 7, 0.5, ["a", "b"], ["a", 7]]
    write_jsonl("test.jsonl", [{"question": "q", "answer": target} for target in targets])
    window = only_window(load_from("./test.jsonl", columns=TEXT))
    assert [sample.target for sample in window] == ["a", "", "7", "0.5", ["a", "b"], ["a", "7"]]


@pytest.mark.parametrize("value", [b"a", date(2020, 1, 1), {"a"}])
def test_what_is_not_text_is_no_target(value: Any) -> None:
    with pytest.raises(RowError, match=rf"the target holds {type(value).__name__}, not text"):
        target_of(value, "the target")


def test_an_empty_cell_is_neither_an_id_nor_a_group(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("test.csv", ["key,question,answer,speaker", "a,q,x,s", ",q,y,", ",q,z,"])
    columns = {**TEXT, "id": "key", "group": "speaker"}
    window = only_window(load_from("./test.csv", columns=columns))
    assert window.ids == ["a", "000001", "000002"]
    assert [sample.group for sample in window] == ["s", "000001", "000002"]


def test_a_smaller_limit_lies_within_a_larger(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("test.jsonl", numbered(200))
    ids = {
        limit: only_window(load_from("./test.jsonl", columns=TEXT, limit=limit)).ids for limit in (10, 100)
    }
    assert len(ids[10]) == 10
    assert set(ids[10]) < set(ids[100])
    assert ids[10] == sorted(ids[10])
    whole = only_window(load_from("./test.jsonl", columns=TEXT))
    few = only_window(load_from("./test.jsonl", columns=TEXT, limit=10))
    by_id = {sample.id: sample.target for sample in whole}
    assert all(by_id[sample.id] == sample.target for sample in few)


def test_a_limit_depends_on_the_seed_and_may_exceed_the_size() -> None:
    assert subset(100, 10, 0) == subset(100, 10, 0) != subset(100, 10, 1)
    assert list(subset(5, 10, 0)) == [0, 1, 2, 3, 4]


def test_a_limit_below_one_and_an_empty_split_are_refused(
    load_from: LoadFrom, write_jsonl: WriteJsonl
) -> None:
    write_jsonl("test.jsonl", [])
    with pytest.raises(DataError, match="at least 1"):
        load_from("./test.jsonl", columns=TEXT, limit=0)
    write_jsonl("test.csv", ["question,answer"])
    with pytest.raises(DataError, match="holds no rows"):
        load_from("./test.csv", columns=TEXT)


def test_a_purpose_names_its_split(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    for name in ("train", "dev"):
        write_jsonl(f"{name}.jsonl", [{"question": "q", "answer": name}])
    splits = {"train": "train", "validation": "dev"}
    dataset = load_from(".", columns=TEXT, splits=splits, split="validation")
    assert (dataset.split, only_window(dataset)[0].target) == ("dev", "dev")
    with pytest.raises(DataError, match="names no test split"):
        load_from(".", columns=TEXT, splits=splits)


def test_a_join_takes_the_first_match(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("fr/test.jsonl", [{"id": i, "question": f"fr{i}"} for i in (2, 1, 3)])
    write_jsonl("en/test.jsonl", [{"id": i, "text": text} for i, text in ((1, "a"), (2, "b"), (1, "c"))])
    join = {"name": "en", "on": "id", "take": {"english": "text"}}
    columns = {"question": "question", "target": "english"}
    window = only_window(load_from(".", name="fr", columns=columns, join=join))
    assert [window[index].target for index in (0, 1)] == ["b", "a"]
    with pytest.raises(RowError, match="no row whose 'id' is 3"):
        window[2]


def test_a_join_checks_both_sides(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("fr/test.jsonl", [{"id": 1, "question": "q"}])
    write_jsonl("en/test.jsonl", [{"id": 1, "text": "t"}])
    columns = {"question": "question", "target": "english"}
    for on, take, message in (
        ("idx", {"english": "text"}, "data.join.on: .* configuration fr, .*'idx'"),
        ("id", {"english": "txt"}, "data.join.take.english: .* configuration en, .*Did you mean 'text'"),
    ):
        join = {"name": "en", "on": on, "take": take}
        with pytest.raises(DataError, match=message):
            load_from(".", name="fr", columns=columns, join=join)


def test_columns_are_checked_before_the_join_is_opened(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("fr/test.jsonl", [{"id": 1, "question": "q"}])
    join = {"name": "not-there", "on": "id", "take": {"english": "text"}}
    with pytest.raises(DataError, match="no column 'questoin'"):
        load_from(".", name="fr", columns={"question": "questoin", "target": "english"}, join=join)


def test_a_transform_changes_rows_on_access(
    load_from: LoadFrom, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    write_jsonl("test.jsonl", numbered(3))
    (tmp_path / "shouting_rows.py").write_text(
        "def shout(row):\n    return {**row, 'loud': row['question'].upper(), 'n': 1 / row['answer']}\n"
    )
    columns = {"question": "loud", "target": "n", "id": "key"}
    window = only_window(load_from("./test.jsonl", columns=columns, transform="shouting_rows:shout"))
    assert (window.ids, window[2].inputs["question"], window[2].target) == (["k0", "k1", "k2"], "Q2", "0.5")
    with pytest.raises(RowError, match="shouting_rows:shout raised ZeroDivisionError"):
        window[0]
    with pytest.raises(DataError, match=r"no column 'lout'\. Did you mean 'loud'\?"):
        load_from("./test.jsonl", columns={**columns, "question": "lout"}, transform="shouting_rows:shout")


def test_a_transform_that_is_not_there(load_from: LoadFrom, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    write_jsonl("test.jsonl", numbered(1))
    (tmp_path / "empty_hooks.py").write_text("")
    with pytest.raises(DataError, match="no module 'absent_hooks'"):
        load_from("./test.jsonl", columns=TEXT, transform="absent_hooks:shout")
    with pytest.raises(DataError, match="module 'empty_hooks' has no 'shout'"):
        load_from("./test.jsonl", columns=TEXT, transform="empty_hooks:shout")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys\nsys.exit('no')\n", r"SystemExit: no \(.*hooks_0\.py:2\)"),
        ("x = (\n", r"SyntaxError: .* \(.*hooks_1\.py:1\)"),
        ("\n1 / 0\n", r"ZeroDivisionError: .* \(.*hooks_2\.py:2\)"),
        ("import absent_library\n", "no module 'absent_library'"),
        ("shout = 5\n", "'hooks_4:shout' is int, not a function"),
    ],
)
def test_a_transform_that_can_not_be_imported(
    load_from: LoadFrom,
    write_jsonl: WriteJsonl,
    tmp_path: Path,
    source: str,
    message: str,
    request: pytest.FixtureRequest,
) -> None:
    name = f"hooks_{request.node.callspec.indices['source']}"  # a module of its own: modules stay imported
    write_jsonl("test.jsonl", numbered(1))
    (tmp_path / f"{name}.py").write_text(source)
    with pytest.raises(DataError, match=message):
        load_from("./test.jsonl", columns=TEXT, transform=f"{name}:shout")


def test_a_transform_that_exits_fails_its_row(
    load_from: LoadFrom, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    write_jsonl("test.jsonl", numbered(2))
    (tmp_path / "quitting_rows.py").write_text(
        "def quit_on_one(row):\n    if row['answer'] == 1:\n        raise SystemExit(3)\n    return row\n"
    )
    window = only_window(load_from("./test.jsonl", columns=TEXT, transform="quitting_rows:quit_on_one"))
    assert window[0].target == "0"
    with pytest.raises(RowError, match=r"quit_on_one raised SystemExit: 3 \(.*quitting_rows\.py:3\)"):
        window[1]


def stream_of(rows: list[Row], limit: int | None = None, seed: int = 0) -> Dataset:
    maker = SampleMaker({"target": "answer", "id": "key"}, ())
    stream = Stream(rows, ("key", "answer"))
    return make_dataset(stream, maker, Request("stream", "test"), limit=limit, seed=seed)


def ids_of(dataset: Dataset) -> Iterator[str]:
    return (sample_id for window in dataset.windows() for sample_id in window.ids)


def test_a_stream_comes_in_windows() -> None:
    rows: list[Row] = [{"key": i, "answer": i} for i in range(WINDOW_ROWS + 10)]
    dataset = stream_of(rows)
    assert dataset.size is None
    assert [len(window) for window in dataset.windows()] == [WINDOW_ROWS, 10]
    assert [window[3].target for window in dataset.windows()] == ["3", f"{WINDOW_ROWS + 3}"]
    assert list(ids_of(dataset)) == [str(i) for i in range(WINDOW_ROWS + 10)]


def test_a_streams_limit_is_seeded_and_nested() -> None:
    rows: list[Row] = [{"key": i, "answer": i} for i in range(2000)]
    few, more = (list(ids_of(stream_of(rows, limit))) for limit in (10, 600))
    assert (len(few), len(set(more))) == (10, 600)
    assert few == more[:10] != list(ids_of(stream_of(rows, 10, seed=1)))


def test_a_streams_duplicates_show_as_they_come() -> None:
    rows: list[Row] = [{"key": i % (WINDOW_ROWS + 1), "answer": i} for i in range(WINDOW_ROWS + 5)]
    windows = stream_of(rows).windows()
    assert len(next(windows)) == WINDOW_ROWS
    with pytest.raises(DataError, match=f"'0' in rows 0 and {WINDOW_ROWS + 1}"):
        next(windows)


def test_an_empty_stream_is_refused() -> None:
    with pytest.raises(DataError, match="holds no rows"):
        list(stream_of([]).windows())
