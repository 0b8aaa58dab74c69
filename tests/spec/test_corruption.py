"""`corrupt:` in the data section: what it may be, what it changes, and that training never sees it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.spec.digest import train_id
from harness.spec.kinds import KINDS, Kind
from harness.spec.load import ResolvedTask, load
from harness.spec.training_data import training_data, validation_data

TASK = """\
name: mine
kind: asr
data:
  path: synthetic:dummy
  columns: {audio: audio, target: target}
model: {checkpoint: openai/whisper-tiny}
metrics: [wer]
train: {steps: 3}
"""
NOISE = "  corrupt: {kind: noise, severity: 2}\n"


def resolved(folder: Path, corrupt: str = "", text: str = TASK) -> ResolvedTask:
    file = folder / "task.yaml"
    file.write_text(text.replace("model:", f"{corrupt}model:"))
    [found] = load(file)
    return found


def faults(folder: Path, corrupt: str, text: str = TASK) -> list[str]:
    with pytest.raises(SpecError) as caught:
        resolved(folder, corrupt, text)
    return [str(fault) for fault in caught.value.faults]


def trained(task: ResolvedTask) -> str:
    return train_id(task.task, task.base, start={}, fingerprints={})


def test_a_corruption_changes_the_score_and_so_the_digest(tmp_path: Path) -> None:
    spec_ids = [
        resolved(tmp_path, corrupt).spec_id
        for corrupt in ("", NOISE, NOISE.replace("2", "3"), NOISE.replace("noise", "gain"))
    ]
    spec_ids.append(resolved(tmp_path, NOISE.replace("}", ", seed: 1}")).spec_id)
    assert len(set(spec_ids)) == 5
    assert resolved(tmp_path, "  corrupt: null\n").spec_id == spec_ids[0]
    assert resolved(tmp_path, NOISE.replace("}", ", seed: 0}")).spec_id == spec_ids[1]


def test_training_never_sees_it(tmp_path: Path) -> None:
    """So that one fine-tune, chosen on clean data, is scored at every severity."""
    clean, noisy = resolved(tmp_path), resolved(tmp_path, NOISE)
    assert noisy.task.data.corrupt is not None
    assert training_data(noisy.task)[""].corrupt is None
    chosen_on = validation_data(noisy.task)
    assert chosen_on is not None
    assert chosen_on.corrupt is None
    assert trained(noisy) == trained(clean)


def test_a_matrix_of_severities(tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    corrupt = NOISE.replace("2", '"{severity}"')
    text = (
        TASK.replace("model:", f"{corrupt}model:") + "params: {severity: 1}\nmatrix: {severity: [1, 3, 5]}\n"
    )
    file.write_text(text)
    cells = load(file)
    assert [cell.task.data.corrupt and cell.task.data.corrupt.severity for cell in cells] == [1, 3, 5]
    assert len({trained(cell) for cell in cells}) == 1


@pytest.mark.parametrize(
    ("corrupt", "fault"),
    [
        (
            "  corrupt: {kind: blur, severity: 2}\n",
            r"task\.yaml:6  data\.corrupt\.kind: 'blur' can't be done to the audio of kind 'asr'\. "
            "Known: noise, gain, band_limit, time_mask.",
        ),
        ("  corrupt: {kind: gaussian_noise, severity: 2}\n", r"can't be done to the audio.*"),
        (
            "  corrupt: {kind: nose, severity: 2}\n",
            r"task\.yaml:6  data\.corrupt\.kind: .*Did you mean 'noise'\?",
        ),
        ("  corrupt: {kind: noise, severity: 6}\n", r"task\.yaml:6  data\.corrupt\.severity: .*5.*"),
        ("  corrupt: {kind: noise}\n", r"data\.corrupt\.severity: is missing."),
        (
            "  corrupt: {kind: noise, severity: 1, sed: 1}\n",
            r"data\.corrupt\.sed: unknown key\. Did you mean 'seed'\?",
        ),
    ],
)
def test_faults(tmp_path: Path, corrupt: str, fault: str) -> None:
    [found] = faults(tmp_path, corrupt)
    assert re.search(fault, found), found


def test_images_have_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "looking", Kind(mode="generate", inputs=("image",)))
    text = (
        TASK.replace("kind: asr", "kind: looking")
        .replace("{audio: audio", "{image: audio")
        .replace("wer", "cer")
    )
    assert resolved(tmp_path, "  corrupt: {kind: blur, severity: 2}\n", text).task.data.corrupt
    [fault] = faults(tmp_path, NOISE, text)
    assert "'noise' can't be done to the image of kind 'looking'. Known: gaussian_noise, blur" in fault


def test_what_is_learned_from_can_not_be_corrupted(tmp_path: Path) -> None:
    text = TASK.replace("{steps: 3}", "{steps: 3, data: {corrupt: {kind: noise, severity: 1}}}")
    [fault] = faults(tmp_path, "", text)
    assert "train.data.corrupt: only what is scored is corrupted. train.augment" in fault
