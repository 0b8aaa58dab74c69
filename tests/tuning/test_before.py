"""What is said and refused before a fine-tuning begins: the dry run, settings and data that don't fit."""

from __future__ import annotations

import pytest

RUN = ("run", "task.yaml")


def test_dry_run_shows_what_would_be_trained(command, tuned_task, tmp_path):
    tuned_task({"micro_batch": 2, "parts": {"encoder": "frozen"}})
    done = command(*RUN, "--dry-run")
    assert done.code == 0, done.err
    assert "Sample test-000000 as the model sees it" in done.out
    flat = " ".join(done.out.split())
    for text in (
        "encoder frozen 0",
        "decoder lora",
        "q_proj 2 ",
        "learning rate: 0.01",
        "steps: 4 of 4 samples, 2 forward passes",
        "best step: by wer",
        "split train, 10 samples",
        "epochs: 1.6 passes over the training data",
        "evaluation: every 2 steps",
        "checkpoints: every 2 steps",
        "samples: 10 samples to train on, 14 samples to score, 14 samples to validate",
        "augmentation: none",
        "keep checks: other tones",
    ):
        assert text in flat
    assert not (tmp_path / "results").exists()
    [plan] = command(*RUN, "--dry-run", "--json").json()["train"]
    ran = command("train", "task.yaml", "--json").json()["train"]
    assert plan["trainable"] == ran["trainable_parameters"]
    assert plan["total"] == ran["total_parameters"]
    assert "What would be trained" not in command("eval", "task.yaml", "--dry-run").out


def test_dry_run_says_how_data_are_perturbed(command, tuned_task):
    tuned_task({"augment": {"speed": [0.9, 1.1], "noise": {"probability": 0.2}}})
    flat = " ".join(command(*RUN, "--dry-run").out.split())
    assert "augmentation: speed [0.9, 1.1]; noise snr_db [10.0, 30.0] probability 0.2" in flat


@pytest.mark.parametrize("every", [None, 3])
def test_dry_run_evaluates_when_the_training_does(command, tuned_task, every):
    tuned_task({"keep": [], "evaluate_every": every, "steps": 5})
    [plan] = command(*RUN, "--dry-run", "--json").json()["train"]
    curve = command("train", "task.yaml", "--json").json()["train"]["curve"]
    assert [point["step"] for point in curve] == sorted({*range(0, 5, plan["evaluate_every"]), 5})


@pytest.mark.parametrize(
    ("train", "warning"),
    [
        ({"batch": 11}, "The batch (11) is larger than the training data (10 samples)"),
        ({"evaluate_every": 5}, "evaluate_every (5) exceeds the steps (4)"),
        ({"lora": {"r": 512}}, "LoRA trains"),
        ({"method": "full", "lora": {}, "learning_rate": 2e-3}, "A learning rate of 0.002 is high"),
        ({"batch": 10, "evaluate_every": 4}, None),
        ({"method": "full", "lora": {}, "learning_rate": 1e-3}, None),
    ],
)
def test_dry_run_warns_of_what_is_hardly_ever_meant(command, tuned_task, train, warning):
    tuned_task(train, params={"seed": 0, "method": "lora", "rank": 2})
    [plan] = command(*RUN, "--dry-run", "--json").json()["train"]
    assert [said[: len(warning or "")] for said in plan["warnings"]] == ([warning] if warning else [])
    if warning:
        assert warning in " ".join(command(*RUN, "--dry-run").out.split())


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            {"method": "full", "lora": {}, "parts": {"encoder": "frozen", "decoder": "frozen"}},
            "nothing would be trained",
        ),
        ({"lora": {"targets": ["q_porj"]}}, "q_porj"),
        ({"report_to": ["trackoi"]}, "there is no tracker 'trackoi'"),
        ({"augment": {"noise": {"folder": "./nowhere"}}}, "nowhere"),
    ],
)
@pytest.mark.parametrize("arguments", [RUN, (*RUN, "--dry-run"), ("train", "task.yaml")])
def test_what_can_not_be_trained_is_refused_before_anything_runs(
    command, tuned_task, tmp_path, train, message, arguments
):
    tuned_task(train)
    done = command(*arguments)
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "results" / "runs").exists()


def test_training_on_what_is_validated_is_refused(command, tuned_task, tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "all.jsonl").write_text('{"audio": "a.wav", "target": "a"}\n')
    tuned_task(
        {"data": {}, "keep": []},
        data={"path": "./clips", "columns": {"audio": "audio", "target": "target"}},
        params={"method": "lora", "rank": 2},
    )
    done = command("train", "task.yaml")
    assert done.code == 2, done.err
    assert "the training samples and the validation samples are the same" in done.err


def test_a_missing_validation_split_says_what_to_do(command, tuned_task, tmp_path):
    (tmp_path / "clips").mkdir()
    for split in ("train", "test"):
        (tmp_path / "clips" / f"{split}.jsonl").write_text('{"audio": "a.wav", "target": "a"}\n')
    tuned_task(
        {"data": {}, "keep": []},
        data={"path": "./clips", "columns": {"audio": "audio", "target": "target"}},
        params={"method": "lora", "rank": 2},
    )
    done = command(*RUN)
    assert done.code == 2
    assert "has no split 'validation'" in done.err
    assert "train.select_by: last" in done.err


def test_data_that_are_not_there_are_refused_before_anything_runs(command, tuned_task, tmp_path):
    tuned_task({"data": {"path": "./nowhere.jsonl"}})
    done = command(*RUN)
    assert done.code == 2
    assert "nowhere.jsonl" in done.err
    assert not (tmp_path / "results" / "runs").exists()
