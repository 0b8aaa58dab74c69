"""Baselines as a user writes them: which of the task's keys they replace, and what they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.spec.load import ResolvedTask, baseline_cells, kept_cells, load
from harness.spec.resolve import parse_setting

TASK = """\
name: mine
kind: asr
params: {voices: unheard, size: 30}
data:
  path: synthetic:spoken_digits
  options: {voices: "{voices}", n: "{size}"}
  columns: {audio: audio, target: target, id: id, group: group}
model: {checkpoint: ./checkpoint, revision: abc, dtype: bfloat16}
generate: {language: en, num_beams: 2}
metrics: [{wer: {normalizer: lower}}, cer]
leaderboard: asr
baselines:
  - name: another one
    task:
      model: {checkpoint: ./other}
  - {name: without beams, task: {generate: {num_beams: 1}, metrics: [cer]}}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "task.yaml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def cells(file: Path, *settings: str) -> list[ResolvedTask]:
    [resolved] = load(file, [parse_setting(text) for text in settings])
    assert [baseline.name for baseline, _ in baseline_cells(resolved)] == ["another one", "without beams"]
    return [cell for _, cell in baseline_cells(resolved)]


def complaints(file: Path, *settings: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(file, [parse_setting(text) for text in settings])
    return [str(fault).replace(f"{file.parent}/", "") for fault in caught.value.faults]


def test_a_baseline_is_the_task_with_its_keys(write):
    file = write(TASK)
    [task] = load(file)
    other, beamless = cells(file)
    assert other.task.generate == task.task.generate
    assert (beamless.task.generate.num_beams, beamless.task.generate.language) == (1, "en")
    assert [metric.name for metric in beamless.task.metrics] == ["cer"]
    assert beamless.task.model == task.task.model
    for cell in (other, beamless):
        assert cell.task.data == task.task.data
        assert (cell.base, cell.cell, cell.task.name) == (task.base, task.cell, "mine")
        assert (cell.task.train, cell.task.baselines, cell.task.leaderboard) == (None, (), None)
    assert beamless.spec_id != task.spec_id == other.spec_id


def test_a_revision_belongs_to_its_checkpoint(write):
    other, _ = cells(write(TASK))
    assert (other.task.model.checkpoint, other.task.model.revision) == ("./other", None)


def test_what_the_command_line_sets_goes_for_baselines_too(write):
    other, beamless = cells(write(TASK), "model.checkpoint=./mine", "size=7")
    assert (other.task.model.checkpoint, beamless.task.model.checkpoint) == ("./other", "./mine")
    assert other.task.data.options["n"] == beamless.task.data.options["n"] == 7


def test_parameters_are_filled_in(write):
    file = write(
        TASK.replace("size: 30", "size: 30, beams: 5").replace("num_beams: 1", 'num_beams: "{beams}"')
    )
    assert cells(file)[1].task.generate.num_beams == 5
    matrix = "matrix: {voices: [known, unheard]}\n"
    assert [
        [cell.task.data.options["voices"] for _, cell in baseline_cells(one)]
        for one in load(write(TASK + matrix))
    ] == [["known", "known"], ["unheard", "unheard"]]


def test_a_checkpoint_is_beside_the_file_that_names_it(write):
    write(TASK, "kinds/parent.yaml")
    [resolved] = load(write("extends: kinds/parent\nname: child\n"))
    (_, other), (_, beamless) = baseline_cells(resolved)
    assert other.task.model.checkpoint == "./kinds/other"
    assert beamless.task.model.checkpoint == "./kinds/checkpoint"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("./other}", "./other, familly: x}", "15  baselines[0].task.model.familly: unknown key. Did you"),
        ("./other}", "./other, family: whispr}", "15  baselines[0].task.model.family: there is no model"),
        ("metrics: [cer]", "metrics: [ser]", "16  baselines[1].task.metrics[0]: there is no metric 'ser'."),
        ("metrics: [cer]", "kind: ars", "16  baselines[1].task.kind: there is no kind 'ars'. Did you"),
        (
            "      model: {checkpoint: ./other}",
            "      kind: classification\n      data: {path: elsewhere}",
            "16  baselines[0].task.data: a baseline can't change that",
        ),
        ("metrics: [cer]", "metric: [cer]", "16  baselines[1].task.metric: a baseline can't change that"),
        ("metrics: [cer]", "train: {steps: 2}", "16  baselines[1].task.train: a baseline can't change that"),
        ("name: another one", "nam: another one", "13  baselines[0].nam: unknown key. Did you mean 'name'?"),
    ],
)  # fmt: skip
def test_a_fault_is_told_where_the_baseline_stands(write, old, new, fault):
    found = complaints(write(TASK.replace(old, new)))
    assert any(line.startswith(f"task.yaml:{fault}") for line in found), found


def test_what_a_baselines_kind_lacks_is_its_fault(write):
    text = TASK.replace("{generate: {num_beams: 1}, metrics: [cer]}", "{kind: retrieval}")
    text = text.replace("audio: audio", "audio: audio, image: file")
    found = complaints(write(text))
    needs = "task.yaml:16  baselines[1].task: kind 'retrieval' needs data.columns to map one of"
    assert [line for line in found if line.startswith(needs)], found
    assert all(line.startswith("task.yaml:16  baselines[1].task: ") for line in found)


def test_a_baseline_set_on_the_command_line_says_so(write):
    [found] = complaints(write(TASK), "baselines=[{name: x, task: {kind: ars}}]")
    assert "baselines[0].task.kind: there is no kind 'ars'" in found
    assert found.startswith("--set baselines")


def test_a_fault_of_a_baseline_is_told_once_beside_what_is_kept(write):
    keep = "train: {steps: 2, keep: [{name: known, params: {voices: known}}]}\n"
    file = write(TASK + keep)
    [resolved] = load(file)
    [(_, kept)] = kept_cells(resolved)
    assert kept.task.baselines == ()
    [found] = complaints(write((TASK + keep).replace("num_beams: 1", "num_beams: 0")))
    assert found.startswith("task.yaml:16  baselines[1].task.generate.num_beams: should be greater than")


def test_one_fault_of_the_task_is_not_repeated_for_each_baseline(write):
    [found] = complaints(write(TASK.replace("num_beams: 2", "num_beams: 0")))
    assert found.startswith("task.yaml:9  generate.num_beams")
