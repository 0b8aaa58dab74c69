"""Which splits a run reads, and with which list of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.spec.classes import Classes
from harness.spec.digest import train_id
from harness.spec.load import load
from harness.tuning.lessons import needed_data
from tests.tasks import task_of

TASK = """
name: t
kind: {kind}
model: {{checkpoint: x}}
metrics: [accuracy]
classes: {{names_file: names.txt}}
data: {{path: org/rows, columns: {{image: image, target: label}}}}
"""


@pytest.mark.parametrize(
    ("kind", "more", "splits"),
    [
        ("zero_shot_classification", "", ["test"]),
        ("linear_probe", "", ["test", "train", "validation"]),
        ("linear_probe", "probe: {strengths: [1]}", ["test", "train"]),
    ],
)
def test_a_probe_reads_what_it_learns_from(tmp_path: Path, kind: str, more: str, splits: list[str]) -> None:
    (tmp_path / "task.yaml").write_text(TASK.format(kind=kind) + more)
    [cell] = load(tmp_path / "task.yaml")
    needs = list(needed_data(cell, training=True))
    assert [need.split for need in needs] == splits
    assert {need.classes for need in needs} == {Classes(names_file="names.txt")}
    assert needs[0].to_json() == needs[0].to_json()
    assert needs[0].to_json() != type(needs[0])(needs[0].section, "test", tmp_path).to_json()


def test_other_templates_are_another_training(tmp_path: Path) -> None:
    def id_of(**sections: Any) -> str:
        task = task_of("x", "zero_shot_classification", column="image", train={"steps": 1}, **sections)
        return train_id(task, tmp_path, start={}, fingerprints={})

    assert id_of() == id_of(classes={})
    assert len({id_of(), id_of(classes={"templates": ["a {}"]}), id_of(classes={"names": ["a", "b"]})}) == 3
