"""Stages: one network trained several times, each time in other parts, and one fine-tune that comes out."""

from __future__ import annotations

import csv
import json
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import AdapterError, RunError
from harness.training.checkpoints import Checkpoints
from harness.training.fine_tune import FineTuned, fine_tune
from harness.training.method import prepare
from harness.training.watcher import Watcher
from tests.training.gradients import watched
from tests.training.jobs import clips, job
from tests.training.test_resume import assert_same, killed, score

ENCODER: dict[str, Any] = {"name": "hearing", "parts": {"encoder": "full"}, "steps": 4, "learning_rate": 1e-2}
BOTH: dict[str, Any] = {"name": "both", "parts": {"encoder": "full", "decoder": "lora"}, "steps": 4}
STAGED: dict[str, Any] = {
    "batch": 4,
    "micro_batch": 2,
    "learning_rate": 1e-3,
    "evaluate_every": 2,
    "save_every": 2,
    "lora": {"r": 4, "dropout": 0.1},
    "augment": {"noise": {}},
    "stages": [ENCODER, BOTH],
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("base")


def train(folder: Path, base: Path, **settings: Any) -> FineTuned:
    return fine_tune(job(folder, {**STAGED, **settings}, evaluate=score, base=base, dropout=0.1))


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    """The training that nothing interrupts."""
    torch.set_num_threads(1)
    return train(tmp_path_factory.mktemp("whole"), base)


def network(folder: Path, base: Path, **settings: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """The network that a training leaves, and its parameters by their names in the transformers model."""
    todo = job(folder, {"batch": 4, "select_by": "last", "warmup": 0, **settings}, base=base)
    fine_tune(todo)
    model = todo.adapter.model
    return model, {name: value.detach().clone() for name, value in model.named_parameters()}


# What each stage trains


def test_a_stage_that_trains_one_part_leaves_it_as_that_part_trained_by_itself(tmp_path, base):
    """LoRA is there from the first stage on, begins at zero and stays there while it is frozen."""
    first = {**ENCODER, "steps": 2}
    last = {"name": "idle", "parts": {"decoder": "lora"}, "steps": 1, "learning_rate": 1e-30}
    _, staged = network(tmp_path / "staged", base, stages=[first, last])
    alone = {"method": "full", "parts": {"encoder": "full", "decoder": "frozen"}}
    _, expected = network(tmp_path / "alone", base, **alone, steps=2, learning_rate=1e-2)
    begun = dict(job(tmp_path / "fresh", {"steps": 1}, base=base).adapter.model.named_parameters())
    copies = {name.replace(".modules_to_save.default", ""): value for name, value in staged.items()}
    compared = [name for name in expected if "encoder.layers" in name and name in copies]
    assert len(compared) > 5
    for name in compared:
        torch.testing.assert_close(copies[name], expected[name], rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(copies[name], begun[name]) for name in compared)


def test_every_stage_moves_its_own_parts_and_no_others(tmp_path, base):
    """Weight decay would show in parameters that an optimizer has and no gradient reaches."""
    stages = [
        {"name": "a", "parts": {"encoder": "full"}, "steps": 1},
        {"name": "b", "parts": {"decoder": "lora"}, "steps": 2, "weight_decay": 0.5},
    ]
    seen: list[dict[str, torch.Tensor]] = []
    original = Watcher.on_step_end

    def look(self: Watcher, *arguments: Any, **settings: Any) -> None:
        seen.append(self._tuning.state())
        original(self, *arguments, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watcher, "on_step_end", look)
        network(tmp_path, base, stages=stages, learning_rate=1e-2)
    todo = job(tmp_path / "fresh", {"stages": stages}, base=base)
    states = [prepare(todo.adapter.model, todo.adapter.info, todo.train).state(), *seen]
    assert len(states) == 4, "steps of a stage"

    def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        return {"lora" if ".lora_" in name else "encoder" for name in changed}

    assert [moved(*pair) for pair in pairwise(states)] == [
        {"encoder"},
        {"lora"},
        {"lora"},
    ]
    assert all("encoder" in name for name in states[0] if ".lora_" not in name)


def test_gradients_reach_what_a_stage_trains_and_nothing_else(tmp_path, base):
    with watched() as found:
        train(tmp_path, base)
    first, second = found[0], found[4]
    assert first
    assert all("encoder" in name and ".lora_" not in name for name in first)
    assert {True, False} == {".lora_" in name for name in second}
    assert all(float(value.abs().max()) > 0 for name, value in second.items() if ".lora_B" in name)


def test_a_stage_that_names_no_parts_trains_what_the_section_says(tmp_path, base):
    todo = job(tmp_path, {"parts": {"encoder": "frozen"}, "stages": [{"name": "a", "steps": 1}]}, base=base)
    tuning = prepare(todo.adapter.model, todo.adapter.info, todo.train)
    assert {row.name: row.state for row in tuning.rows("a")} == {"encoder": "frozen", "decoder": "lora"}


def test_the_state_is_of_all_stages_in_each_of_them(tmp_path, base):
    todo = job(tmp_path, STAGED, base=base)
    tuning = prepare(todo.adapter.model, todo.adapter.info, todo.train)
    everything = set(tuning.state())
    sizes = {name: value.numel() for name, value in tuning.state().items()}
    for stage in ("hearing", "both"):
        tuning.narrow(stage)
        assert set(tuning.state()) == everything
        trained = {name for name, value in tuning.network.named_parameters() if value.requires_grad}
        assert trained < everything if stage == "hearing" else trained == everything
        assert sum(row.trained for row in tuning.rows(stage)) == sum(sizes[name] for name in trained)
        with tuning.whole():
            inside = {name for name, value in tuning.network.named_parameters() if value.requires_grad}
            assert inside == everything
        after = {name for name, value in tuning.network.named_parameters() if value.requires_grad}
        assert after == trained


def test_scoring_sees_what_every_stage_trained(tmp_path, base):
    """Predictions of validation are kept by a digest of what counts as trained."""
    stages = [{**ENCODER, "steps": 1}, {"name": "last", "parts": {"decoder": "lora"}, "steps": 1}]
    seen = []

    def look(adapter: Any, step: int) -> dict[str, float]:
        names = [name for name, value in adapter.model.named_parameters() if value.requires_grad]
        seen.append((any(".lora_" in name for name in names), any("modules_to_save" in n for n in names)))
        return {"wer": 1.0}

    fine_tune(job(tmp_path, {"batch": 4, "stages": stages}, evaluate=look, base=base))
    assert seen == [(True, True)] * 2, "steps 0 and 1 of the last stage"


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            [{"name": "a", "parts": {"encodr": "full"}, "steps": 1}],
            "train.stages (a): parts: family 'whisper'",
        ),
        (
            [{"name": "a", "steps": 1}, {"name": "b", "parts": {"encoder": "full"}, "steps": 1}],
            "part 'encoder' can't be lora in one stage and full in another",
        ),
    ],
)
def test_stages_that_do_not_fit_the_network_are_refused(tmp_path, base, stages, message):
    todo = job(tmp_path, {"stages": stages}, base=base)
    with pytest.raises(AdapterError) as caught:
        prepare(todo.adapter.model, todo.adapter.info, todo.train)
    assert message in caught.value.message


def test_a_stage_in_which_nothing_is_trained_is_refused(tmp_path, base):
    """Whisper's decoder takes LoRA; what the family fixes, and a part without targets, do not."""
    stages = [{**BOTH, "steps": 1}, {"name": "none", "steps": 1}]
    todo = job(tmp_path, {"method": "full", "parts": {"encoder": "frozen", "decoder": "frozen"}, "stages": [
        {"name": "some", "parts": {"encoder": "full"}, "steps": 1}, stages[1]]}, base=base)  # fmt: skip
    with pytest.raises(AdapterError, match=r"train.stages \(none\): nothing would be trained in it"):
        prepare(todo.adapter.model, todo.adapter.info, todo.train)


def test_each_stage_learns_from_its_own_data(tmp_path, base):
    datasets = {"hearing": clips(5), "both": clips(6, split="validation")}
    seen: list[str] = []
    original = Watcher.saw

    def look(self: Watcher, loss: Any, micro: Any) -> None:
        seen.extend(micro.ids)
        original(self, loss, micro)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watcher, "saw", look)
        result = fine_tune(job(tmp_path, {**STAGED, "select_by": "last"}, datasets=datasets, base=base))
    assert {id_.partition("-")[0] for id_ in seen[:16]} == {"train"}
    assert {id_.partition("-")[0] for id_ in seen[16:]} == {"validation"}
    assert [stage.data.n for stage in result.stages if stage.data] == [5, 6]


# What is told of them


def test_steps_are_counted_over_all_stages_and_the_curve_says_whose_they_are(whole):
    assert whole.steps == 8
    assert [step for step, _ in whole.curve.scores] == [4, 6, 8], "only the last stage is scored"
    assert [point.step for point in whole.curve.losses] == list(range(1, 9))
    assert whole.best_step in (4, 6, 8)
    assert whole.scores == dict(whole.curve.scores)[whole.best_step]
    with (whole.folder / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["stage"] for row in rows] == ["hearing"] * 4 + ["both"] * 4
    assert (whole.folder / "curve.png").stat().st_size > 1000


def test_the_manifest_and_the_card_tell_of_every_stage(whole):
    manifest = json.loads((whole.folder / "harness.json").read_text())
    first, second = manifest["train"]["stages"]
    assert (first["name"], first["steps"], first["learning_rate"]) == ("hearing", 4, 1e-2)
    assert first["parts"] == {"encoder": "full", "decoder": "frozen"}
    assert second["parts"] == {"encoder": "full", "decoder": "lora"}
    assert 0 < first["trainable_parameters"] < second["trainable_parameters"] == whole.trainable
    assert first["data"]["path"] == "synthetic:dummy"
    card = (whole.folder / "README.md").read_text()
    assert "| hearing | encoder: full |" in card
    assert "| both | encoder: full, decoder: lora |" in card


def test_progress_says_which_stage_it_is(tmp_path, base, capsys, monkeypatch):
    monkeypatch.setattr("harness.progress.SECONDS_TO_FIRST_LINE", 0.0)
    todo = job(tmp_path, {"batch": 2, "stages": [{**ENCODER, "steps": 1}, {**BOTH, "steps": 1}]}, base=base)
    fine_tune(type(todo)(**{**vars(todo), "show_progress": True}))
    told = capsys.readouterr().err
    assert "Training, stage 1 of 2 (hearing)" in told
    assert "Training, stage 2 of 2 (both)" in told


# Nothing is lost


@pytest.mark.parametrize(("stage", "at"), [(1, 4), (2, 1)])
def test_interrupted_in_either_stage_it_ends_with_the_same_bits(tmp_path, base, whole, stage, at):
    calls: list[int] = []
    original = Watcher.on_step_end

    def count(self: Watcher, args: Any, state: Any, control: Any, **settings: Any) -> None:
        calls.append(state.global_step)
        if len(calls) == (stage - 1) * 4 + at:
            self._stop.name = "SIGTERM"
        original(self, args, state, control, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watcher, "on_step_end", count)
        where = f"SIGTERM after step {at} of 4 of stage {stage} of 2"
        with pytest.raises(RunError, match=where):
            train(tmp_path, base)
        done = len(calls)
        resumed = train(tmp_path, base)
    assert len(calls) - done == 8 - done, "what was done is done again"
    assert resumed.resumed_from == (stage - 1) * 4 + at
    assert_same(resumed, whole)
    assert not (tmp_path / "work").exists()


def test_a_damaged_checkpoint_of_a_finished_stage_costs_only_what_it_held(tmp_path, base, whole):
    with pytest.MonkeyPatch.context() as patch:
        counted = iter(range(1, 99))
        original = Watcher.on_step_end

        def end(self: Watcher, args: Any, state: Any, control: Any, **settings: Any) -> None:
            if next(counted) == 5:
                self._stop.name = "SIGTERM"
            original(self, args, state, control, **settings)

        patch.setattr(Watcher, "on_step_end", end)
        with pytest.raises(RunError):
            train(tmp_path, base)
    damaged = tmp_path / "work" / "stage-1" / "checkpoint-00000004" / "trained.safetensors"
    damaged.write_bytes(b"nothing")
    assert_same(train(tmp_path, base), whole)


@pytest.mark.heavy
@pytest.mark.parametrize(("folder", "step"), [("stage-1", 2), ("stage-2", 2)])
def test_killed_in_either_stage_it_goes_on_and_ends_the_same(tmp_path, base, whole, folder, step):
    work = tmp_path / "parts" / "work" / folder

    def ready() -> bool:
        return bool((work / f"checkpoint-{step:08d}").is_dir())

    killed(tmp_path / "parts", base, signal.SIGKILL, ready, train=STAGED, HARNESS_TEST_STEP_SECONDS="0.2")
    found = Checkpoints(work).latest()
    assert found is not None
    resumed = train(tmp_path / "parts", base)
    assert resumed.resumed_from is not None
    assert resumed.resumed_from >= (0 if folder == "stage-1" else 4) + step
    assert_same(resumed, whole)
