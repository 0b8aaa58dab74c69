"""Chat models in training: what moves, with which gradients, what is left out, what comes out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.errors import RunError
from harness.models import load
from harness.models.base import Adapter
from harness.training.export import export
from harness.training.fine_tune import FineTuned, fine_tune
from harness.training.method import prepare
from harness.training.order import steps
from harness.training.parity import Probe
from harness.training.watcher import Watcher
from harness.types import Sample
from tests.models.tiny_chat import tiny_llava
from tests.tasks import task_of
from tests.training.chats import Broken, chat, chat_job, dataset, part_of, question, questions, talk
from tests.training.gradients import watched
from tests.training.test_equality import assert_equal, assert_two_processes_equal

TRAIN: dict[str, Any] = {
    "steps": 2,
    "batch": 4,
    "learning_rate": 1e-3,
    "warmup": 0,
    "max_grad_norm": 1e9,
    "select_by": "last",
    "lora": {"r": 2},
}
STAGES: list[dict[str, Any]] = [
    {"name": "projector", "parts": {"projector": "full"}, "steps": 4},
    {"name": "instructions", "parts": {"projector": "full", "language": "lora"}, "steps": 4},
]
PARTS = ("vision", "projector", "language")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("llava"))


def gradients(folder: Path, base: Path, *, data: Any = None, **train: Any) -> list[dict[str, torch.Tensor]]:
    """The gradients of every step of a training, before clipping."""
    with watched() as found:
        fine_tune(chat_job(folder, {**TRAIN, **train}, base, data=data))
    return found


def by_hand(folder: Path, base: Path, data: Any, **train: Any) -> dict[str, torch.Tensor]:
    """The first step's gradient from first principles: one sample at a time, the mean over all tokens."""
    todo = chat_job(folder, {**TRAIN, **train}, base, data=data)
    tuning = prepare(todo.adapter.model, todo.adapter.info, todo.train, todo.adapter.part_states())
    tuning.network.train()
    total, tokens = torch.zeros(()), 0
    for draw in next(steps(data, 4, todo.train.seed)):
        batch = todo.adapter.encode([draw.sample()], with_targets=True)
        labels = batch.tensors.pop("labels")[0, 1:]
        logits = tuning.network(**batch.tensors).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(logits, labels, reduction="sum", ignore_index=-100)
        tokens += int((labels != -100).sum())
    (total / tokens).backward()
    named = tuning.network.named_parameters()
    return {name: value.grad.clone() for name, value in named if value.grad is not None}


# What is trained


@pytest.mark.parametrize(
    ("settings", "moves"),
    [
        ({}, {"projector": "full", "language": "lora"}),
        ({"parts": {"projector": "frozen"}}, {"language": "lora"}),
        ({"parts": {"vision": "lora", "projector": "lora"}, "lora": {"targets": ["q_proj", "linear_1"]}},
         dict.fromkeys(PARTS, "lora")),
        ({"parts": {"vision": "full"}}, {"vision": "full", "projector": "full", "language": "lora"}),
        ({"method": "full", "parts": dict.fromkeys(PARTS, "full")}, dict.fromkeys(PARTS, "full")),
        ({"method": "full", "parts": {"language": "frozen"}}, {"projector": "full"}),
        ({"steps": None, "stages": [STAGES[0] | {"steps": 1}]}, None),
    ],
)  # fmt: skip
def test_a_part_is_trained_as_the_task_says_and_gradients_reach_all_of_it(tmp_path, base, settings, moves):
    if moves is None:  # the projector alone, LoRA in place but still
        settings = settings | {"stages": [*settings["stages"], STAGES[1] | {"learning_rate": 1e-30}]}
        moves = {"projector": "full"}
    settings = {**TRAIN, "steps": 1, **settings}
    with watched() as found:
        fine_tune(chat_job(tmp_path / "run", settings, base))
    todo = chat_job(tmp_path, settings, base)
    tuning = prepare(todo.adapter.model, todo.adapter.info, todo.train, todo.adapter.part_states())
    tuning.narrow(todo.stages[0].name)
    assert {name for name, value in tuning.network.named_parameters() if value.requires_grad} == set(found[0])
    reached: dict[str, set[str]] = {}
    for name, gradient in found[0].items():
        assert gradient.any() or ".lora_A." in name, f"no gradient reaches {name}"  # B is zero, and A waits
        reached.setdefault(part_of(name), set()).add("lora" if ".lora_" in name else "full")
    assert reached == {part: {state} for part, state in moves.items()}


def test_what_no_layer_reads_is_not_trained(tmp_path, base):
    """The vision tower's last layer is computed for nothing; another LLaVA reads it."""
    todo = chat_job(tmp_path, {**TRAIN, "method": "full", "parts": {"vision": "full"}}, base)
    tuning = prepare(todo.adapter.model, todo.adapter.info, todo.train, todo.adapter.part_states())
    assert any("vision_tower.encoder.layers.0" in name for name in tuning.names)
    assert not any("layers.1" in name and "vision_tower" in name for name in tuning.names)
    assert not any("post_layernorm" in name for name in tuning.names)


def test_stage_by_stage_only_what_the_stage_names_moves(tmp_path, base):
    states: list[dict[str, torch.Tensor]] = []
    original = Watcher.on_step_end

    def look(self: Watcher, *arguments: Any, **settings: Any) -> None:
        network = self._tuning.network
        states.append({name: value.detach().clone() for name, value in network.named_parameters()})
        original(self, *arguments, **settings)

    data = {"projector": dataset([talk(number) for number in range(4)]), "instructions": questions()}
    stages = [stage | {"steps": 2} for stage in STAGES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watcher, "on_step_end", look)
        result = fine_tune(chat_job(tmp_path, {**TRAIN, "steps": None, "stages": stages}, base, data=data))

    def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[tuple[str, bool]]:
        names = [name for name in before if not torch.equal(before[name], after[name])]
        return {(part_of(name), ".lora_" in name) for name in names}

    both = {("projector", False), ("language", True)}
    assert [moved(*pair) for pair in pairwise(states)] == [{("projector", False)}, both, both]
    assert [stage.parts for stage in result.stages] == [
        {"vision": "frozen", "projector": "full", "language": "frozen"},
        {"vision": "frozen", "projector": "full", "language": "lora"},
    ]


# With which gradients


@pytest.mark.parametrize(("micro", "mixed"), [(4, True), (2, True), (1, True), (2, False)])
def test_a_step_s_gradient_is_the_mean_over_its_answers_tokens(tmp_path, base, micro, mixed):
    """Of ragged prompts and answers, some about an image and some about none."""
    data, parts = questions(mixed=mixed), {"vision": "full"}
    found = gradients(tmp_path, base, data=data, micro_batch=micro, parts=parts, steps=1, seed=1)
    assert_equal(found[0], by_hand(tmp_path / "hand", base, data, parts=parts, seed=1))


def test_a_text_teaches_a_projector_nothing_and_stops_nobody(tmp_path, base):
    """Alone in a micro-batch, where only the projector is trained."""
    settings = {"method": "full", "parts": {"language": "frozen"}, "seed": 1}
    data = questions(mixed=True)
    found = gradients(tmp_path / "some", base, data=data, micro_batch=1, steps=1, **settings)
    assert_equal(found[0], by_hand(tmp_path / "hand", base, data, **settings))
    texts = dataset([question(number, image=False) for number in range(4)])
    [none] = gradients(tmp_path / "none", base, data=texts, steps=1, **settings)
    assert none
    assert not any(gradient.any() for gradient in none.values())


def test_checkpointing_changes_no_gradient(tmp_path, base):
    parts = {"vision": "full"}
    plain = gradients(tmp_path / "plain", base, parts=parts, steps=1)
    saving = gradients(tmp_path / "saving", base, parts=parts, steps=1, gradient_checkpointing=True)
    assert_equal(saving[0], plain[0])


@pytest.mark.heavy
def test_two_processes_of_which_one_sees_no_image_have_the_gradient_of_one(tmp_path, base):
    """And so in the next stage, where more is trained by another optimizer in the same processes."""
    parts = {"vision": "full", "projector": "full"}
    stages: list[dict[str, Any]] = [{"name": "seeing", "parts": parts, "steps": 1}]
    stages.append({"name": "all", "parts": parts | {"language": "lora"}, "steps": 1})
    settings = {**TRAIN, "steps": None, "batch": 2, "stages": stages, "seed": 1}
    one = gradients(tmp_path / "one", base, data=questions(mixed=True), **settings)
    assert all(any("vision" in name for name in step) for step in one)
    learned = [draw.sample() for draw in next(steps(questions(mixed=True), 2, seed=1))]
    assert ["image" in sample.inputs for sample in learned].count(True) == 1, "a process each"
    assert_two_processes_equal("tests.training.chats", tmp_path / "two", base, settings, one)


# What is left out, and in which order


def test_a_sample_that_can_not_be_learned_is_left_out_and_named(tmp_path, base):
    samples = [question(number) for number in range(6)]
    samples[2] = question(2, words="long " * 200)
    samples[4] = question(4, image=Broken())
    result = fine_tune(chat_job(tmp_path, {**TRAIN, "steps": 3}, base, data=dataset(samples)))
    assert set(result.left_out) == {"q2", "q4"}
    assert "512 positions of the language model" in result.left_out["q2"]
    assert "cut short" in result.left_out["q4"]


def test_samples_of_similar_cost_share_a_step_and_always_the_same_ones(tmp_path, base):
    """Costs are tokens: a long text costs as much as a short one with an image of four tokens."""
    adapter = chat(base)
    samples = [
        question(number, words="x" * (4 * number), image=False if number % 2 else None)
        for number in range(16)
    ]
    costs = {sample.id: adapter.cost(sample) for sample in samples}
    for sample in samples:
        ids = adapter.encode([sample]).settings["prompts"]
        held = len(ids.suffixes[0]) + int((ids.prefixes["attention_mask"]).sum())
        assert abs(costs[sample.id] - held) <= 2, "the start token and what stands around an image"

    def seen(folder: Path, *, grouped: bool) -> list[list[str]]:
        found: list[list[str]] = []
        original = Watcher.saw

        def look(self: Watcher, loss: Any, micro: Any) -> None:
            found.append([sample.id for sample in micro.batch.samples])
            original(self, loss, micro)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Watcher, "saw", look)
            settings = {**TRAIN, "steps": 4, "group_by_length": grouped}
            fine_tune(chat_job(folder, settings, base, data=dataset(samples)))
        return found

    grouped, ordered = seen(tmp_path / "a", grouped=True), sorted(costs, key=lambda id_: costs[id_])
    assert grouped == seen(tmp_path / "b", grouped=True)
    for batch in grouped:  # of 200 draws each sample is 12 or 13, so that a step holds two of them at most
        places = sorted({ordered.index(id_) for id_ in batch})
        assert len(places) <= 2
        assert places[-1] - places[0] <= 1
    alone = seen(tmp_path / "c", grouped=False)
    assert max(len(set(batch)) for batch in alone) == 4


# What comes out


def says(adapter: Adapter, samples: list[Sample]) -> tuple[list[str], list[float]]:
    """What it writes to them, and the loss of each."""
    adapter.model.eval()
    with torch.no_grad():
        losses = [
            float(adapter.loss(adapter.model, adapter.encode([sample], with_targets=True)))
            for sample in samples
        ]
    return [str(answer.output) for answer in adapter.predict(adapter.encode(samples))], losses


def test_what_is_saved_loaded_and_merged_says_the_same(tmp_path, base):
    parts = {"vision": "full", "projector": "full", "language": "lora"}
    stages = [STAGES[0] | {"steps": 2}, STAGES[1] | {"steps": 2, "parts": parts}]
    todo = chat_job(tmp_path, {**TRAIN, "learning_rate": 1e-2, "steps": None, "stages": stages}, base)
    result, samples = fine_tune(todo), [question(number) for number in range(3)]
    texts, losses = says(todo.adapter, samples)
    loaded = chat(base, result.folder)
    assert says(loaded, samples)[0] == texts
    assert says(loaded, samples)[1] == pytest.approx(losses, rel=1e-5)
    assert losses != pytest.approx(says(chat(base), samples)[1], rel=1e-2)
    parity = export(chat(base, result.folder), tmp_path / "merged")
    assert max(parity.merged, parity.reloaded) <= parity.limit
    merged = chat(tmp_path / "merged")
    assert says(merged, samples)[0] == texts
    assert says(merged, samples)[1] == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize("kind", ["vqa", "conversation", "multiple_choice"])
def test_any_kind_of_chat_can_be_probed_for_export(base, kind):
    names = {"vqa": ["question"], "conversation": ["messages"], "multiple_choice": ["question", "options"]}
    columns = {name: name for name in ["image", "target", *names[kind]]}
    spec = {"kind": kind, "data": {"columns": columns}}
    task = task_of(base, kind, data={"path": "x", **spec["data"]})
    adapter = load(task, base=base, device="cpu")
    probe = Probe.of(adapter, spec)
    [batch] = probe.batches
    assert "pixel_values" in batch.tensors
    labels = batch.tensors["labels"]
    assert (labels != -100).any(1).all(), "nothing would be compared"
    [logits] = probe.said(adapter)
    assert len(logits) == 2


def score(adapter: Adapter, step: int) -> dict[str, float]:
    """The loss, so that the last step is hardly the best one."""
    samples = [question(number) for number in range(20, 23)]
    return {"wer": sum(says(adapter, samples)[1])}


def train(folder: Path, base: Path) -> FineTuned:
    settings = {
        **TRAIN,
        "steps": None,
        "stages": STAGES,
        "evaluate_every": 2,
        "save_every": 2,
        "micro_batch": 2,
    }
    del settings["select_by"]
    return fine_tune(chat_job(folder, settings, base, evaluate=score))


def test_stages_that_are_interrupted_end_with_the_same_bits(tmp_path, base):
    whole, calls = train(tmp_path / "whole", base), []
    original = Watcher.on_step_end

    def end(self: Watcher, args: Any, state: Any, control: Any, **settings: Any) -> None:
        calls.append(state.global_step)
        if len(calls) in (3, 6):
            self._stop.name = "SIGTERM"
        original(self, args, state, control, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watcher, "on_step_end", end)
        for step, stage in ((3, 1), (2, 2)):
            with pytest.raises(RunError, match=f"after step {step} of 4 of stage {stage} of 2"):
                train(tmp_path / "parts", base)
        resumed = train(tmp_path / "parts", base)
    assert len(calls) == 8
    weights = [load_file(one.folder / "adapter_model.safetensors") for one in (whole, resumed)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert resumed.curve.to_json() == whole.curve.to_json()
