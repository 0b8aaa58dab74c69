"""Fine-tuning as its users meet it: one command, a table, an adapter folder, records that belong together."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest

from harness.evaluation.validation import Validation
from harness.results.store import Store
from harness.training import fine_tune as trainer
from tests.conftest import Finished

RUN = ("run", "task.yaml")


def folders(results: Path) -> list[Path]:
    return sorted((results / "adapters").glob("*")) if (results / "adapters").exists() else []


def test_run_scores_the_base_tunes_it_scores_that_and_compares(command, tuned_task, tmp_path):
    tuned_task()
    done = command(*RUN, "--json")
    assert done.code == 0, done.err
    found = done.json()
    base, tuned = found["runs"]
    assert base["parent"] is None
    assert base["train"] is None
    assert base["model"]["adapter"] is None
    assert tuned["parent"] == base["run_id"]
    [folder] = folders(tmp_path / "results")
    assert tuned["model"]["adapter"] == str(folder.relative_to(tmp_path))
    assert folder.name.startswith("group-tones-")
    assert base["spec_id"] == tuned["spec_id"]
    assert base["data"]["fingerprint"] == tuned["data"]["fingerprint"]
    assert tuned["model"]["digest"] != base["model"]["digest"]
    assert tuned["model"]["parameters"] > base["model"]["parameters"]
    assert tuned["speed"]["measured_samples"] == 14, "the fine-tune was given its base's predictions"
    compared = found["comparison"]
    assert (compared["run_a"], compared["run_b"]) == (base["run_id"], tuned["run_id"])
    values = [run["metrics"]["wer"]["value"] for run in (base, tuned)]
    assert compared["difference"] == pytest.approx(values[1] - values[0])
    assert found["comparisons"] == [compared]
    stored = command("compare", base["run_id"], tuned["run_id"], "--json").json()
    assert stored["ci95"] == compared["ci95"]
    assert not list((tmp_path / "results" / "training").glob("*"))


def test_the_record_says_how_it_was_trained(command, tuned_task):
    tuned_task()
    train = command(*RUN, "--json").json()["runs"][1]["train"]
    assert train["method"] == "lora"
    assert (train["steps"], train["batch"], train["learning_rate"]) == (4, 4, 0.01)
    assert 0 < train["trainable_parameters"] < train["total_parameters"]
    assert [point["step"] for point in train["curve"]] == [0, 2, 4]
    assert train["best_step"] in (0, 2, 4)
    best = min(train["curve"], key=lambda point: point["wer"])
    assert best["step"] == train["best_step"]
    assert train["data"] == {
        "path": "synthetic:dummy", "name": None, "split": "train", "revision": None, "n": 10,
    }  # fmt: skip
    assert train["left_out"] == 0
    assert len(train["train_id"]) == 64


def test_the_best_steps_score_is_what_eval_prints_to_the_last_digit(command, tuned_task, tmp_path):
    tuned_task({"validation_limit": 9})
    train = command(*RUN, "--json").json()["runs"][1]["train"]
    [folder] = folders(tmp_path / "results")
    done = command(
        *("eval", "task.yaml", "--adapter", str(folder), "--json", "--no-cache"),
        *("--set", "data.split=validation", "--limit", "9"),
    )
    metrics = done.json()["runs"][0]["metrics"]
    best = next(point for point in train["curve"] if point["step"] == train["best_step"])
    assert {name: metrics[name]["value"] for name in ("wer", "cer")} == {
        name: best[name] for name in ("wer", "cer")
    }


def test_the_table_has_both_sides_and_says_it_in_words(command, tuned_task, tmp_path):
    tuned_task()
    done = command(*RUN)
    assert done.code == 0, done.err
    [folder] = [str(path.relative_to(tmp_path)) for path in folders(tmp_path / "results")]
    flat = " ".join(done.out.split())
    for text in ("base", "fine-tune", "difference", "WER ↓%", "CER ↓%", "other tones", "parameters ("):
        assert text in flat
    assert "95% interval" in flat
    assert f"{folder}/curve.png" in done.out
    assert f"harness eval task.yaml --adapter {folder}\n" in done.out
    assert f"harness export {folder} --out DIR\n" in done.out
    assert max(map(len, done.out.split("Next:")[0].splitlines())) <= 80
    for record in Store(tmp_path / "results").runs():
        if record.params["seed"] == 0:
            assert record.run_id[:12] in done.out


def test_what_was_trained_is_not_trained_again(command, tuned_task, tmp_path, monkeypatch):
    tuned_task()
    first = command(*RUN, "--json")
    weights = next((tmp_path / "results" / "adapters").rglob("adapter_model.safetensors"))
    written = weights.stat().st_mtime_ns
    again = command(*RUN, "--json")
    assert "Already trained" in again.err
    assert "Already trained" not in first.err
    assert weights.stat().st_mtime_ns == written
    runs = [done.json()["runs"][1] for done in (first, again)]
    assert runs[0]["train"] == runs[1]["train"]
    assert runs[1]["speed"]["measured_samples"] == 0
    anew = command(*RUN, "--json", "--no-cache")
    assert "Already trained" not in anew.err
    changed = command(*RUN, "--json", "--set", "train.seed=1")
    assert "Already trained" not in changed.err
    assert changed.json()["runs"][1]["train"]["train_id"] != runs[0]["train"]["train_id"]
    assert len(folders(tmp_path / "results")) == 2


def test_a_result_whose_files_were_changed_is_not_taken_for_the_training(command, tuned_task, tmp_path):
    tuned_task({"keep": []})
    command("train", "task.yaml")
    weights = next((tmp_path / "results" / "adapters").rglob("adapter_model.safetensors"))
    trained = weights.read_bytes()
    weights.write_bytes(trained[:-1] + bytes([trained[-1] ^ 1]))
    done = command("train", "task.yaml")
    assert done.code == 0, done.err
    assert "its files were changed. Training anew." in done.err
    assert weights.read_bytes() == trained


def test_other_training_data_are_another_training(command, tuned_task):
    tuned_task()
    ids = [
        command("train", "task.yaml", "--json", "--set", f"train.data.options.n={n}").json()["adapter"]
        for n in (10, 11)
    ]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("arguments", [("eval", "task.yaml"), (*RUN, "--no-train")])
def test_eval_never_trains(command, tuned_task, tmp_path, arguments):
    tuned_task()
    done = command(*arguments, "--json")
    assert done.code == 0, done.err
    assert len(done.json()["runs"]) == 1
    assert done.json()["comparison"] is None
    assert folders(tmp_path / "results") == []


def test_train_prints_the_folder_and_run_goes_on_from_it(command, tuned_task, tmp_path):
    tuned_task()
    done = command("train", "task.yaml")
    assert done.code == 0, done.err
    [folder] = folders(tmp_path / "results")
    assert done.out == f"{folder.relative_to(tmp_path)}\n"
    assert not (tmp_path / "results" / "runs").exists()
    payload = command("train", "task.yaml", "--json").json()
    assert payload["adapter"] == str(folder.relative_to(tmp_path))
    assert payload["train"]["steps"] == 4
    assert payload["train"]["reused"]
    ran = command(*RUN, "--json")
    assert "Already trained" in ran.err
    assert ran.json()["runs"][1]["parent"] == ran.json()["runs"][0]["run_id"]


def test_every_evaluation_of_a_training_is_said(command, tuned_task):
    tuned_task({"keep": []})
    done = command("train", "task.yaml", "--json")
    scores = [(point["step"], point["wer"]) for point in done.json()["train"]["curve"]]
    assert [step for step, _ in scores] == [0, 2, 4]
    best = scores[0]
    for step, value in scores:
        best = min(best, (step, value), key=lambda point: point[1])
        said = "best so far" if best[0] == step else f"best {best[1]:.2f} at {best[0]}"
        assert done.err.splitlines().count(f"step {step} of 4: wer {value:.2f} ({said})") == 1


def test_two_trainings_never_share_a_work_folder(command, tuned_task, tmp_path, monkeypatch):
    tuned_task()
    during: list[Finished] = []
    real = Validation.__call__

    def validate(self: Validation, step: int) -> dict[str, float]:
        if not during:
            during.append(Finished(0, "", ""))
            during[0] = command("train", "task.yaml")
        return real(self, step)

    monkeypatch.setattr(Validation, "__call__", validate)
    done = command("train", "task.yaml")
    assert done.code == 0, done.err
    assert during[0].code == 3
    assert "another process is at this very training" in during[0].err
    assert not (tmp_path / "results" / "training").exists() or not any(
        (tmp_path / "results" / "training").iterdir()
    )


def test_a_results_folder_that_can_not_be_made_is_said(command, tuned_task, tmp_path):
    tuned_task()
    (tmp_path / "file").write_text("")
    done = command("train", "task.yaml", "--results", "file")
    assert done.code == 2, done.err
    assert "file" in done.err
    assert "bug of the harness" not in done.err


def test_train_needs_a_train_section(command, dummy_task):
    dummy_task(n=5)
    done = command("train", "task.yaml")
    assert done.code == 2
    assert "has no train section" in done.err


def test_a_family_that_can_not_be_tuned_says_so_before_anything_runs(command, dummy_task, tmp_path):
    file = dummy_task(n=5)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"train": {"steps": 2}}))
    done = command(*RUN)
    assert done.code == 2
    assert "family 'dummy' can't be fine-tuned" in done.err
    assert not (tmp_path / "results").exists()


def test_all_weights_can_be_tuned_and_the_result_is_a_checkpoint(command, tuned_task, tmp_path):
    tuned_task({"method": "full", "lora": {}, "learning_rate": 1e-3})
    done = command(*RUN, "--json")
    assert done.code == 0, done.err
    base, tuned = done.json()["runs"]
    folder = tuned["model"]["checkpoint"]
    assert tuned["model"]["adapter"] is None
    assert (tuned["parent"], tuned["train"]["method"]) == (base["run_id"], "full")
    [run] = command("eval", "task.yaml", "--model", folder, "--json").json()["runs"]
    assert (run["metrics"], run["train"], run["parent"]) == (tuned["metrics"], tuned["train"], base["run_id"])
    refused = command("eval", "task.yaml", "--adapter", folder)
    assert refused.code == 2
    assert "--model" in refused.err
    shown = command(*RUN).out
    assert f"harness eval task.yaml --model {folder}\n" in shown
    assert "harness export" not in shown


CELLS = [{"method": "full", "rank": None}, {"method": "lora", "rank": 2}, {"method": "lora", "rank": 4}]


@pytest.mark.heavy
def test_a_matrix_of_methods_is_one_table(command, tuned_task, tmp_path):
    tuned_task({"keep": [], "learning_rate": 1e-3, "select_by": "last"}, matrix=CELLS)
    done = command(*RUN, "--json")
    assert done.code == 0, done.err
    found = done.json()
    assert [run["train"] and run["train"]["method"] for run in found["runs"]] == [
        None, "full", None, "lora", None, "lora",
    ]  # fmt: skip
    assert found["comparison"] is None
    assert [one["run_a"] for one in found["comparisons"]] == [run["run_id"] for run in found["runs"][::2]]
    assert len(folders(tmp_path / "results")) == 3
    shown = command(*RUN, "--set", "method=lora").out
    assert shown.count("┏") == 1
    [*_, words] = [line.split() for line in shown.splitlines() if line.startswith("harness compare")]
    worse, better = (Store(tmp_path / "results").get(id_) for id_ in words[2:])
    assert {worse.params["rank"], better.params["rank"]} == {2, 4}
    assert None not in (worse.parent, better.parent)
    assert (worse.metrics["wer"].value or 0) >= (better.metrics["wer"].value or 0)
    for text in ("rank 2", "rank 4"):
        assert text in shown
    [cell] = command(*RUN, "--set", "method=lora", "--set", "rank=4", "--json").json()["comparisons"]
    assert cell["metric"] == "wer"


def test_one_network_is_in_memory_at_a_time(command, tuned_task, monkeypatch):
    tuned_task()
    alive: list[int] = []
    original = trainer.fine_tune

    def counted(job: Any) -> Any:
        gc.collect()
        networks = [
            thing for thing in gc.get_objects() if type(thing).__name__ == "WhisperForConditionalGeneration"
        ]
        alive.append(len(networks))
        return original(job)

    monkeypatch.setattr("harness.tuning.training.fine_tune", counted)
    assert command(*RUN).code == 0
    assert alive == [0], "the base was still there when training began"  # fmt: skip


def test_too_many_failures_are_said_and_not_compared(command, tuned_task):
    task = tuned_task({"select_by": "last", "keep": []})
    content = json.loads(task.read_text())
    content["data"]["options"]["unreadable"] = [1, 2]
    content["train"]["data"]["options"]["unreadable"] = []
    task.write_text(json.dumps(content))
    done = command(*RUN)
    assert done.code == 4
    assert "can't be compared" in done.out
    assert "more than run.max_failures" in done.err
    assert command(*RUN, "--json").json()["comparison"] is None


def test_a_validation_split_that_fails_stops_the_training_and_says_why(command, tuned_task):
    task = tuned_task({"keep": []})
    content = json.loads(task.read_text())
    content["data"]["options"]["unreadable"] = [1, 2]
    content["train"]["data"]["options"]["unreadable"] = []
    task.write_text(json.dumps(content))
    done = command("train", "task.yaml")
    assert done.code == 3
    assert "2 of 14 validation samples failed at step 0" in done.err


# Afterwards


def test_list_and_show_tell_a_fine_tune_from_its_base(command, tuned_task):
    tuned_task({"keep": []})
    base, tuned = command(*RUN, "--json").json()["runs"]
    rows = {row["run"]: row["fine-tune"] for row in command("list", "runs", "--json").json()["runs"]}
    assert rows[base["run_id"][:12]] == ""
    assert rows[tuned["run_id"][:12]] == f"fine-tune of {base['run_id'][:12]}, lora, 4 steps"
    assert "fine-tune of" in command("list", "runs").out
    shown = command("show", tuned["run_id"]).out
    assert base["run_id"] in shown
    assert "lora" in shown
    assert "best at" in shown


def test_one_step_is_not_one_steps(command, tuned_task):
    tuned_task({"keep": [], "steps": 1, "evaluate_every": 1})
    shown = command(*RUN).out + command("list", "runs").out + command("show", "latest").out
    assert " ".join(shown.split()).count("1 step") >= 3
    assert "1 steps" not in " ".join(shown.split())


def test_fine_tunes_are_told_apart_by_how_they_were_trained(command, tuned_task):
    tuned_task({"keep": [], "select_by": "last"})
    own = command(*RUN, "--json").json()["runs"][1]
    other = command(*RUN, "--set", "train.batch=2", "--json").json()["runs"][1]
    rows = {row["run"]: row["fine-tune"] for row in command("list", "runs", "--json").json()["runs"]}
    assert rows[own["run_id"][:12]].endswith("lora, 4 steps, batch 4")
    assert rows[other["run_id"][:12]].endswith("lora, 4 steps, batch 2")
    compared = command("compare", own["run_id"], other["run_id"])
    assert "differs batch 4 and 2 " in " ".join(compared.out.split())
    shown = " ".join(command("show", other["run_id"]).out.split())
    for text in ("learning_rate 0.01, batch 2, lora.r 2, lora.alpha 4", "evaluate_every 2", "select_by last"):
        assert text in shown
    assert "weight_decay" not in shown
