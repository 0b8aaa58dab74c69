"""The engine on a model without weights: batches, memory, failures, order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import data, models
from harness.errors import RunError
from harness.evaluation.predict import Engine
from harness.spec.load import load


def batches(log: Path) -> list[list[str]]:
    return [json.loads(line)["ids"] for line in log.read_text().splitlines()]


@pytest.fixture
def predict(tmp_path, dummy_task, monkeypatch):
    """Predicts dummy clips; returns samples, predictions and the engine, logging the batches."""
    log = tmp_path / "log.jsonl"
    monkeypatch.setenv("HARNESS_DUMMY_LOG", str(log))

    def predict(batch_size: int = 8, **options):
        [cell] = load(dummy_task(**options))
        log.unlink(missing_ok=True)
        adapter = models.load(cell.task, base=cell.base, device="cpu")
        dataset = data.load(cell.task.data, base=cell.base, inputs=("audio",))
        engine = Engine(
            adapter, tmp_path / "journal", batch_size=batch_size, workers=2, reuse=False, show_progress=False
        )
        return list(engine.run(dataset)), engine, log

    return predict


def test_similar_costs_share_a_batch_and_the_largest_come_first(predict):
    outcomes, _, log = predict(n=64)
    seconds = {id_: prediction.media_seconds for _, id_, prediction in outcomes}
    lengths = [[seconds[id_] for id_ in batch] for batch in batches(log)]
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat, reverse=True)
    assert [len(batch) for batch in lengths] == [8] * 8


def test_outcomes_come_in_the_datasets_order(predict):
    outcomes, _, _ = predict(n=40)
    assert [id_ for _, id_, _ in outcomes] == [f"test-{number:06d}" for number in range(40)]
    assert all(prediction.output == sample.target for sample, _, prediction in outcomes)


def test_out_of_memory_halves_the_batch_and_completes(predict):
    outcomes, _, log = predict(n=40, batch_size=16, model={"oom_above": 5})
    assert [prediction.output for _, _, prediction in outcomes] == [s.target for s, _, _ in outcomes]
    done = [len(batch) for batch in batches(log) if len(batch) <= 5]
    assert sum(done) == 40
    # The lesson is remembered: only batches that were on their way still met the limit.
    assert sum(len(batch) > 5 for batch in batches(log)) <= 8


def test_a_sample_that_alone_is_too_large_is_a_failure(predict):
    with pytest.raises(RunError, match="failed on every sample of its first batch"):
        predict(n=4, model={"oom_above": 0})


def test_samples_that_raise_are_typed_failures_and_the_rest_is_predicted(predict):
    outcomes, _, _ = predict(n=20, model={"fail_ids": ["test-000003", "test-000011"]}, unreadable=[5])
    errors = {id_: prediction.error.type for _, id_, prediction in outcomes if prediction.error}
    assert errors == {
        "test-000003": "PredictionError",
        "test-000005": "MediaError",
        "test-000011": "PredictionError",
    }
    assert all(prediction.output is None for _, id_, prediction in outcomes if id_ in errors)
    assert sum(prediction.output is not None for _, _, prediction in outcomes) == 17


def test_a_model_that_fails_on_everything_ends_the_run(predict):
    with pytest.raises(RunError, match="failed on every sample"):
        predict(n=20, model={"fail_ids": [f"test-{number:06d}" for number in range(20)]})


def test_the_fingerprint_tells_data_apart_and_nothing_else(predict):
    def fingerprint(**options):
        return predict(**options)[1].fingerprint

    same = fingerprint(n=20)
    assert fingerprint(n=20, batch_size=3, model={"error_rate": 0.5}) == same
    assert fingerprint(n=21) != same
    assert fingerprint(n=20, seed=1) != same
    assert fingerprint(n=20, unreadable=[4]) != same


def test_the_same_clip_asked_the_same_is_predicted_once(tmp_path, harness):
    import soundfile

    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(4):
        soundfile.write(folder / f"{number}.wav", [0.0, 0.1 * (number // 2 + 1)] * 800, 16000)
    rows = [{"file_name": f"{number}.wav", "text": "same words"} for number in range(4)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text('{"model_type": "harness-dummy"}')
    (tmp_path / "task.yaml").write_text(
        "name: t\nkind: asr\nmodel: {checkpoint: ./checkpoint}\nmetrics: [wer]\n"
        "data: {path: ./clips, columns: {audio: file_name, target: text}}\n"
    )
    log = tmp_path / "log.jsonl"
    done = harness("run", "task.yaml", "--json", HARNESS_DUMMY_LOG=str(log))
    assert done.code == 0, done.err
    assert done.json()["runs"][0]["data"]["n"] == 4
    assert sum(map(len, batches(log))) == 2
