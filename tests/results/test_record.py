"""What a record promises: a name made from its content, strict JSON, and nothing lost."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.errors import ResultError
from harness.results.record import Draft, NewerSchemaWarning, TrainPart, from_json, seal, to_json
from tests.results.examples import draft, score

FILE = Path("runs/ab/record.json")


def rewritten(change: dict[str, Any], *, sealed: bool = True) -> str:
    """The text of a record with some fields changed, with the run id that belongs to them or the old one."""
    payload = json.loads(to_json(seal(draft()))) | change
    content = {key: value for key, value in payload.items() if key != "run_id"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps(payload | ({"run_id": hashlib.sha256(text.encode()).hexdigest()} if sealed else {}))


def test_run_id_is_the_hash_of_sorted_compact_json_without_the_id():
    record = seal(draft())
    content = {key: value for key, value in json.loads(to_json(record)).items() if key != "run_id"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert record.run_id == hashlib.sha256(text.encode("utf-8")).hexdigest()


def test_reading_gives_back_what_was_written():
    record = seal(draft(params={"lang": "fr_fr", "titre": "Être"}))
    assert from_json(to_json(record), FILE) == record
    assert "Être" in to_json(record)


def test_the_same_run_has_the_same_id_and_another_run_another():
    assert seal(draft(1)).run_id == seal(draft(1)).run_id
    assert seal(draft(1)).run_id != seal(draft(2)).run_id


def test_a_fine_tune_written_before_a_field_existed_still_verifies():
    old = from_json(rewritten({"parent": "a" * 64, "train": {"method": "lora", "steps": 300}}), FILE)
    assert old.train
    assert (old.train.method, old.train.steps, old.train.train_id, old.train.curve) == ("lora", 300, None, ())


def test_steps_of_a_curve_stay_whole_numbers():
    train = {"method": "lora", "curve": [{"step": 40, "wer": 3.5}]}
    assert '"step": 40,' in to_json(seal(draft(train=TrainPart.model_validate(train))))


def test_the_metrics_keep_the_order_of_the_task():
    assert list(from_json(to_json(seal(draft())), FILE).metrics) == ["wer", "cer"]


def test_undefined_numbers_become_null():
    undefined = draft(metrics={"wer": score(math.nan, (math.nan, math.inf))}, params={"x": math.inf})
    payload = json.loads(to_json(seal(undefined)), parse_constant=pytest.fail)
    assert payload["metrics"]["wer"]["value"] is None
    assert payload["metrics"]["wer"]["ci95"] is None
    assert payload["params"] == {"x": None}


def test_a_path_that_is_no_unicode_cannot_lose_a_finished_run():
    record = seal(draft(params={"file": b"caf\xe9.wav".decode("utf-8", "surrogateescape")}))
    assert from_json(to_json(record).encode().decode(), FILE) == record


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (rewritten({"task": "another"}, sealed=False), "doesn't match its run_id"),
        (rewritten({"seed": None}), "missing or wrong: seed"),
        (rewritten({"metrics": {"wer": {"n": 3}}}), "metrics.wer.value"),
        (rewritten({"schema_version": "one"}), "schema_version"),
        (to_json(seal(draft()))[:-40], "isn't JSON"),
        ('{"value": NaN}', "NaN is not JSON"),
        ("[]", "not a JSON object"),
        ("", "isn't JSON"),
    ],
)
def test_a_damaged_record_is_named_with_the_reason(text: str, why: str):
    with pytest.raises(ResultError) as caught:
        from_json(text, FILE)
    assert str(FILE) in caught.value.message
    assert why in caught.value.message
    assert caught.value.hint


def test_what_a_newer_harness_wrote_is_read_with_a_warning_and_kept():
    text = rewritten({"schema_version": 2, "carbon": {"grams": 3.5}})
    with pytest.warns(NewerSchemaWarning, match="schema 2"):
        record = from_json(text, FILE)
    assert record.task == "spoken_digits"
    assert json.loads(to_json(record))["carbon"] == {"grams": 3.5}


def test_a_newer_record_that_cannot_be_read_asks_for_an_update():
    text = rewritten({"schema_version": 2, "seed": "none"})
    with pytest.warns(NewerSchemaWarning), pytest.raises(ResultError) as caught:
        from_json(text, FILE)
    assert "seed" in caught.value.message
    assert "--upgrade mm-harness" in caught.value.hint


def test_a_record_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        seal(draft()).task = "another"  # type: ignore[misc]


def test_times_need_a_zone():
    with pytest.raises(ValidationError, match="started"):
        Draft(**{**draft().model_dump(), "started": "2026-11-21T09:00:00"})
