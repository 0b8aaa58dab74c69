"""Files and folders on this machine, in the layouts that people have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.data import Dataset, Window
from harness.errors import DataError, MediaError, RowError
from harness.types import Audio
from tests.hub.repositories import tone, write_parquet

LoadFrom = Callable[..., Dataset]
WriteJsonl = Callable[..., Path]
COLUMNS = {"audio": "audio", "target": "text"}


def only_window(dataset: Dataset) -> Window:
    [window] = dataset.windows()
    return window


def heard(window: Window) -> list[tuple[str, float]]:
    """Targets and lengths of all samples."""
    found = []
    for sample in window:
        audio = sample.inputs["audio"]
        assert isinstance(audio, Audio)
        found.append((sample.target, round(audio.seconds(), 3)))
    return found


def clips(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for position, name in enumerate(names):
        (folder / name).write_bytes(tone(position, seconds=0.1 * (position + 1)))


EXPECTED = [("one", 0.1), ("two", 0.2)]


def test_an_audio_folder(load_from: LoadFrom, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    clips(tmp_path / "set", "a.wav", "b.wav")
    rows = [{"file_name": "a.wav", "text": "one"}, {"file_name": "b.wav", "text": "two"}]
    write_jsonl("set/metadata.jsonl", rows)
    assert heard(only_window(load_from("./set"))) == EXPECTED


def test_an_audio_folder_per_split(load_from: LoadFrom, tmp_path: Path) -> None:
    clips(tmp_path / "set" / "test", "a.wav", "b.wav")
    clips(tmp_path / "set" / "train", "a.wav")
    (tmp_path / "set/test/metadata.csv").write_text("file_name,text\na.wav,one\nb.wav,two\n")
    (tmp_path / "set/train/metadata.csv").write_text("file_name,text\na.wav,other\n")
    assert heard(only_window(load_from("./set"))) == EXPECTED


def test_an_audio_folder_without_metadata_says_what_to_add(load_from: LoadFrom, tmp_path: Path) -> None:
    clips(tmp_path / "set", "a.wav")
    with pytest.raises(DataError, match="nothing that says what is spoken") as caught:
        load_from("./set")
    assert "metadata.jsonl" in caught.value.hint
    assert "file_name" in caught.value.hint


def test_a_release_of_common_voice(load_from: LoadFrom, tmp_path: Path) -> None:
    clips(tmp_path / "cv" / "clips", "a.wav", "b.wav")
    (tmp_path / "cv/test.tsv").write_text('client_id\tpath\tsentence\nx\ta.wav\tone\nx\tb.wav\t"two\n')
    (tmp_path / "cv/train.tsv").write_text("client_id\tpath\tsentence\n")
    columns = {"audio": "path", "target": "sentence", "group": "client_id"}
    window = only_window(load_from("./cv", columns=columns))
    assert heard(window) == [("one", 0.1), ('"two', 0.2)]
    assert window[0].group == "x"


def test_absolute_paths_of_clips(load_from: LoadFrom, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    clips(tmp_path / "elsewhere", "a.wav")
    write_jsonl("rows.jsonl", [{"audio": str(tmp_path / "elsewhere/a.wav"), "text": "one"}])
    assert heard(only_window(load_from("./rows.jsonl"))) == EXPECTED[:1]


def test_a_clip_that_is_missing_fails_when_it_is_heard(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("rows.jsonl", [{"audio": "gone.wav", "text": "one"}])
    audio = only_window(load_from("./rows.jsonl"))[0].inputs["audio"]
    assert isinstance(audio, Audio)
    with pytest.raises(MediaError, match=r"gone\.wav: there is no such file"):
        audio.load(16_000)


def test_a_malformed_line_of_jsonl_fails_alone(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    good = '{"key": "%s", "q": "a", "text": "one"}'
    file = write_jsonl("rows.jsonl", [good % "a", "", '{"key": "b", "q"', "[1]", good % "c"])
    window = only_window(load_from("./rows.jsonl", columns={"question": "q", "target": "text", "id": "key"}))
    assert window.ids == ["a", "000001", "000002", "c"]
    assert (window[0].target, window[3].target) == ("one", "one")
    with pytest.raises(RowError, match=f"{file}:3 "):
        window[1]
    with pytest.raises(RowError, match=f"{file}:4 holds list, not an object"):
        window[2]


def test_a_line_that_is_not_utf8_fails_alone(load_from: LoadFrom, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"q": "a", "text": "one"}\n{"q": "\xff", "text": "two"}\n')
    window = only_window(load_from("./rows.jsonl", columns={"question": "q", "target": "text"}))
    assert window[0].target == "one"
    with pytest.raises(RowError, match=r"rows\.jsonl:2 .*utf-8"):
        window[1]


def test_csv_with_quotes_lines_and_a_byte_order_mark(load_from: LoadFrom, tmp_path: Path) -> None:
    text = (
        '\ufeffq,text\r\na,"one, two"\r\nb,"three\r\nfour ""five"""\r\n\r\nc,six,seven\r\nd,\u2028eight\r\n'
    )
    (tmp_path / "rows.csv").write_text(text, encoding="utf-8", newline="")
    window = only_window(load_from("./rows.csv", columns={"question": "q", "target": "text"}))
    targets = [window[index].target for index in (0, 1, 3)]
    assert targets == ["one, two", 'three\r\nfour "five"', "\u2028eight"]
    with pytest.raises(RowError, match=r"rows\.csv:6 has 3 fields, but the header has 2"):
        window[2]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('q,text\na,one\nb,"two\nc,three\n', 3),
        ('q,text\na,"one\nb,two\nc,"three"\n', 2),
        ('q,text\na,"one"two\n', 2),
    ],
    ids=["never closed", "closed by a later row's opening", "text behind the closing"],
)
def test_a_stray_quote_never_swallows_rows(load_from: LoadFrom, tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(DataError, match=rf"rows\.csv:{line}  ") as caught:
        load_from("./rows.csv", columns={"question": "q", "target": "text"})
    assert "quotation mark" in caught.value.hint


def test_a_quote_that_a_later_row_happens_to_close_fails_that_row(
    load_from: LoadFrom, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text('q,text\na,"one\nb,two\nc,three"\nd,"four\nfive"\n')
    window = only_window(load_from("./rows.csv", columns={"question": "q", "target": "text"}))
    with pytest.raises(RowError, match=r"rows\.csv:2 .*quotation mark left open"):
        window[0]
    assert window[1].target == "four\nfive"


def test_a_header_that_names_a_column_twice(load_from: LoadFrom, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("q,text,text\na,one,two\n")
    with pytest.raises(DataError, match=r"rows\.csv:1  .*more than one column 'text'"):
        load_from("./rows.csv", columns={"question": "q", "target": "text"})


@pytest.mark.usefixtures("arrow_cache")
def test_parquet_as_a_file_as_shards_and_as_folders(load_from: LoadFrom, tmp_path: Path) -> None:
    rows = [
        {"audio": {"bytes": tone(i, 0.1 * (i + 1)), "path": None}, "text": t}
        for i, (t, _) in enumerate(EXPECTED)
    ]
    write_parquet(tmp_path / "one.parquet", rows)
    write_parquet(tmp_path / "shards/data/test-00000-of-00002.parquet", rows[:1])
    write_parquet(tmp_path / "shards/data/test-00001-of-00002.parquet", rows[1:])
    write_parquet(tmp_path / "shards/data/train-00000-of-00001.parquet", rows[:1])
    write_parquet(tmp_path / "hive/en/test/0000.parquet", rows)
    for path, name in (("./one.parquet", None), ("./shards", None), ("./hive", "en")):
        assert heard(only_window(load_from(path, name=name))) == EXPECTED


@pytest.mark.usefixtures("arrow_cache")
def test_a_parquet_file_that_is_none(load_from: LoadFrom, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"rows\.parquet: can't be read"):
        load_from("./rows.parquet")


@pytest.mark.usefixtures("arrow_cache")
def test_what_save_to_disk_wrote(load_from: LoadFrom, tmp_path: Path) -> None:
    from datasets import Dataset as ArrowDataset
    from datasets import DatasetDict

    rows = ArrowDataset.from_list([{"q": "a", "text": "one"}])
    rows.save_to_disk(tmp_path / "one")
    DatasetDict({"test": rows}).save_to_disk(tmp_path / "split")
    columns = {"question": "q", "target": "text"}
    for path in ("./one", "./split"):
        assert only_window(load_from(path, columns=columns))[0].target == "one"
    with pytest.raises(DataError, match="no split 'tset'") as caught:
        load_from("./split", columns=columns, splits={"test": "tset"})
    assert caught.value.hint == "Did you mean 'test'?"


def test_the_only_file_serves_unless_it_is_another_split(
    load_from: LoadFrom, write_jsonl: WriteJsonl
) -> None:
    columns = {"question": "q", "target": "text"}
    write_jsonl("any/rows.jsonl", [{"q": "a", "text": "one"}])
    write_jsonl("other/train.jsonl", [{"q": "a", "text": "one"}])
    assert load_from("./any", columns=columns).size == 1
    with pytest.raises(DataError, match="no split 'test'") as caught:
        load_from("./other", columns=columns)
    assert "train.jsonl" in caught.value.hint


def test_a_configuration_is_a_folder(load_from: LoadFrom, write_jsonl: WriteJsonl) -> None:
    write_jsonl("set/en/test.jsonl", [{"q": "a", "text": "one"}])
    columns = {"question": "q", "target": "text"}
    with pytest.raises(DataError, match="no folder 'de'") as caught:
        load_from("./set", name="de", columns=columns)
    assert caught.value.hint == "It has: en."
    with pytest.raises(DataError, match="a file has no configurations"):
        load_from("./set/en/test.jsonl", name="en", columns=columns)


@pytest.mark.parametrize(
    "path",
    [
        *("./gone", "gone/rows.jsonl", "/gone/rows", "../gone", "", "~nosuchuser/x", "a\0b", "owner/na\0me"),
        *("\ud800", "a/b/c", "n" * 300, f"./{'n' * 300}.jsonl"),
    ],
)
def test_a_path_that_is_not_there_never_asks_the_hub(load_from: LoadFrom, path: str) -> None:
    with pytest.raises(DataError, match="there is no file or folder"):
        load_from(path)


def test_an_unknown_type_of_file(load_from: LoadFrom, tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_text("x")
    with pytest.raises(DataError, match=r"'\.xlsx' can't be read") as caught:
        load_from("./rows.xlsx")
    assert ".jsonl" in caught.value.hint


def test_what_is_neither_a_file_nor_a_folder(load_from: LoadFrom) -> None:
    with pytest.raises(DataError, match="/dev/null is neither a file nor a folder"):
        load_from("/dev/null")


def test_a_name_that_no_disk_takes(load_from: LoadFrom, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match="can't be read: File name too long"):
        load_from("./set", name="n" * 300)
    with pytest.raises(DataError, match="can't be read: File name too long"):
        load_from("./set", splits={"test": "n" * 300})


def test_a_disk_is_not_walked_for_a_message(
    load_from: LoadFrom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.data import local_source

    (tmp_path / "set").mkdir()
    looked_at = []

    def endless(folder: Path, pattern: str) -> Iterator[Path]:
        for number in range(10 * local_source._GLANCED_AT):
            looked_at.append(number)
            yield folder / f"{number}.txt"

    monkeypatch.setattr(Path, "rglob", endless)
    with pytest.raises(DataError, match="has no split 'test'"):
        load_from("./set")
    assert len(looked_at) <= local_source._GLANCED_AT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "rows.jsonl: the file holds no rows"),
        ("\n\n", "rows.jsonl: the file holds no rows"),
        ("no json\nneither\n", "rows.jsonl:1 Expecting value"),
        ('[{"q": "a", "text": "one"}]', "rows.jsonl:1 holds list, not an object"),
        ('{"q": "a"}\r{"q": "b"}\r', "rows.jsonl:1 Extra data"),
        ("{}\n", "rows.jsonl:1 is an empty object"),
    ],
    ids=["empty", "blank lines", "malformed", "a JSON array", "CR only", "an empty object"],
)
def test_a_file_without_a_readable_row_says_why(
    load_from: LoadFrom, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "rows.jsonl").write_text(content, newline="")
    with pytest.raises(DataError, match=message) as caught:
        load_from("./rows.jsonl", columns={"question": "q", "target": "text"})
    assert "has no column" not in caught.value.message


@pytest.mark.usefixtures("arrow_cache")
def test_a_parquet_file_of_no_rows(load_from: LoadFrom, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"q": pa.array([], pa.string()), "text": pa.array([], pa.string())})
    columns = {"question": "q", "target": "text"}
    (tmp_path / "set").mkdir()
    parquet.write_table(table, tmp_path / "set/test-0.parquet")
    with pytest.raises(DataError, match="holds no rows"):
        load_from("./set", columns=columns)
    write_parquet(tmp_path / "set/test-1.parquet", [{"q": "a", "text": "one"}])
    assert only_window(load_from("./set", columns=columns))[0].target == "one"


@pytest.mark.usefixtures("arrow_cache")
def test_reading_parquet_says_nothing(
    load_from: LoadFrom, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_parquet(
        tmp_path / "rows.parquet", [{"audio": {"bytes": tone(0, 0.1), "path": None}, "text": "one"}]
    )
    assert load_from("./rows.parquet").size == 1
    assert capfd.readouterr().err == ""
