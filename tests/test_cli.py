"""The command line as its users meet it: exit codes, one JSON object, errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile


def test_run_prints_scores_with_intervals_and_where_everything_is(harness, dummy_task, tmp_path):
    dummy_task(
        n=60,
        model={"error_rate": 0.2},
        unreadable=[3],
    )
    done = harness("run", "task.yaml", "--set", "run.max_failures=0.1")
    assert done.code == 0, done.err
    [record] = (tmp_path / "results" / "runs").rglob("*.json")
    for text in (
        "WER ↓%",
        "95% interval",
        " to ",
        "What costs the most",
        "1 of 60 samples failed",
        record.stem[:12],
    ):
        assert text in done.out
    assert "test-000003  MediaError: " in done.out


def test_json_is_one_object_and_the_record(harness, dummy_task, tmp_path):
    dummy_task(n=20)
    done = harness("eval", "task.yaml", "--json", "--results", "here")
    payload = done.json()
    assert set(payload) == {"runs", "comparison", "baselines"}
    [run] = payload["runs"]
    [stored] = (tmp_path / "here" / "runs").rglob("*.json")
    assert json.loads(stored.read_text()) == run
    assert run["metrics"]["wer"]["value"] == 0.0
    assert run["speed"]["measured_samples"] == 20


def test_run_has_room_for_comparisons_and_eval_does_not_train(harness, dummy_task):
    dummy_task(n=5)
    payload = harness("run", "task.yaml", "--json").json()
    assert {name: payload[name] for name in ("comparison", "comparisons", "kept")} == {
        "comparison": None,
        "comparisons": [],
        "kept": [],
    }
    assert "--no-train" in harness("run", "--help").out
    assert "--no-train" not in harness("eval", "--help").out


def test_too_many_failures_are_exit_code_4_with_the_list_and_a_record(harness, dummy_task, tmp_path):
    dummy_task(n=20, unreadable=[1, 2, 3])
    done = harness("run", "task.yaml")
    assert done.code == 4
    assert "3 of 20 samples failed, more than run.max_failures (1.0%) allows" in done.err
    assert "test-000002  MediaError" in done.out
    assert list((tmp_path / "results" / "runs").rglob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["rum", "x"], "there is no command 'rum'", "Did you mean 'run'?"),
        (["run", "fleurs_ars"], "there is no task file 'fleurs_ars'", "Did you mean 'fleurs_asr'?"),
        (["run", "fleurs_asr", "--set", "lan=fr"], "--set lan", "Did you mean 'lang'?"),
        (["run", "fleurs_asr", "--set", "lang"], "--set lang: expected NAME=VALUE", ""),
        (["run", "fleurs_asr", "--limit", "0"], "'0' is not a number of samples", ""),
        (["show", "nothing_like_it"], "there is no task file 'nothing_like_it'", ""),
        (["compare", "abcd1234", "abcd5678"], "there is no run 'abcd1234'", ""),
        (["score", "fleurs_asr", "--predictions", "none.jsonl"], "none.jsonl: can't be read", ""),
    ],
)
def test_wrong_input_is_exit_code_2_without_a_traceback(harness, arguments, message, hint):
    done = harness(*arguments)
    assert done.code == 2
    assert message in done.err
    assert hint in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_every_fault_of_a_task_file_is_printed_once_with_its_line(harness, tmp_path):
    (tmp_path / "broken.yaml").write_text(
        "name: broken\nkind: asr\ndata:\n  path: owner/name\n  colums: {}\n  columns: {audio: a, target: t}\n"
        "model: {checkpoint: x}\nmetrics: [blue]\n"
    )
    for command in (["run", "broken.yaml"], ["validate", "broken.yaml"], ["validate", "."]):
        done = harness(*command)
        assert done.code == 2
        assert done.err.splitlines()[:2] == [
            "broken.yaml:5  data.colums: unknown key. Did you mean 'columns'?",
            "broken.yaml:8  metrics[0]: there is no metric 'blue'. Did you mean 'bleu'?",
        ]


def test_a_column_that_is_not_there_is_refused_before_any_model_is_loaded(harness, dummy_task, tmp_path):
    dummy_task(n=5)
    task = (tmp_path / "task.yaml").read_text().replace('"target": "target"', '"target": "targte"')
    (tmp_path / "task.yaml").write_text(task)
    done = harness("run", "task.yaml")
    assert done.code == 2
    assert "targte" in done.err
    assert "Did you mean 'target'?" in done.err


def test_a_checkpoint_that_is_not_there_says_so(harness, dummy_task):
    dummy_task(n=5)
    done = harness("run", "task.yaml", "--model", "./nowhere")
    assert done.code == 2
    assert "nowhere" in done.err
    assert "Traceback" not in done.err


def test_a_model_s_path_is_relative_to_where_the_user_stands(harness, dummy_task, tmp_path):
    dummy_task(n=5)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "task.yaml").rename(tmp_path / "tasks" / "task.yaml")
    done = harness("run", "tasks/task.yaml", "--model", "./checkpoint", "--json")
    assert done.code == 0, done.err
    assert done.json()["runs"][0]["model"]["checkpoint"] == "checkpoint"


def test_shipped_tasks_are_valid(harness):
    from tests.conftest import ROOT

    done = harness("validate", str(ROOT / "tasks"))
    assert done.code == 0, done.err


def test_show_tells_where_each_value_comes_from(harness):
    done = harness("show", "fleurs_asr", "--set", "lang=fr_fr")
    assert done.code == 0, done.err
    flat = " ".join(done.out.split())
    assert "--set lang=fr_fr" in flat
    assert "tasks/kinds/asr.yaml:3" in flat
    assert "spec_id" in flat
    payload = harness("show", "fleurs_asr", "--json").json()
    assert payload["cells"][0]["data"]["path"] == "google/fleurs"


def test_show_schema_explains_every_key(harness):
    done = harness("show", "--schema", "--json")
    assert "Samples per batch" in done.out
    assert harness("show", "--schema").code == 0


def test_tables_of_keys_can_be_read_at_80_columns(harness):
    for arguments, phrase in (
        (("show", "--schema"), "Peak learning rate;"),
        (("show", "quickstart/spoken_digits"), "(tasks/quickstart/spoken_digits.yaml:"),
    ):
        done = harness(*arguments, COLUMNS="80")
        assert phrase in done.out
        assert max(map(len, done.out.splitlines())) <= 80


def test_list_tasks_models_metrics_runs(harness, dummy_task):
    dummy_task(n=5)
    assert harness("run", "task.yaml").code == 0
    for what, expected in {
        "tasks": "fleurs_asr",
        "models": "whisper",
        "metrics": "chrf++",
        "runs": "engine",
    }.items():
        done = harness("list", what, "--json")
        assert expected in json.dumps(done.json()[what]), done.err
        assert harness("list", what).code == 0


def test_score_stored_predictions_agrees_with_run(harness, dummy_task, tmp_path):
    import pyarrow.parquet as parquet

    dummy_task(n=40, model={"error_rate": 0.3})
    ran = harness("run", "task.yaml", "--json").json()["runs"][0]
    [samples] = (tmp_path / "results" / "samples").rglob("*.parquet")
    rows = parquet.read_table(samples, columns=["id", "prediction"]).to_pylist()
    (tmp_path / "stored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = harness("score", "task.yaml", "--predictions", "stored.jsonl", "--json")
    scored = done.json()["runs"][0]
    assert scored["metrics"] == ran["metrics"]
    assert scored["data"]["fingerprint"] == ran["data"]["fingerprint"]
    assert scored["spec_id"] == ran["spec_id"]
    compared = harness("compare", ran["run_id"], scored["run_id"], "--json")
    assert compared.json()["difference"] == 0


def test_score_with_targets_in_the_file_needs_no_data(harness, dummy_task, tmp_path):
    dummy_task(n=1)
    rows = [
        {"id": "a", "prediction": "hello", "target": "hello world"},
        {"id": "b", "prediction": "a b c d", "target": "a b c d"},
        {"id": "c", "prediction": None, "target": "lost", "error": "time-out"},
    ]
    (tmp_path / "stored.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = harness(
        "score", "task.yaml", "--predictions", "stored.jsonl", "--json", "--set", "run.max_failures=0.5"
    )
    [run] = done.json()["runs"]
    assert run["metrics"]["wer"]["value"] == pytest.approx(100 / 6)
    assert run["failures"]["by_type"] == {"StoredError": 1}


def test_score_names_every_bad_line(harness, dummy_task, tmp_path):
    dummy_task(n=1)
    lines = [
        '{"id": "a", "prediction": "x"}',
        "{oops",
        '{"id": "a", "prediction": "y"}',
        '{"prediction": "z"}',
    ]
    (tmp_path / "stored.jsonl").write_text("\n".join(lines))
    done = harness("score", "task.yaml", "--predictions", "stored.jsonl")
    assert done.code == 2
    for text in (
        "stored.jsonl:2  not valid JSON",
        "stored.jsonl:3  id 'a' occurs twice",
        "stored.jsonl:4  lacks id",
    ):
        assert text in done.err


def test_compare_says_how_sure_it_is_and_shows_the_words(harness, dummy_task):
    dummy_task(n=80, model={"error_rate": 0.3})
    a = harness("run", "task.yaml", "--json").json()["runs"][0]["run_id"]
    dummy_task(n=80, model={"error_rate": 0.05})
    b = harness("run", "task.yaml", "--json").json()["runs"][0]["run_id"]
    found = harness("compare", a[:10], b[:10], "--json").json()
    assert found["difference"] < 0
    assert found["ci95"][1] < 0
    assert found["p"] < 0.01
    shown = harness("compare", a, b)
    assert shown.code == 0, shown.err
    assert "better" in shown.out


def test_compare_refuses_what_is_not_comparable(harness, dummy_task):
    dummy_task(n=30)
    a = harness("run", "task.yaml", "--json").json()["runs"][0]["run_id"]
    b = harness("run", "task.yaml", "--json", "--set", "generate.num_beams=2").json()["runs"][0]["run_id"]
    c = harness("run", "task.yaml", "--json", "--limit", "10").json()["runs"][0]["run_id"]
    for other in (b, c):
        done = harness("compare", a, other)
        assert done.code == 2
        assert "Traceback" not in done.err
        assert done.err.startswith("error: ")


def test_dry_run_shows_a_sample_and_writes_nothing(harness, dummy_task, tmp_path):
    dummy_task(n=5)
    done = harness("run", "task.yaml", "--dry-run")
    assert done.code == 0, done.err
    assert "Sample test-000000 as the model sees it" in done.out
    assert not (tmp_path / "results").exists()


def test_dry_run_passes_over_what_cannot_be_shown(harness, dummy_task, tmp_path):
    file = dummy_task()
    task = json.loads(file.read_text())
    task["data"] = {
        "path": "./rows.jsonl",
        "splits": {"test": "train"},
        "columns": {"audio": "audio", "target": "target"},
    }
    file.write_text(json.dumps(task))
    soundfile.write(tmp_path / "a.wav", [0.0] * 1600, 16_000)
    rows = [{"audio": None, "target": "one"}, {"audio": "a.wav", "target": "two"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = harness("run", "task.yaml", "--dry-run", "--json").json()
    assert (shown["sample"], shown["target"]) == ("000001", "two")
    assert shown["notes"]["left out"] == "'000000': RowError: column 'audio' (audio) is empty"
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[0]) + "\n")
    done = harness("run", "task.yaml", "--dry-run")
    assert done.code == 2
    assert "none of the first 1 samples can be shown; '000000': RowError: column 'audio'" in done.err
    assert "bug" not in done.err


def test_a_matrix_runs_every_cell_in_one_table(harness, dummy_task, tmp_path):
    file = dummy_task(n=10)
    task = json.loads(file.read_text())
    task |= {"params": {"seed": 0}, "matrix": {"seed": [1, 2, 3]}}
    task["data"]["options"]["seed"] = "{seed}"
    file.write_text(json.dumps(task))
    runs = harness("run", "task.yaml", "--json").json()["runs"]
    assert [run["params"]["seed"] for run in runs] == [1, 2, 3]
    assert len({run["spec_id"] for run in runs}) == 3
    shown = harness("run", "task.yaml", "--set", "seed=2")
    assert shown.code == 0


def test_doctor_never_fails(harness):
    done = harness("doctor", "--json")
    assert done.code == 0, done.err
    assert {"python", "torch"} <= {check["name"].lower() for check in done.json()["checks"]}


def test_debug_shows_where_an_error_comes_from(harness):
    done = harness("run", "nothing", "--debug")
    assert "Traceback" in done.err


def test_results_survive_a_read_only_folder(harness, dummy_task, tmp_path):
    dummy_task(n=5)
    Path(tmp_path / "results").write_text("a file, not a folder")
    done = harness("run", "task.yaml")
    assert done.code in (2, 3)
    assert "Traceback" not in done.err


METRIC = """\
import datasets
import evaluate


class Mine(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": text})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"mine": sum(p == r for p, r in zip(predictions, references)) / len(references)}
"""


@pytest.mark.heavy
def test_a_metric_of_the_evaluate_library_has_an_interval_too(harness, dummy_task, tmp_path):
    (tmp_path / "mine.py").write_text(METRIC)
    file = dummy_task(n=40, model={"error_rate": 0.2})
    task = json.loads(file.read_text())
    file.write_text(json.dumps(task | {"metrics": ["wer", {"evaluate": "./mine.py"}]}))
    done = harness("run", "task.yaml", "--json", "--set", "statistics.draws=100")
    assert done.code == 0, done.err
    metric = done.json()["runs"][0]["metrics"]["mine"]
    low, high = metric["ci95"]
    assert 0 < low < metric["value"] < high < 1


def test_a_language_per_sample_decides_its_normalizer(harness, tmp_path):
    rows = [
        {"id": "a", "prediction": "colour", "target": "color", "language": "en"},
        {"id": "b", "prediction": "colour", "target": "color", "language": "fr"},
    ]
    (tmp_path / "stored.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "task.yaml").write_text(
        "extends: kinds/asr\nname: t\n"
        "data: {path: ./x.jsonl, columns: {audio: a, target: t, language: l}}\n"
        "metrics: [{wer: {normalizer: whisper}}]\n"
    )
    done = harness("score", "task.yaml", "--predictions", "stored.jsonl", "--json")
    assert done.code == 0, done.err
    assert done.json()["runs"][0]["metrics"]["wer"]["value"] == 50


def test_a_terminal_without_the_letters_still_gets_the_rest(harness, dummy_task):
    dummy_task(n=3)
    done = harness("run", "task.yaml", PYTHONIOENCODING="ascii")
    assert done.code == 0, done.err
    assert "WER" in done.out


@pytest.mark.parametrize("limit", ["9" * 30, "²", "-1", "ten"])
def test_a_limit_is_a_number_of_samples(harness, dummy_task, limit):
    dummy_task(n=3)
    done = harness("run", "task.yaml", f"--limit={limit}")
    assert done.code == 2
    assert "is not a number of samples" in done.err


def test_list_names_its_choices(harness):
    done = harness("list", "foo")
    assert done.code == 2
    assert "'runs'" in done.err


def test_targets_that_are_not_text_are_named_by_their_line(harness, dummy_task, tmp_path):
    dummy_task(n=1)
    rows = [
        {"id": f"r{at}", "prediction": "x", "target": value} for at, value in enumerate([5, None, {"a": 1}])
    ]
    (tmp_path / "stored.jsonl").write_text("\ufeff" + "\n".join(map(json.dumps, [*rows, {"error": "lost"}])))
    done = harness("score", "task.yaml", "--predictions", "stored.jsonl")
    assert done.code == 2
    assert [line.split("  ")[0] for line in done.err.splitlines()[:3]] == [
        "error: stored.jsonl:2",
        "stored.jsonl:3",
        "stored.jsonl:4",
    ]
