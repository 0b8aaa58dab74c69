"""The shipped FLEURS task, unchanged, against a hub that serves FLEURS-shaped data and a tiny Whisper."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub.hub_server import HubServer, RepoKey
from tests.hub.repositories import TEXTS, fleurs
from tests.models.tiny import tiny_whisper

pytestmark = [pytest.mark.network, pytest.mark.heavy]


@pytest.fixture
def hub(tmp_path):
    model = tiny_whisper(tmp_path / "model", target_positions=24)
    repositories: dict[RepoKey, dict[str, Path]] = {
        ("model", "openai/whisper-small"): {"main": model},
        ("dataset", "google/fleurs"): fleurs(tmp_path / "fleurs"),
    }
    with HubServer(repositories) as server:
        yield server


@pytest.fixture
def on_hub(harness, hub, tmp_path):
    def run(*arguments: str, **variables: str):
        return harness(*arguments, **hub.environment(tmp_path / "home"), **variables)

    return run


def test_the_fleurs_task_runs_unchanged(on_hub, hub):
    done = on_hub("eval", "tasks/fleurs_asr.yaml", "--model", "openai/whisper-small", "--json")
    assert done.code == 0, done.err
    [run] = done.json()["runs"]
    assert run["data"]["n"] == len(TEXTS["en_us"])
    assert run["data"]["revision"]
    assert run["model"]["revision"]
    assert run["metrics"]["wer"]["signature"].startswith("normalizer:whisper-english")
    assert run["data"]["path"] == "google/fleurs"
    fetched = [path for path in hub.downloaded() if path.endswith(".parquet")]
    assert fetched
    assert all("en_us/test" in path for path in fetched), fetched


def test_another_language_is_one_flag_away(on_hub):
    done = on_hub("eval", "fleurs_asr", "--set", "lang=fr_fr", "--json")
    assert done.code == 0, done.err
    [run] = done.json()["runs"]
    assert run["params"] == {"lang": "fr_fr"}
    assert run["metrics"]["wer"]["signature"].startswith("normalizer:whisper-basic")


def test_translation_takes_its_references_from_the_english_rows(on_hub, tmp_path):
    import pyarrow.parquet as parquet

    done = on_hub("eval", "fleurs_translation", "--json")
    assert done.code == 0, done.err
    [run] = done.json()["runs"]
    assert run["metrics"]["bleu"]["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp")
    [samples] = (tmp_path / "results" / "samples").rglob("*.parquet")
    targets = parquet.read_table(samples)["target"].to_pylist()
    assert targets == [f"{text.capitalize()}." for text in TEXTS["en_us"][: len(targets)]]


def test_fetch_then_offline_with_the_hub_down(on_hub, hub):
    fetched = on_hub("fetch", "fleurs_asr", "--json")
    assert fetched.code == 0, fetched.err
    assert {item["what"] for item in fetched.json()["fetched"]} >= {"checkpoint openai/whisper-small"}
    hub.stop()
    online = on_hub("run", "fleurs_asr", "--set", "lang=fr_fr")
    assert online.code == 3
    offline = on_hub("eval", "fleurs_asr", "--offline", "--json")
    assert offline.code == 0, offline.err
    assert offline.json()["runs"][0]["data"]["revision"]


def test_without_network_the_error_says_what_works(on_hub, hub):
    hub.stop()
    done = on_hub("run", "fleurs_asr")
    assert done.code == 3
    assert "openai/whisper-small" in done.err
    assert "quickstart/spoken_digits" in done.err
    assert "Traceback" not in done.err


def test_a_language_it_lacks_ends_the_run_before_weights_or_data_come(on_hub, hub, tmp_path):
    (tmp_path / "task.yaml").write_text("extends: fleurs_asr\ngenerate: {language: klingon}\n")
    done = on_hub("run", "task.yaml")
    assert done.code == 2
    assert "klingon" in done.err
    assert not [path for path in hub.downloaded() if path.endswith((".parquet", ".safetensors"))]


@pytest.mark.parametrize("vocabulary", ["bytes", "multilingual"])
def test_dry_run_shows_the_prompt_and_the_labels(on_hub, hub, tmp_path, vocabulary):
    folder = tiny_whisper(tmp_path / vocabulary, vocabulary=vocabulary, target_positions=64)
    done = on_hub("run", "fleurs_asr", "--model", str(folder), "--dry-run", "--json")
    assert done.code == 0, done.err
    shown = done.json()
    labels = [one["token"] for one in shown["tokens"] if one["label"]]
    assert labels[:3] == ["<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    assert labels[-1] == "<|endoftext|>"
    assert shown["tokens"][0] == {"token": "<|startoftranscript|>", "label": False}


def test_a_stream_scores_like_a_download(on_hub, hub):
    streamed = on_hub("eval", "fleurs_asr", "--set", "data.streaming=true", "--json")
    assert streamed.code == 0, streamed.err
    downloaded = on_hub("eval", "fleurs_asr", "--json")
    a, b = streamed.json()["runs"][0], downloaded.json()["runs"][0]
    assert a["metrics"] == b["metrics"]
    assert a["spec_id"] == b["spec_id"]
    assert a["data"]["fingerprint"] == b["data"]["fingerprint"]
    assert b["speed"]["measured_samples"] == 0, "the same clips were predicted again"
