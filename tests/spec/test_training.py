"""The train section as a user meets it: what it means, what it refuses and where, what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.registry import FAMILIES
from harness.spec.digest import train_id
from harness.spec.kinds import KINDS, Kind
from harness.spec.load import kept_cells, load
from harness.spec.resolve import parse_setting
from harness.spec.training_data import selecting_metric, training_data, validation_data
from tests.spec.task_files import complaints, only

TASK = """\
name: mine
kind: asr
params: {voices: unheard, method: lora, rank: 4, seed: 0}
data:
  path: synthetic:spoken_digits
  options: {voices: "{voices}", n: 30}
  columns: {audio: audio, target: target, id: id, group: group}
model: {checkpoint: ./checkpoint}
generate: {language: en}
metrics: [{wer: {normalizer: lower}}, cer]
"""
TRAIN = """\
train:
  method: "{method}"
  lora: {r: "{rank}"}
  steps: 20
  data:
    options: {n: 200, seed: "{seed}"}
  keep:
    - {name: known voices, params: {voices: known}, tolerance: 1}
"""


# A matrix of cells


CELLS = "matrix: [{method: full, rank: null}, {method: lora, rank: 4}, {method: lora, rank: 8}]\n"


def test_a_matrix_may_list_its_cells(write):
    cells = load(write(TASK + CELLS + TRAIN))
    assert [cell.cell for cell in cells] == [
        {"method": "full", "rank": None},
        {"method": "lora", "rank": 4},
        {"method": "lora", "rank": 8},
    ]
    trains = [cell.task.train for cell in cells]
    assert [(train.method, train.lora.r) for train in trains if train] == [
        ("full", None),
        ("lora", 4),
        ("lora", 8),
    ]


@pytest.mark.parametrize(
    ("settings", "cells"),
    [
        (["method=lora"], [{"rank": 4}, {"rank": 8}]),
        (["method=lora", "rank=8"], [{}]),
        (["rank=2"], [{"method": "full"}, {"method": "lora"}]),
        (["method=full"], [{"rank": None}]),
    ],
)  # fmt: skip
def test_set_chooses_among_listed_cells(write, settings, cells):
    found = load(write(TASK + CELLS), [parse_setting(text) for text in settings])
    assert [dict(cell.cell) for cell in found] == cells


@pytest.mark.parametrize(
    ("matrix", "complaint"),
    [
        ("[{method: full}, {metod: lora}]", "task.yaml:11  matrix[1].metod: is not a parameter Did you mean"),
        (
            "[{method: full}, {method: lora, rank: 4}]",
            "task.yaml:11  matrix[1]: sets method, rank, but the first entry sets method Give every entry",
        ),
        ("[{method: full}, lora]", "task.yaml:11  matrix[1]: should be a mapping of parameters to values"),
        ("[{}]", "task.yaml:11  matrix[0]: should be a mapping of parameters to values"),
        ("lora", "task.yaml:11  matrix: should be a mapping of parameters to lists of values, or a list"),
        ("{method: lora}", "task.yaml:11  matrix.method: should be a list of values"),
    ],
)
def test_a_broken_matrix_says_where(write, matrix, complaint):
    assert any(line.startswith(complaint) for line in complaints(write(f"{TASK}matrix: {matrix}\n")))


# The data a training reads


def test_training_data_are_the_tasks_with_others_laid_over(write):
    task = only(write(TASK + TRAIN), "seed=3").task
    [data] = training_data(task).values()
    assert data.options == {"voices": "unheard", "n": 200, "seed": 3}
    assert data.columns == task.data.columns
    assert task.data.options == {"voices": "unheard", "n": 30}


def test_options_stay_with_their_builder(write, tmp_path):
    task = only(write(TASK + "train: {steps: 5, data: {path: ./clips.jsonl}}\n")).task
    assert training_data(task)[""].options == {}
    assert training_data(task)[""].columns["target"] == "target"


def test_the_best_step_is_chosen_on_the_tasks_own_validation_split(write):
    text = TASK.replace("  options:", "  splits: {validation: dev, test: test}\n  options:")
    over = "train: {steps: 5, data: {splits: {train: all, validation: other}}}\n"
    data = validation_data(only(write(text + over)).task)
    assert data
    assert (data.splits.validation, data.split) == ("dev", "validation")
    without = text.replace("validation: dev, ", "")
    data = validation_data(only(write(without + over)).task)
    assert data
    assert data.splits.validation == "other"


def test_the_first_metric_selects_unless_another_is_named(write):
    file = write(TASK + TRAIN)
    chosen = [
        selecting_metric(only(file, *setting).task)
        for setting in ([], ["train.select_by=cer"], ["train.select_by=last"])
    ]
    assert chosen == ["wer", "cer", None]


# Faults


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("train.select_by=were", "train.select_by: the task has no metric 'were'. Did you mean 'wer'?"),
        ("train.select_by=bleu", "train.select_by: the task has no metric 'bleu'. Known: wer, cer, last."),
        ("train.warmup=20", "train.warmup: 20 steps of warm-up leave none of 20"),
        ("train.epochs=2", "train: give either steps or epochs"),
        ("data.splits={train: train, test: test}", "train: there is no validation split to choose the best"),
        ("data.splits={validation: dev, test: test}", "train: there is no train split to learn from."),
        ("train.data.optoins={n: 5}", "train.data.optoins: unknown key. Did you mean 'options'?"),
        ("train.data.options.voice=known", "train.data.options.voice: unknown option. Did you mean"),
        ("train.data.options.n=0", "train.data.options.n"),
        ("train.data.path=synthetic:spoken", "train.data.path: there is no synthetic dataset 'spoken'."),
        ("train.data.columns=audio", "train.data.columns: should be a mapping"),
        ("train.data.revision=main", "train.data: revision: a synthetic dataset has no"),
        ("train.keep=[{name: a, params: {voice: known}}]", "train.keep[0].params.voice: is not a parameter"),
        (
            "train.keep=[{name: a, params: {voices: everyone}}]",
            "train.keep[0].params: data.options.voices: there is no set of voices 'everyone'.",
        ),
        ("train.steps=\"{stepps}\"", "train.steps: '{stepps}' is not a parameter of this task"),
        ("train.learning_rat=1", "train.learning_rat: unknown key. Did you mean 'learning_rate'?"),
    ],
)  # fmt: skip
def test_faults_of_a_train_section_are_found_when_it_is_read(write, setting, complaint):
    found = complaints(write(TASK + TRAIN), setting)
    assert any(f"  {complaint}" in line for line in found), found


def test_a_training_that_would_learn_what_is_scored_is_refused(write, tmp_path):
    (tmp_path / "clips.jsonl").write_text('{"audio": "a.wav", "target": "a"}\n')
    task = (
        "kind: asr\nname: mine\nmodel: {checkpoint: a/b}\nmetrics: [wer]\n"
        "data: {path: ./clips.jsonl, columns: {audio: audio, target: target}}\ntrain: {steps: 1}\n"
    )
    [found] = complaints(write(task))
    assert found.startswith("task.yaml:6  train: ./clips.jsonl is one file, which serves every split")
    assert "train.jsonl, validation.jsonl and test.jsonl" in found
    [found] = complaints(write(task), "data.path=a/b", "data.splits={train: x, validation: y, test: x}")
    assert "train: split 'x' is learned from and scored (test)." in found
    [found] = complaints(write(task), "data.path=a/b", "data.splits={train: x, validation: x, test: y}")
    assert "train: split 'x' is learned from and scored (validation)." in found
    assert only(write(task), "data.path=a/b").task.train


def test_faults_have_the_line_of_what_is_wrong(write):
    [found] = complaints(write(TASK + TRAIN.replace("n: 200", "m: 200")))
    assert found.startswith("task.yaml:16  train.data.options.m: unknown option.")
    text = TRAIN.replace("{voices: known}", "{voices: none}")
    [found] = complaints(write(TASK + text))
    assert found.startswith("task.yaml:18  train.keep[0].params: data.options.voices: there is no set")


def test_one_mistake_in_the_data_section_is_one_fault(write):
    [found] = complaints(write((TASK + TRAIN).replace("n: 30", "m: 30")))
    assert found.startswith("task.yaml:6  data.options.m: unknown option.")


def test_a_stream_is_measured_in_steps(write):
    text = TASK.replace(
        'synthetic:spoken_digits\n  options: {voices: "{voices}", n: 30}', "owner/name\n  streaming: true"
    )
    assert only(write(text + "train: {steps: 5}\n"))
    [found] = complaints(write(text + "train: {epochs: 2}\n"))
    assert found.startswith("task.yaml:11  train.epochs: a stream's length isn't known. Give train.steps")
    assert load(write(text + "train: {epochs: 2}\n"), training=False), "a stream can be scored"


@pytest.mark.parametrize("known_by", ["family", "config", "nothing"])
def test_parts_are_checked_where_the_family_is_known_without_a_download(write, tmp_path, known_by):
    parts = "train: {steps: 5, parts: {encodr: frozen}}\n"
    text = TASK.replace("checkpoint: ./", "family: whisper, checkpoint: ./") if known_by == "family" else TASK
    if known_by == "config":
        (tmp_path / "checkpoint").mkdir()
        (tmp_path / "checkpoint" / "config.json").write_text(json.dumps({"model_type": "moonshine"}))
    if known_by == "nothing":
        assert only(write(text + parts))
        return
    [found] = complaints(write(text + parts))
    assert found == (
        "task.yaml:11  train.parts.encodr: family 'whisper' has no part 'encodr'. Did you mean 'encoder'?"
    )
    assert set(FAMILIES.get("whisper").info.parts) >= {"encoder", "decoder"}


def test_sound_is_only_perturbed_where_there_is_some(write, monkeypatch):
    monkeypatch.setitem(KINDS, "captioning", Kind("generate", ("image",)))
    text = TASK.replace("kind: asr", "kind: captioning").replace("audio: audio", "image: image")
    found = complaints(write(text + "train: {steps: 5, augment: {spec_augment: {}}}\n"))
    assert "task.yaml:11  train.augment.spec_augment: kind 'captioning' has no audio to perturb." in found


def test_what_a_kind_is_asked_of_decides_whether_there_is_sound(write):
    """Classes are told of images and of clips; the columns say which."""
    text = TASK.replace("kind: asr", "kind: zero_shot_classification").replace(
        "[{wer: {normalizer: lower}}, cer]", "[accuracy]"
    )
    text = text.replace("generate: {language: en}\n", "") + "train: {steps: 5, augment: {noise: {}}}\n"
    assert only(write(text)).task.inputs == ("audio",)
    found = complaints(write(text.replace("audio: audio", "image: image")))
    assert "kind 'zero_shot_classification' has no audio to perturb." in "".join(found)


# What is kept


def test_a_kept_cell_is_the_task_with_its_parameters(write):
    file = write(TASK + CELLS + TRAIN)
    for resolved in load(file, [parse_setting("seed=7"), parse_setting("generate.num_beams=2")]):
        [(keep, kept)] = kept_cells(resolved)
        assert (keep.name, keep.tolerance) == ("known voices", 1)
        plain = only(file, "seed=7", "generate.num_beams=2", "voices=known", "method=lora", "rank=4")
        assert kept.spec_id == plain.spec_id != resolved.spec_id
        assert kept.task.params == {**resolved.task.params, "voices": "known"}
        assert kept.task.train is None
        assert kept.task.model == resolved.task.model


# Digests


@pytest.mark.parametrize(
    "train",
    [
        "",
        TRAIN,
        TRAIN.replace("20", "40"),
        "train: {epochs: 1, seed: 5, batch: 4, data: {options: {n: 3}}}\n",
    ],
)
def test_nothing_under_train_changes_what_is_scored(write, train):
    assert only(write(TASK + train)).spec_id == only(write(TASK)).spec_id


def identity(file: Path, *settings: str, **changes: str) -> str:
    task = only(file, *settings).task
    start = {"checkpoint": "c", "dtype": "float32"} | changes
    return train_id(task, file.parent, start=start, fingerprints={"train": "t", "validation": "v"})


@pytest.mark.parametrize(
    "setting",
    [
        "train.micro_batch=2", "train.gradient_checkpointing=true", "train.save_every=3", "train.keep=[]",
        "train.report_to=[trackio]", "train.learning_rate=0.001", "train.lora.alpha=8", "train.select_by=wer",
        "train.batch=32", "description=words", "run.workers=1", "run.batch_size=2", "statistics.draws=200",
        "data.split=validation", "data.options.n=31", "metrics=[{wer: {normalizer: lower}}]", "train.seed=0",
    ],
)  # fmt: skip
def test_what_leaves_the_weights_alone_leaves_a_training_the_same(write, setting):
    file = write(TASK + TRAIN)
    assert identity(file, setting) == identity(file)


@pytest.mark.parametrize(
    "setting",
    [
        "train.steps=21", "train.seed=1", "train.lora.r=8", "train.method=full", "train.batch=16",
        "train.select_by=cer", "train.select_by=last", "train.augment.gain_db=[-1, 1]",
        "train.limit=10", "train.evaluate_every=2", "train.validation_limit=3", "generate.language=fr",
        "generate.num_beams=2", "metrics=[{wer: {normalizer: none}}]", "kind=speech_translation",
        "data.splits={train: a, validation: b}", "train.lora.dropout=0.1", "train.learning_rate=0.002",
    ],
)  # fmt: skip
def test_what_decides_the_weights_makes_another_training(write, setting):
    file = write(TASK + TRAIN)
    settings = [setting, "train.lora={}"] if setting == "train.method=full" else [setting]
    assert identity(file, *settings) != identity(file)


def test_the_checkpoint_and_the_data_decide_too(write):
    file = write(TASK + TRAIN)
    assert identity(file, checkpoint="other") != identity(file)
    assert identity(file, dtype="bfloat16") != identity(file)
    task = only(file).task
    start = {"checkpoint": "c", "dtype": "float32"}
    prints = [train_id(task, file.parent, start=start, fingerprints={"train": name}) for name in "ab"]
    assert prints[0] != prints[1]
