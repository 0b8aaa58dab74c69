"""What the results folder promises to one process: whole files, found again, never changed."""

import errno
import hashlib
import json
import os
import resource
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from harness.errors import ResultError, RunError
from harness.results.rows import ROWS_PER_GROUP
from harness.results.store import Store
from tests.results.examples import ROWS, added, batch, draft, written


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def files(store: Store) -> dict[str, bytes]:
    """Everything in the folder, the index apart, by path."""
    found = [path for path in store.root.rglob("*") if path.is_file() and path.name != "index.parquet"]
    return {str(path.relative_to(store.root)): path.read_bytes() for path in found}


def test_a_run_is_two_files_named_by_its_id(store: Store):
    run_id = added(store).run_id
    assert set(files(store)) == {f"runs/{run_id[:2]}/{run_id}.json", f"samples/{run_id[:2]}/{run_id}.parquet"}


def test_record_and_rows_come_back(store: Store):
    record = added(store)
    assert store.get(record.run_id) == record
    assert store.samples(record.run_id).to_pylist() == [{"id": "sample-0", "edits": 1.0}]


def test_adding_the_same_run_again_changes_nothing(store: Store):
    first, before = added(store), files(store)
    assert added(store) == first
    assert files(store) == before


def test_a_run_without_rows_is_a_run(store: Store):
    record = store.add(draft())
    assert store.runs() == [record]
    with pytest.raises(ResultError, match="missing"):
        store.samples(record.run_id)


def test_runs_are_listed_oldest_first_and_by_task(store: Store):
    late, early, other = added(store, 5), added(store, 1), added(store, 3, task="fleurs_asr")
    assert store.runs() == [early, other, late]
    assert store.runs(task="fleurs_asr") == [other]


def test_a_folder_that_is_not_there_has_no_runs(store: Store):
    assert store.runs() == []
    assert store.index().num_rows == 0
    assert not store.root.exists()
    with pytest.raises(ResultError, match="no runs"):
        store.get("latest")


class TestFindingARun:
    def test_by_the_beginning_of_its_id(self, store: Store):
        record = added(store)
        added(store, 1)
        assert store.get(record.run_id[:8]) == record

    def test_latest_is_the_one_that_ended_last(self, store: Store):
        last = added(store, 7)
        added(store, 2)
        assert store.get("latest") == store.get("latest~0") == last
        assert store.get("latest~1").ended <= last.ended
        with pytest.raises(ResultError, match="there are only"):
            store.get("latest~99")

    def test_several_are_listed(self, store: Store, monkeypatch: pytest.MonkeyPatch):
        ids = ["abcd" + letter * 60 for letter in "12"]
        monkeypatch.setattr(Store, "run_ids", lambda self: ids)
        with pytest.raises(ResultError, match="abcd11111111, abcd22222222"):
            store.get("abcd")

    def test_none_suggests_the_near_one(self, store: Store):
        run_id = added(store).run_id
        wrong = run_id[:7] + ("0" if run_id[7] != "0" else "1")
        with pytest.raises(ResultError) as caught:
            store.get(wrong)
        assert run_id[:8] in caught.value.hint

    def test_three_characters_are_too_few(self, store: Store):
        with pytest.raises(ResultError, match="too short"):
            store.get(added(store).run_id[:3])


class TestDamage:
    def test_a_changed_record_is_named(self, store: Store):
        path = store.record_path(added(store).run_id)
        path.write_text(path.read_text().replace('"spoken_digits"', '"written_digits"'))
        with pytest.raises(ResultError, match=path.name):
            store.runs()

    def test_a_renamed_record_is_named(self, store: Store):
        path = store.record_path(added(store).run_id)
        renamed = store.record_path("0" * 64)
        renamed.parent.mkdir(exist_ok=True)
        path.rename(renamed)
        with pytest.raises(ResultError, match="named after another run"):
            store.runs()

    def test_changed_rows_are_named(self, store: Store):
        run_id = added(store).run_id
        shutil.copy(written(store, "other"), store.samples_path(run_id))
        with pytest.raises(ResultError, match="differ from what was recorded"):
            store.samples(run_id)


class TestRows:
    @pytest.mark.parametrize("size", [1, 700, ROWS_PER_GROUP])
    def test_bytes_depend_on_the_rows_and_not_on_the_batches(self, store: Store, size: int):
        ids = [hashlib.sha256(b"%d" % number).hexdigest() * 8 for number in range(2 * ROWS_PER_GROUP + 3)]
        with store.samples_writer(ROWS) as in_batches:
            for start in range(0, len(ids), size):
                in_batches.write(batch(*ids[start : start + size]))
        at_once = written(store, *ids)
        assert at_once.read_bytes() == in_batches.path.read_bytes()
        assert pyarrow.parquet.read_table(at_once)["id"].to_pylist() == ids
        assert pyarrow.parquet.ParquetFile(at_once).num_row_groups == 3

    def test_no_rows_are_a_file_too(self, store: Store):
        record = store.add(draft(), written(store))
        assert store.samples(record.run_id).num_rows == 0

    def test_they_are_compressed_with_zstd(self, store: Store):
        metadata = pyarrow.parquet.ParquetFile(written(store, "a")).metadata
        assert metadata.row_group(0).column(0).compression == "ZSTD"

    def test_nothing_stays_when_the_writer_is_interrupted(self, store: Store):
        with suppress(KeyboardInterrupt), store.samples_writer(ROWS) as writer:
            writer.write(batch("a"))
            raise KeyboardInterrupt
        assert files(store) == {}

    def test_an_error_of_the_caller_is_not_taken_for_one_of_the_disk(self, store: Store):
        with pytest.raises(FileNotFoundError), store.samples_writer(ROWS):
            Path(store.root / "clip.wav").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which file a descriptor is")
def test_rows_before_record_and_each_on_disk_before_it_gets_its_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    events = []
    sync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        events.append(("sync", "folder" if path.is_dir() else path.parent.relative_to(store.root).parts[0]))
        sync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        events.append(("rename", target.relative_to(store.root).parts[0]))
        return rename(path, target)

    added(store)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    added(store, 1)
    assert [event for event in events if event != ("sync", "folder")] == [
        ("sync", "samples"),
        ("rename", "samples"),
        ("sync", "runs"),
        ("rename", "runs"),
    ]
    assert events[-1] == ("sync", "folder")


class TestIndex:
    def test_it_has_a_row_per_run(self, store: Store):
        records = [added(store, number) for number in (2, 1)]
        table = store.index().to_pylist()
        assert [row["run_id"] for row in table] == [records[1].run_id, records[0].run_id]
        assert (table[0]["metric"], table[0]["value"], table[0]["low"]) == ("wer", 13.5, 10.0)

    def test_rebuilt_it_is_the_same(self, store: Store):
        added(store, 1)
        before, path = store.index(), store.root / "index.parquet"
        stored = path.read_bytes()
        path.unlink()
        assert store.rebuild_index().equals(before)
        assert path.read_bytes() == stored

    def test_it_notices_new_and_vanished_runs(self, store: Store):
        first = added(store, 1)
        store.index()
        second = added(store, 2)
        assert store.index()["run_id"].to_pylist() == [first.run_id, second.run_id]
        store.record_path(first.run_id).unlink()
        assert store.index()["run_id"].to_pylist() == [second.run_id]

    def test_it_is_used_while_it_is_fresh(self, store: Store, monkeypatch: pytest.MonkeyPatch):
        added(store, 1)
        store.index()
        added(store, 2)
        table = store.index()
        monkeypatch.setattr(Store, "runs", lambda self, task=None: pytest.fail("read the records again"))
        assert store.index().equals(table)

    @pytest.mark.parametrize("content", [b"", b"not parquet", None])
    def test_a_damaged_one_is_made_anew(self, store: Store, content: bytes | None):
        record = added(store)
        path = store.root / "index.parquet"
        path.write_bytes(written(store, "a").read_bytes() if content is None else content)
        assert store.index()["run_id"].to_pylist() == [record.run_id]


def test_two_folders_merge_by_copying(tmp_path: Path):
    ours, theirs = Store(tmp_path / "ours"), Store(tmp_path / "theirs")
    shared = [added(store, 0) for store in (ours, theirs)]
    records = [shared[0], added(ours, 1), added(theirs, 2, params={"voice": "en-us"})]
    assert [row["run_id"] for row in ours.index().to_pylist()] == [records[0].run_id, records[1].run_id]
    theirs.index()
    shutil.copytree(theirs.root, ours.root, dirs_exist_ok=True)
    assert ours.runs() == records
    assert ours.index()["run_id"].to_pylist() == [record.run_id for record in records]
    assert ours.samples(records[2].run_id)["id"].to_pylist() == ["sample-2"]


def test_what_a_newer_harness_wrote_survives_the_merge_and_the_index(store: Store):
    record = store.add(draft(carbon={"grams": 3.5}))
    store.rebuild_index()
    assert json.loads(store.record_path(record.run_id).read_text())["carbon"] == {"grams": 3.5}


class TestSweep:
    def test_what_dead_writers_left_goes_after_a_day_and_nothing_else(self, store: Store):
        record = added(store)
        orphan = store.samples_path("f" * 64)
        orphan.parent.mkdir(parents=True, exist_ok=True)
        written(store, "a").rename(orphan)
        temporary = written(store, "b")
        own = [store.root / "notes" / ".draft.tmp", store.root / "samples" / "my" / "voices.parquet"]
        for path in own:
            path.parent.mkdir()
            path.touch()
        assert store.runs() == [record]
        assert store.sweep() == []
        yesterday = time.time() - 25 * 60 * 60
        for path in store.root.rglob("*.*"):
            os.utime(path, (yesterday, yesterday))
        assert set(store.sweep()) == {orphan, temporary}
        assert all(path.exists() for path in own)
        assert store.samples(record.run_id).num_rows == 1

    def test_a_file_that_vanishes_meanwhile_is_somebody_elses(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ):
        gone = store.samples_path("f" * 64)
        monkeypatch.setattr(Store, "_abandoned", lambda self: iter([gone]))
        assert store.sweep(older_than_seconds=-1) == []


class TestFullDisk:
    def test_nothing_half_written_is_visible(self, store: Store, monkeypatch: pytest.MonkeyPatch):
        first = added(store)
        before = files(store)

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="No space left"):
            added(store, 1)
        assert files(store) == before
        assert store.runs() == [first]
        assert store.get("latest") == first

    def test_a_record_that_does_not_fit_leaves_the_store_as_it_was(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ):
        samples = written(store, "a")
        sync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda descriptor: refuse_regular(descriptor, sync))
        with pytest.raises(RunError, match=r"runs.*No space left"):
            store.add(draft(), samples)
        assert store.runs() == []

    def test_the_kernel_refusing_a_byte_is_met_while_rows_are_written(self, store: Store, file_limit: None):
        noise = [os.urandom(512).hex() for _ in range(9000)]
        with pytest.raises(RunError, match="File too large"), store.samples_writer(ROWS) as writer:
            writer.write(batch(*noise))
        assert files(store) == {}


def refuse_regular(descriptor: int, sync: object) -> None:
    """The folders sync, the files don't fit."""
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert callable(sync)
    sync(descriptor)


@pytest.fixture
def file_limit() -> Iterator[None]:
    """No file may grow beyond 100 kB. (Python ignores SIGXFSZ, so the write fails.)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def read_only() -> Iterator[Store]:
    """A results folder of somebody else. Root may write anywhere, so root becomes nobody."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    store = Store(folder / "results")
    added(store)
    for path in (store.root, *store.root.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield store
    if root:
        os.seteuid(0)
    for path in (store.root, *store.root.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(folder)


class TestReadOnlyFolder:
    def test_writing_is_refused_with_the_way_out(self, read_only: Store):
        with pytest.raises(ResultError, match="Permission denied") as caught:
            written(read_only, "a")
        assert "--results" in caught.value.hint

    def test_reading_and_listing_work(self, read_only: Store):
        [record] = read_only.runs()
        assert read_only.index()["run_id"].to_pylist() == [record.run_id]
        assert read_only.get("latest") == record
