"""Datasets from a hub: only what is asked for, at a known commit, and offline afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hub.hub_server import Commit, HubServer, RepoKey
from tests.hub.repositories import TEXTS

pytestmark = pytest.mark.network

Ask = Callable[..., Any]
FLEURS: dict[str, Any] = {
    "path": "google/fleurs",
    "name": "en_us",
    "revision": "refs/convert/parquet",
    "columns": {"audio": "audio", "target": "transcription", "group": "id"},
}
CLIPS: dict[str, Any] = {
    "path": "org/clips",
    "splits": {"test": "test.easy"},
    "columns": {"audio": "audio", "target": "text", "id": "id"},
}


def load(data: dict[str, Any], /, *, options: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {"do": "load", "data": {**data, **changes}, **(options or {})}


def test_only_the_files_of_the_split_are_downloaded(
    hub: HubServer, ask: Ask, repositories: dict[RepoKey, dict[str, Path]]
) -> None:
    [answer] = ask(load(FLEURS))
    converted = repositories["dataset", "google/fleurs"]["refs/convert/parquet"]
    assert hub.downloaded() == ["en_us/test/0000.parquet"]
    assert answer["targets"] == list(TEXTS["en_us"])
    assert answer["seconds"] == [0.3] * 4
    assert answer["revision"] == Commit(converted).sha


def test_the_readme_names_configurations_and_splits(hub: HubServer, ask: Ask) -> None:
    default, noisy = ask(load(CLIPS), load(CLIPS, name="noisy", splits={"test": "test"}))
    assert default["ids"] == [f"clean-{shard}-{row}" for shard in range(2) for row in range(3)]
    assert noisy["ids"] == ["noisy-0-0", "noisy-0-1", "noisy-0-2"]
    assert not [path for path in hub.downloaded() if "train" in path]


def test_an_audio_folder_comes_with_its_clips(hub: HubServer, ask: Ask) -> None:
    columns = {"audio": "audio", "target": "text"}
    [answer] = ask(load({"path": "org/folder", "columns": columns}))
    assert answer.get("targets") == ["test clip 0", "test clip 1"], answer
    assert answer["seconds"] == [0.3, 0.3]
    assert not [path for path in hub.downloaded() if path.startswith("train/")]


IMAGES = {
    "org/images": ({"image": "image", "target": "label"}, ["cat", "dog"], ["cat", "dog"]),
    "org/labelled": ({"image": "image", "target": "label"}, ["dog", "cat"], ["cat", "dog"]),
    "org/shards": ({"image": "webp", "target": "cls"}, ["0", "1", "2"], None),
}


def test_images_come_with_their_classes(hub: HubServer, ask: Ask) -> None:
    jobs = [load({"path": path, "columns": columns}) for path, (columns, _, _) in IMAGES.items()]
    streams = [load({**job["data"], "streaming": True}) for job in jobs]
    answers = ask(*jobs, *streams)
    for answer, (_, targets, names) in zip(answers, [*IMAGES.values()] * 2, strict=True):
        assert answer.get("targets") == targets, answer
        assert answer["class_names"] == names
        assert answer["sizes"] == [[48, 32]] * len(targets)
    assert not [path for path in hub.downloaded() if path.startswith("train/")]


SHARDS = {"path": "org/shards", "columns": {"image": "webp", "target": "cls"}}
NAMED = {"classes": {"names_file": "classnames.txt"}}


def test_names_of_classes_come_from_a_file_beside_the_shards(hub: HubServer, ask: Ask) -> None:
    options = {"kind": "zero_shot_classification", **NAMED}
    [fetched] = ask({"do": "fetch", "data": SHARDS, **NAMED})
    assert [path for path, _ in fetched["files"]] == [
        *(f"org/shards/{name}" for name in ("test/0.tar", "test/1.tar", "classnames.txt"))
    ]
    online, stream = ask(load(SHARDS, options=options), load(SHARDS, options=options, streaming=True))
    assert online.get("targets") == ["cat", "dog", "emu"], online
    assert online["class_names"] == stream["class_names"] == ["cat", "dog", "emu"]
    assert stream["targets"] == online["targets"]
    hub.stop()
    [offline] = ask(load(SHARDS, options={**options, "offline": True}))
    assert offline == online


def test_names_that_were_not_fetched_are_asked_for_offline(hub: HubServer, ask: Ask) -> None:
    options = {"kind": "zero_shot_classification", **NAMED}
    ask({"do": "fetch", "data": SHARDS})
    [offline] = ask(load(SHARDS, options={**options, "offline": True}))
    assert (offline["error"], "classnames.txt" in offline["message"]) == ("RemoteError", True)
    assert "harness fetch" in offline["hint"]


def test_a_file_of_names_that_the_repository_lacks(ask: Ask) -> None:
    options = {"kind": "linear_probe", "classes": {"names_file": "names.txt"}}
    loaded, fetched = ask(
        load(SHARDS, options=options), {"do": "fetch", "data": SHARDS, "classes": options["classes"]}
    )
    for answer in (loaded, fetched):
        assert answer["error"] == "DataError"
        assert answer["message"] == "org/shards has no file 'names.txt' (classes.names_file)"


def test_what_was_fetched_works_with_the_hub_down(hub: HubServer, ask: Ask) -> None:
    [fetched] = ask({"do": "fetch", "data": FLEURS})
    [(path, size)] = fetched["files"]
    assert path == "google/fleurs/en_us/test/0000.parquet"
    assert size > 1000
    [online] = ask(load(FLEURS))
    hub.stop()
    at_commit = {"revision": online["revision"]}
    offline, pinned = ask(
        load(FLEURS, options={"offline": True}), load(FLEURS, **at_commit, options={"offline": True})
    )
    assert offline == online
    assert pinned == online


def test_offline_without_a_fetch_says_what_to_do(hub: HubServer, ask: Ask) -> None:
    [by_flag] = ask(load(FLEURS, options={"offline": True}))
    [by_variable] = ask(load(FLEURS), HF_HUB_OFFLINE="1")
    assert by_flag == by_variable
    assert by_flag["error"] == "RemoteError"
    assert "harness fetch" in by_flag["hint"]
    assert hub.requests == []


def test_another_split_of_a_fetched_dataset_is_not_there_offline(ask: Ask) -> None:
    ask({"do": "fetch", "data": FLEURS})
    [answer] = ask(load(FLEURS, options={"offline": True, "split": "train"}))
    assert answer["error"] == "RemoteError"
    assert "split train" in answer["message"]


def test_half_a_download_is_not_served_offline(hub: HubServer, ask: Ask) -> None:
    hub.fail(r"resolve/.*00001-of-00002", status=403)
    [online] = ask(load(CLIPS))
    assert online["error"] == "RemoteError"
    [offline] = ask(load(CLIPS, options={"offline": True}))
    assert offline["error"] == "RemoteError"


def test_a_stream_has_the_same_samples(hub: HubServer, ask: Ask) -> None:
    stream, few, at_rest = ask(
        load(FLEURS, streaming=True),
        load(FLEURS, streaming=True, options={"limit": 2}),
        load(FLEURS),
    )
    assert stream["size"] is None
    assert {**stream, "size": 4} == at_rest
    assert set(few["ids"]) < set(at_rest["ids"])
    assert len(few["ids"]) == 2


def test_a_stream_that_is_refused(hub: HubServer, ask: Ask) -> None:
    hub.fail(r"resolve/.*parquet", status=403)
    [answer] = ask(load(FLEURS, streaming=True))
    assert answer["error"] == "RemoteError"
    assert "status 403" in answer["message"]


def test_targets_joined_from_another_configuration(hub: HubServer, ask: Ask) -> None:
    join = {"name": "en_us", "on": "id", "take": {"translation": "raw_transcription"}}
    columns = {"audio": "audio", "target": "translation", "group": "id"}
    [answer] = ask(load(FLEURS, name="fr_fr", join=join, columns=columns))
    assert answer["targets"] == [text.capitalize() + "." for text in TEXTS["en_us"]]
    assert sorted(hub.downloaded()) == ["en_us/test/0000.parquet", "fr_fr/test/0000.parquet"]


def test_a_script_names_its_cure(ask: Ask) -> None:
    [answer] = ask(load(FLEURS, revision=None))
    assert answer["error"] == "DataError"
    assert "revision: refs/convert/parquet" in answer["hint"]


WRONG_NAMES = [
    (load(FLEURS, name="en_uk"), "Did you mean 'en_us'?", "en_us, fr_fr"),
    (load(FLEURS, name=None), "names none", "en_us, fr_fr"),
    (load(FLEURS, splits={"test": "tset"}), "Did you mean 'test'?", "test, train, validation"),
    (load(CLIPS, name="noise"), "Did you mean 'noisy'?", "clean, noisy"),
    (load(CLIPS, splits={"test": "test.esy"}), "Did you mean 'test.easy'?", "test.easy, train"),
    (load(FLEURS, columns={"audio": "audio", "target": "transcript"}), "'transcription'?", "transcription"),
]


def test_a_wrong_name_suggests_the_near_one(ask: Ask) -> None:
    answers = ask(*[job for job, _, _ in WRONG_NAMES])
    for answer, (_, message, hint) in zip(answers, WRONG_NAMES, strict=True):
        assert answer["error"] == "DataError"
        assert message in answer["message"]
        assert hint in answer["hint"]


def test_what_the_hub_does_not_have(ask: Ask) -> None:
    no_repository, no_revision = ask(load(FLEURS, path="google/fluers"), load(FLEURS, revision="v9"))
    assert (no_repository["error"], no_repository["exit_code"]) == ("NotThereError", 2)
    assert "google/fluers doesn't exist" in no_repository["message"]
    assert (no_revision["error"], no_revision["exit_code"]) == ("NotThereError", 2)
    assert "no such revision" in no_revision["message"]


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ({"status": 500}, "could not serve the dataset google/fleurs (status 500)"),
        ({"status": 401, "error_code": "GatedRepo"}, "is gated"),
        ({"status": 403}, "refused access to the dataset google/fleurs (status 403)"),
        ({"hang_up": True}, "could not be reached"),
    ],
    ids=["500", "gated", "403", "hang up"],
)
def test_a_hub_that_refuses(hub: HubServer, ask: Ask, failure: dict[str, Any], message: str) -> None:
    hub.fail("/api/", **failure)
    [answer] = ask(load(FLEURS))
    assert (answer["error"], answer["exit_code"]) == ("RemoteError", 3)
    assert message in answer["message"]


def test_a_hub_that_recovers(hub: HubServer, ask: Ask) -> None:
    hub.fail("/api/", status=503, times=1)
    [answer] = ask(load(FLEURS))
    if "error" in answer:
        [answer] = ask(load(FLEURS))
    assert answer["targets"] == list(TEXTS["en_us"])


def test_a_hub_that_is_down(hub: HubServer, ask: Ask) -> None:
    hub.stop()
    [answer] = ask(load(FLEURS))
    assert (answer["error"], answer["exit_code"]) == ("RemoteError", 3)
    assert hub.url in answer["message"]
    assert "quickstart/spoken_digits" in answer["hint"]
