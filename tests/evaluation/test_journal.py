"""The journal survives what happens to files."""

from __future__ import annotations

import pytest

from harness.errors import RunError
from harness.evaluation.journal import Journal

KEYS = [f"{number:064x}" for number in range(6)]


def rows(*numbers: int):
    return [(KEYS[number], {"output": f"text {number}"}) for number in numbers]


def scanned(folder, run="r") -> Journal:
    journal = Journal(folder, run)
    journal.scan()
    return journal


def test_what_one_process_wrote_another_reads(tmp_path):
    first = Journal(tmp_path, "a")
    first.append(rows(0, 1))
    second = Journal(tmp_path, "b")
    second.append(rows(2))
    reader = scanned(tmp_path, "b")
    assert [key in reader for key in KEYS[:4]] == [True, True, True, False]
    assert reader.read(KEYS[0]) == {"error": None, "output": "text 0", "fresh": False}
    assert reader.read(KEYS[2])["fresh"] is True
    for journal in (first, second, reader):
        journal.close()


@pytest.mark.parametrize("cut", [1, 5, 70, 100])
def test_a_torn_last_line_is_not_a_prediction(tmp_path, cut):
    journal = Journal(tmp_path, "a")
    journal.append(rows(0, 1, 2))
    journal.close()
    [segment] = tmp_path.glob("*.jsonl")
    segment.write_bytes(segment.read_bytes()[:-cut])
    reader = scanned(tmp_path)
    assert [key in reader for key in KEYS[:3]] == [True, True, False]
    assert reader.read(KEYS[1])["output"] == "text 1"
    reader.close()


def test_each_scan_reads_what_came_since(tmp_path):
    first, reader = Journal(tmp_path, "a"), Journal(tmp_path, "b")
    first.append(rows(0))
    reader.scan()
    [segment] = tmp_path.glob("*.jsonl")
    whole = segment.read_bytes()
    first.append(rows(1))
    second = Journal(tmp_path, "c")
    second.append(rows(2))
    segment.write_bytes(segment.read_bytes().replace(whole, b"#" * len(whole)))  # it isn't read again
    reader.scan()
    assert [key in reader for key in KEYS[:4]] == [True, True, True, False]
    assert [reader.read(key)["output"] for key in KEYS[1:3]] == ["text 1", "text 2"]
    for journal in (first, second, reader):
        journal.close()


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path):
    writer = Journal(tmp_path, "a")
    writer.append(rows(0, 1))
    writer.close()
    [segment] = tmp_path.glob("*.jsonl")
    whole = segment.read_bytes()
    reader = Journal(tmp_path, "b")
    segment.write_bytes(whole[:-7])
    reader.scan()
    assert KEYS[1] not in reader
    segment.write_bytes(whole)
    reader.scan()
    assert reader.read(KEYS[1])["output"] == "text 1"
    reader.close()


def test_a_cache_that_was_deleted_has_nothing(tmp_path):
    writer = Journal(tmp_path, "a")
    writer.append(rows(0))
    writer.close()
    reader = scanned(tmp_path)
    for segment in tmp_path.glob("*.jsonl"):
        segment.unlink()
    reader.scan()
    assert KEYS[0] not in reader
    reader.close()


def test_a_flipped_bit_is_not_a_prediction(tmp_path):
    journal = Journal(tmp_path, "a")
    journal.append(rows(0, 1))
    journal.close()
    [segment] = tmp_path.glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b"text 0", b"text 9"))
    reader = scanned(tmp_path)
    assert KEYS[0] not in reader
    assert KEYS[1] in reader
    reader.close()


def test_damage_after_the_scan_is_an_error_and_not_an_answer(tmp_path):
    journal = Journal(tmp_path, "a")
    journal.append(rows(0))
    journal.close()
    reader = scanned(tmp_path)
    [segment] = tmp_path.glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b"text 0", b"text 9"))
    with pytest.raises(RunError, match="damaged"):
        reader.read(KEYS[0])
    reader.close()


def test_a_failure_counts_for_its_own_run_only(tmp_path):
    journal = Journal(tmp_path, "a")
    journal.append([(KEYS[0], {"error": {"type": "MediaError", "message": "cut off"}})])
    journal.close()
    own, other = scanned(tmp_path, "a"), scanned(tmp_path, "b")
    assert KEYS[0] not in own
    assert own.read(KEYS[0])["error"]["type"] == "MediaError"
    with pytest.raises(KeyError):
        other.read(KEYS[0])
    own.close()
    other.close()


def test_a_damaged_key_is_not_a_prediction(tmp_path):
    journal = Journal(tmp_path, "a")
    journal.append(rows(0, 1))
    journal.close()
    [segment] = tmp_path.glob("*.jsonl")
    content = segment.read_bytes()
    segment.write_bytes(b"zz" + content[2:])
    (tmp_path / "folder.jsonl").mkdir()
    reader = scanned(tmp_path)
    assert [key in reader for key in KEYS[:2]] == [False, True]
    reader.close()


def test_a_cache_that_can_not_be_written_names_the_folder(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    journal = Journal(tmp_path / "file" / "context", "a")
    with pytest.raises(RunError, match="predictions can't be kept in"):
        journal.append(rows(0))
