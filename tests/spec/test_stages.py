"""`train.stages` as a user meets it: what a stage takes from its section, what is refused, what counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.spec.digest import train_id
from harness.spec.training import Train
from harness.spec.training_data import training_data, validation_data
from tests.spec.task_files import complaints, only

TASK = """\
name: mine
kind: vqa
params: {first: 10}
data:
  path: owner/questions
  columns: {image: image, question: question, target: answer}
model: {checkpoint: somebody/chat}
metrics: [exact_match]
train:
  learning_rate: 1e-4
  batch: 8
  select_by: last
  stages:
    - name: projector
      parts: {projector: full}
      steps: "{first}"
      batch: 16
      learning_rate: 1e-3
      data: {path: owner/captions, columns: {messages: conversations}}
      limit: 100
    - name: instructions
      parts: {projector: full, language: lora}
      epochs: 2
"""


def section(file: Path, *settings: str) -> Train:
    train = only(file, *settings).task.train
    assert train
    return train


def test_a_stage_is_the_section_with_what_it_says_itself(write):
    first, second = section(write(TASK)).staged.items()
    assert (first[0], second[0]) == ("projector", "instructions")
    told = ("steps", "epochs", "batch", "peak_learning_rate", "limit")
    assert [getattr(first[1], name) for name in told] == [10, None, 16, 1e-3, 100]
    assert [getattr(second[1], name) for name in told] == [None, 2, 8, 1e-4, None]
    assert section(write(TASK), "first=3").staged["projector"].steps == 3


def test_a_section_without_stages_is_its_own_only_one():
    train = Train(steps=3)
    assert train.staged == {"": train}
    assert Train.model_validate(train.model_dump(mode="json")) == train


def test_it_is_the_same_after_it_was_written_down(write):
    train = section(write(TASK))
    again = Train.model_validate(train.model_dump(mode="json"))
    assert again == train
    assert again.staged == train.staged


def test_what_is_done_with_a_part_over_all_stages(write):
    assert section(write(TASK)).named_parts == {"projector": "full", "language": "lora"}
    frozen = "train.stages=[{name: a, steps: 1, parts: {vision: frozen, language: lora}}]"
    assert section(write(TASK), frozen).named_parts == {"vision": "frozen", "language": "lora"}


def test_the_data_of_a_stage_lie_over_those_of_the_section_and_those_over_the_task_s(write):
    file = write(TASK.replace("  batch: 8\n", "  batch: 8\n  data: {path: owner/others, name: small}\n"))
    data = training_data(only(file).task)
    first, second = data["projector"], data["instructions"]
    assert (first.path, first.name) == ("owner/captions", "small")
    assert first.columns == {"image": "image", "messages": "conversations"}
    assert (second.path, second.name) == ("owner/others", "small")
    assert second.columns == {"image": "image", "question": "question", "target": "answer"}


def test_options_of_a_builder_do_not_pass_to_another_path(write):
    file = write(
        TASK.replace("  batch: 8\n", "  batch: 8\n  data: {path: synthetic:dummy, options: {n: 3}}\n")
    )
    data = training_data(only(file).task)
    assert data["projector"].options == {}
    assert data["instructions"].options == {"n": 3}


def test_the_best_step_is_chosen_on_the_last_stage_s_validation_split(write):
    text = TASK.replace("  columns: {image: image, q", "  splits: {test: test}\n  columns: {image: image, q")
    first, second = ("      data: {path: ./a, splits: {train: t, validation: v1}}\n",) * 2
    text = text.replace("      data: {path: owner/captions, columns: {messages: conversations}}\n", first)
    text += second.replace("v1", "v2").replace("./a", "./b")
    data = validation_data(only(write(text)).task)
    assert data
    assert (data.path, data.splits.validation) == ("./b", "v2")


LAST = "    - name: instructions\n"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("  batch: 8\n", "  steps: 5\n", "9  train: give steps or epochs in each of the stages, not beside"),
        ("      epochs: 2\n", "", "21  train.stages[1]: give either steps or epochs"),
        (LAST, "    - name: projector\n", "9  train: stages: 2 are called 'projector'"),
        (
            "{projector: full}\n",
            "{projector: lora}\n",
            "9  train: stages: part 'projector' can't be lora in one",
        ),
        (
            "{projector: full}\n",
            "{projector: frozen}\n",
            "15  train.stages[0].parts: nothing would be trained",
        ),
        ("{projector: full}\n", "{}\n", "15  train.stages[0].parts: needs at least 1 entry"),
        ("  batch: 8\n", "  parts: {vision: frozen}\n", "9  train: parts: every stage names its own"),
        (
            "      batch: 16\n",
            "      bach: 16\n",
            "17  train.stages[0].bach: unknown key. Did you mean 'batch'?",
        ),
        (
            "{path: owner/captions,",
            "{pth: a/b,",
            "19  train.stages[0].data.pth: unknown key. Did you mean 'path'?",
        ),
        (
            "{path: owner/captions, columns: {messages: conversations}}",
            "{path: synthetic:dummy, options: {m: 3}}",
            "19  train.stages[0].data.options.m: unknown option.",
        ),
        (
            "{path: owner/captions, columns: {messages: conversations}}",
            "{splits: {train: test}}",
            "14  train.stages[0]: there is no train split",
        ),
        (
            "{path: owner/captions, columns: {messages: conversations}}",
            "{splits: {train: test, test: test}}",
            "14  train.stages[0]: split 'test' is learned from and scored (test).",
        ),
        (
            "      learning_rate: 1e-3\n",
            "      warmup: 10\n",
            "18  train.stages[0].warmup: 10 steps of warm-up",
        ),
        (
            "      epochs: 2\n",
            "      epochs: 2\n      data: {path: a/b, streaming: true}\n",
            "23  train.stages[1].epochs: a stream's length isn't known. Give train.stages[1].steps instead.",
        ),
        ("  select_by: last\n", "  select_by: acuracy\n", "12  train.select_by: the task has no metric"),
    ],
)
def test_faults_of_stages_are_found_when_the_file_is_read(write, old, new, complaint):
    text = TASK.replace(old, new, 1)
    if "{splits: {train: test}}" in new:
        text = text.replace("{splits: {train: test}}", "{splits: {test: test}}")
    found = complaints(write(text))
    assert any(line.startswith(f"task.yaml:{complaint}") for line in found), found


def test_an_empty_list_of_stages_is_refused(write):
    text = TASK[: TASK.index("  stages:")] + "  stages: []\n"
    assert any("train.stages: needs at least 1 entry" in line for line in complaints(write(text)))


def test_parts_of_stages_are_checked_where_the_family_is_known(write):
    text = TASK.replace("{checkpoint:", "{family: llava, checkpoint:").replace(
        "language: lora", "langage: lora"
    )
    [found] = complaints(write(text))
    assert found.startswith(
        "task.yaml:22  train.stages[1].parts.langage: family 'llava' has no part 'langage'."
    )
    assert "Did you mean 'language'?" in found


def test_paths_of_an_extended_file_s_stages_are_read_from_there(tmp_path):
    (tmp_path / "kinds").mkdir()
    (tmp_path / "kinds" / "base.yaml").write_text(TASK.replace("owner/captions", "./captions"))
    (tmp_path / "task.yaml").write_text("extends: kinds/base.yaml\nname: other\n")
    data = training_data(only(tmp_path / "task.yaml").task)
    assert data["projector"].path == "./kinds/captions"


# The digest of a training


def digest(file: Path, *settings: str, **prints: str) -> str:
    found = only(file, *settings)
    return train_id(found.task, found.base, start={}, fingerprints=prints)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    - name: projector", "    - name: connector"),
        ("      batch: 16\n", "      batch: 16\n      micro_batch: 2\n"),
        ("      limit: 100\n", "      limit: 100\n      schedule: linear\n      data: {}\n"),
    ],
)
def test_what_changes_no_weights_leaves_the_digest_of_a_training_alone(write, old, new):
    text = TASK.replace("      data: {path: owner/captions, columns: {messages: conversations}}\n", "")
    assert digest(write(text)) == digest(write(text.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"{first}"', "11"),
        ("      batch: 16", "      batch: 32"),
        ("learning_rate: 1e-3", "learning_rate: 2e-3"),
        ("learning_rate: 1e-4", "learning_rate: 2e-4"),
        ("owner/captions", "owner/more"),
        ("messages: conversations", "messages: turns"),
        ("limit: 100", "limit: 101"),
        ("epochs: 2", "epochs: 3"),
        ("parts: {projector: full, language: lora}", "parts: {language: lora}"),
        ("      parts: {projector: full, language: lora}\n", ""),
        ("      limit: 100\n", "      limit: 100\n      weight_decay: 0.1\n"),
        ("      limit: 100\n", "      limit: 100\n      group_by_length: true\n"),
        ("      limit: 100\n", "      limit: 100\n      schedule: cosine\n"),
        ("      limit: 100\n", "      limit: 100\n      warmup: 0\n"),
    ],
)
def test_what_changes_weights_changes_the_digest_of_a_training(write, old, new):
    assert old in TASK
    assert digest(write(TASK)) != digest(write(TASK.replace(old, new, 1)))


def test_whether_the_other_parts_are_frozen_is_part_of_the_digest(write):
    """The same states may be said for a stage alone, which freezes the others, or for all of them."""
    named = TASK[: TASK.index("  stages:")] + "  stages: [{name: a, steps: 2, parts: {language: lora}}]\n"
    general = named.replace(", parts: {language: lora}", "") + "  parts: {language: lora}\n"
    assert section(write(named)).staged["a"].parts == section(write(general)).staged["a"].parts
    assert digest(write(named)) != digest(write(general))
