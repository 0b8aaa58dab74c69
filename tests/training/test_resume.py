"""Nothing is lost: an interrupted training ends with the very weights of one that never was."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.errors import RunError
from harness.training.checkpoints import Checkpoints
from harness.training.fine_tune import FineTuned, fine_tune
from harness.training.stop import StopRequest
from harness.training.watcher import Watcher
from tests.conftest import ROOT
from tests.training.jobs import clips, job, stream

TRAIN: dict[str, Any] = {
    "steps": 8,
    "batch": 4,
    "micro_batch": 2,
    "learning_rate": 1e-3,
    "evaluate_every": 2,
    "save_every": 4,
    "lora": {"r": 4, "dropout": 0.1},
    "augment": {"speed": [0.9, 1.1], "noise": {}, "spec_augment": {}},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("base")


def score(adapter: Any, step: int) -> dict[str, float]:
    """Depends on the weights, so that a step that is scored with others shows."""
    total = sum(float(p.detach().abs().sum()) for p in adapter.model.parameters() if p.requires_grad)
    return {"wer": total % 7}


def train(folder: Path, base: Path, **settings: Any) -> FineTuned:
    return fine_tune(job(folder, {**TRAIN, **settings}, evaluate=score, base=base, dropout=0.1))


def weights(result: FineTuned) -> dict[str, torch.Tensor]:
    name = "adapter_model.safetensors" if result.method == "lora" else "model.safetensors"
    found: dict[str, torch.Tensor] = load_file(result.folder / name)
    return found


def assert_same(found: FineTuned, expected: FineTuned) -> None:
    mine, theirs = weights(found), weights(expected)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert found.curve.to_json() == expected.curve.to_json()
    assert (found.best_step, found.scores) == (expected.best_step, expected.scores)


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that SIGTERM came during this step."""
    original = Watcher.on_step_end

    def end(self: Watcher, args: Any, state: Any, control: Any, **settings: Any) -> None:
        if state.global_step == step:
            self._stop.name = "SIGTERM"
        original(self, args, state, control, **settings)

    monkeypatch.setattr(Watcher, "on_step_end", end)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("at", [4, 3])
def test_eight_steps_are_four_and_four_bit_for_bit(tmp_path, base, monkeypatch, method, at):
    settings: dict[str, Any] = {"method": method} | ({"lora": {}} if method == "full" else {})
    whole = train(tmp_path / "whole", base, **settings)
    with monkeypatch.context() as patch:
        stop_after(at, patch)
        with pytest.raises(RunError, match=f"SIGTERM after step {at} of 8"):
            train(tmp_path / "parts", base, **settings)
    assert not (tmp_path / "parts" / "adapter").exists()
    resumed = train(tmp_path / "parts", base, **settings)
    assert resumed.resumed_from == at
    assert_same(resumed, whole)


def test_a_stream_is_gone_on_with_where_it_was(tmp_path, base, monkeypatch):
    dataset = stream(n=10)

    def go(folder: Path) -> FineTuned:
        return fine_tune(job(folder, TRAIN, evaluate=score, base=base, dataset=dataset, dropout=0.1))

    whole = go(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        with pytest.raises(RunError):
            go(tmp_path / "parts")
    resumed = go(tmp_path / "parts")
    assert resumed.resumed_from == 5
    assert_same(resumed, whole)


def test_the_test_sees_a_training_that_starts_again_with_other_random_numbers(tmp_path, base, monkeypatch):
    whole = train(tmp_path / "whole", base)
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        with pytest.raises(RunError):
            train(tmp_path / "parts", base)
    monkeypatch.setattr(
        "harness.training.trainer.HarnessTrainer._load_rng_state", lambda self, checkpoint: None
    )
    with pytest.raises(AssertionError):
        assert_same(train(tmp_path / "parts", base), whole)


def test_a_finished_training_leaves_no_work_behind(tmp_path, base):
    result = train(tmp_path, base)
    assert not (tmp_path / "work").exists()
    assert result.resumed_from is None
    assert json.loads((result.folder / "harness.json").read_text())["train"]["steps"] == 8


def test_patience_ends_a_training_that_no_longer_gets_better(tmp_path, base):
    def worse(adapter: Any, step: int) -> dict[str, float]:
        return {"wer": 10.0 + step}

    result = fine_tune(job(tmp_path, {**TRAIN, "patience": 2}, evaluate=worse, base=base))
    assert (result.steps, result.best_step) == (4, 0)
    untrained = [value for name, value in weights(result).items() if "lora_B" in name]
    assert all(not value.any() for value in untrained)


def test_the_best_step_is_kept_not_the_last(tmp_path, base):
    scores = {0: 9.0, 2: 5.0, 4: 1.0, 6: 3.0, 8: 2.0}
    seen = {}

    def given(adapter: Any, step: int) -> dict[str, float]:
        state = {name: p.detach().clone() for name, p in adapter.model.named_parameters() if p.requires_grad}
        seen[step] = state
        return {"wer": scores[step]}

    todo = job(tmp_path, TRAIN, evaluate=given, base=base)
    result = fine_tune(todo)
    assert (result.best_step, result.scores) == (4, {"wer": 1.0})
    now = {name: p for name, p in todo.adapter.model.named_parameters() if name in seen[4]}
    assert all(torch.equal(now[name], value) for name, value in seen[4].items())
    assert not all(torch.equal(now[name], value) for name, value in seen[8].items())


def killed(
    folder: Path,
    base: Path,
    signal_number: int,
    ready: Any,
    train: dict[str, Any] = TRAIN,
    **variables: str,
) -> str:
    """Run the training in a process of its own, and send it a signal once `ready()` says so."""
    command = [sys.executable, "-m", "tests.training.one_training", str(folder), str(base), json.dumps(train)]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, **variables}
    )
    try:
        deadline = time.monotonic() + 120
        while not ready():
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal_number)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    return errors


@pytest.mark.heavy
@pytest.mark.parametrize("moment", range(3))
def test_killed_at_any_moment_it_goes_on_and_ends_the_same(tmp_path, base, moment):
    whole = train(tmp_path / "whole", base)
    work = tmp_path / "parts" / "work"
    dice = random.Random(moment)
    # After the first checkpoint, some time into what follows.
    wait = dice.uniform(0, 0.6)
    began: list[float] = []

    def ready() -> bool:
        if (work / "checkpoint-00000004").is_dir() and not began:
            began.append(time.monotonic())
        return bool(began) and time.monotonic() - began[0] > wait

    killed(tmp_path / "parts", base, signal.SIGKILL, ready, HARNESS_TEST_STEP_SECONDS="0.15")
    resumed = train(tmp_path / "parts", base)
    assert resumed.resumed_from in (4, 8)
    assert_same(resumed, whole)


@pytest.mark.heavy
def test_killed_while_it_writes_a_checkpoint_it_goes_on_from_the_one_before(tmp_path, base):
    whole = train(tmp_path / "whole", base)
    work = tmp_path / "parts" / "work"

    def ready() -> bool:
        return all((work / name).is_dir() for name in ("checkpoint-00000004", "writing"))

    killed(tmp_path / "parts", base, signal.SIGKILL, ready, HARNESS_TEST_WRITE_SECONDS="30")
    assert (work / "writing").is_dir()
    assert Checkpoints(work).latest() == work / "checkpoint-00000004"
    resumed = train(tmp_path / "parts", base)
    assert resumed.resumed_from == 4
    assert_same(resumed, whole)


@pytest.mark.heavy
def test_sigterm_writes_a_checkpoint_and_says_how_to_go_on(tmp_path, base):
    whole = train(tmp_path / "whole", base)
    work = tmp_path / "parts" / "work"
    errors = killed(
        tmp_path / "parts",
        base,
        signal.SIGTERM,
        lambda: (
            (work / "best-00000002.safetensors").exists() or (work / "best-00000000.safetensors").exists()
        ),
        HARNESS_TEST_STEP_SECONDS="0.2",
    )
    assert "SIGTERM: finishing this step" in errors
    assert "run the same command again" in errors
    latest = Checkpoints(work).latest()
    assert latest is not None
    resumed = train(tmp_path / "parts", base)
    assert resumed.resumed_from is not None
    assert_same(resumed, whole)


@pytest.mark.parametrize("at", [0, 4])
def test_a_signal_during_an_evaluation_drops_it_and_it_is_done_after_the_resume(tmp_path, base, at):
    whole = train(tmp_path / "whole", base)

    def interrupted(adapter: Any, step: int) -> dict[str, float]:
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return score(adapter, step)

    for _ in range(2):  # the second time where it begins
        with pytest.raises(RunError, match=f"SIGTERM after step {at}"):
            fine_tune(job(tmp_path / "parts", TRAIN, evaluate=interrupted, base=base, dropout=0.1))
    resumed = train(tmp_path / "parts", base)
    assert resumed.resumed_from == (at or None)
    assert_same(resumed, whole)


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path, base, monkeypatch):
    whole = train(tmp_path / "whole", base)
    real, calls = torch.save, []

    def full(value: Any, path: Any, *arguments: Any, **settings: Any) -> None:
        calls.append(path)
        if "checkpoint-8" in str(path):
            Path(path).write_bytes(b"half a fi")
            raise OSError(28, "No space left on device")
        real(value, path, *arguments, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(RunError, match=r"step 8 can.t be written.*No space left") as found:
            train(tmp_path / "parts", base)
    assert "run the same command again" in found.value.hint
    assert (
        Checkpoints(tmp_path / "parts" / "work").latest()
        == tmp_path / "parts" / "work" / "checkpoint-00000004"
    )
    resumed = train(tmp_path / "parts", base)
    assert resumed.resumed_from == 4
    assert_same(resumed, whole)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, base, monkeypatch):
    settings = {"save_every": 2}
    whole = train(tmp_path / "whole", base, **settings)
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        with pytest.raises(RunError):
            train(tmp_path / "parts", base, **settings)
    newest = tmp_path / "parts" / "work" / "checkpoint-00000004" / "optimizer.pt"
    newest.write_bytes(newest.read_bytes()[:-7] + b"garbage")
    resumed = train(tmp_path / "parts", base, **settings)
    assert resumed.resumed_from == 2
    assert_same(resumed, whole)


def falling(adapter: Any, step: int) -> dict[str, float]:
    """Better with every evaluation."""
    return {"wer": 100.0 - step}


def best_of(work: Path) -> list[str]:
    return sorted(path.name for path in work.glob("best-*"))


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?")]
)
def test_damaged_best_weights_are_passed_over_with_their_checkpoint(tmp_path, base, monkeypatch, damage):
    settings = {**TRAIN, "save_every": 2}
    whole = fine_tune(job(tmp_path / "whole", settings, evaluate=falling, base=base, dropout=0.1))
    parts = job(tmp_path / "parts", settings, evaluate=falling, base=base, dropout=0.1)
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        with pytest.raises(RunError):
            fine_tune(parts)
    assert best_of(parts.work) == ["best-00000004.safetensors"], "best weights that nobody needs take room"
    damage(parts.work / "best-00000004.safetensors")
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        with pytest.raises(RunError):
            fine_tune(job(tmp_path / "parts", settings, evaluate=falling, base=base, dropout=0.1))
    latest = Checkpoints(parts.work).latest()
    assert latest is not None, "damaged ones of later steps took the place of the one that is good"
    assert latest.name == "checkpoint-00000003"
    resumed = fine_tune(job(tmp_path / "parts", settings, evaluate=falling, base=base, dropout=0.1))
    assert resumed.resumed_from == 3
    assert_same(resumed, whole)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_samples(tmp_path, base, monkeypatch):
    from harness.models.whisper import Whisper

    real = Whisper.loss
    calls: list[tuple[str, ...]] = []

    def poisoned(self: Whisper, network: Any, batch: Any) -> Any:
        calls.append(tuple(sample.id for sample in batch.samples))
        loss = real(self, network, batch)
        return loss * float("nan") if len(calls) == 12 else loss

    monkeypatch.setattr(Whisper, "loss", poisoned)
    with pytest.raises(RunError, match="loss of step 6 is not a finite number") as found:
        train(tmp_path, base)
    assert all(id_ in found.value.message for id_ in calls[11])
    assert not any(id_ in found.value.message for id_ in set(calls[10]) - set(calls[11]))
    assert "checkpoint-00000004) is good" in found.value.message
    assert "learning_rate" in found.value.hint


def test_samples_that_cannot_be_used_are_left_out_replaced_and_named(tmp_path, base):
    todo = job(tmp_path, {**TRAIN, "augment": {}}, base=base, dataset=clips(unreadable=(3, 5)))
    result = fine_tune(todo)
    assert set(result.left_out) == {"train-000003", "train-000005"}
    assert "audio" in result.left_out["train-000003"]
    manifest = json.loads((result.folder / "harness.json").read_text())
    assert set(manifest["train"]["left_out"]) == set(result.left_out)


def test_a_clip_that_can_not_be_perturbed_is_learned_as_it_is_and_said(tmp_path, base, capsys):
    settings = {**TRAIN, "augment": {"speed": [0.3]}}  # a second and more: the window is one
    result = fine_tune(job(tmp_path, settings, base=base, dataset=clips(seconds=(0.1, 0.9))))
    assert not result.left_out
    assert "learned without perturbation" in capsys.readouterr().err


def test_a_data_set_of_unusable_samples_stops_the_run(tmp_path, base):
    todo = job(tmp_path, TRAIN, base=base, dataset=clips(n=4, unreadable=(0, 1, 2, 3)))
    with pytest.raises(RunError, match="training samples in a row can't be used"):
        fine_tune(todo)


def test_stop_requests_restore_what_was_there():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest().listening():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path):
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
