"""Rows as real data sets have them by mistake: each is a failure that says why, and the others count."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tests.hub.hub_server import HubServer
from tests.hub.question_rows import Row, mmmu, photo, vizwiz
from tests.hub.questions import write_rows
from tests.hub.runner import runner
from tests.models.tiny_chat import tiny_llava

pytestmark = [pytest.mark.network, pytest.mark.heavy]

Bad = Mapping[str, tuple[Row, str]]
"""A row's id, what is wrong with it, and what its failure says."""
ANSWERS: Bad = {
    "no image": ({"image": None}, r"RowError: column 'image' \(image\) is empty"),
    "no pixels": ({"image": {"bytes": b"GIF87", "path": None}}, "MediaError: .*image"),
    "nine answers": (
        {"answers": ["cat"] * 9},
        "RowError: .*expects 10 answers a question, .* has 9",
    ),
    "no answers": ({"answers": []}, r"RowError: column 'answers' \(target\) is empty: there is no answer"),
    "no question": ({"question": None}, r"RowError: column 'question' \(question\) is empty"),
}
CHOICES: Bad = {
    "half a list": ({"options": "['a', 'b'"}, r"RowError: .*options\) holds text that is no list of options"),
    "one option": ({"options": "['a']"}, "RowError: .* has 1 options: a choice has 2 to 26"),
    "no such option": ({"answer": "F"}, "RowError: .* holds 'F', but there are 2 options: A to B"),
    "no place": ({"image_2": photo(9)}, "RowError: .* has 2 images, its prompt 1 place for images"),
    "no third image": ({"question": "<image 3>?"}, "RowError: .* has 1 image, its prompt 1 place for images"),
}


def test_bad_rows_are_failures_that_say_why(tmp_path: Path) -> None:
    questions = [vizwiz(number) for number in range(2)]
    questions += [vizwiz(9) | {"question_id": name} | changed for name, (changed, _) in ANSWERS.items()]
    exams = [mmmu(number) for number in range(2)]
    exams += [mmmu(0) | {"id": name} | changed for name, (changed, _) in CHOICES.items()]
    write_rows(tmp_path / "vizwiz/data/val-00000-of-00001.parquet", questions)
    write_rows(tmp_path / "mmmu/data/validation-00000-of-00001.parquet", exams)
    model = tiny_llava(tmp_path / "llava", positions=2048)
    with HubServer(
        {
            ("model", "llava-hf/llava-1.5-7b-hf"): {"main": model},
            ("dataset", "lmms-lab-encoder/VizWiz-VQA"): {"main": tmp_path / "vizwiz"},
            ("dataset", "lmms-lab-encoder/MMMU"): {"main": tmp_path / "mmmu"},
        }
    ) as hub:
        (tmp_path / "work").mkdir()
        run = runner(hub, tmp_path / "work")
        found = run([["eval", "vizwiz"], ["eval", "mmmu"]], code=4)
    for one, bad in zip(found, (ANSWERS, CHOICES), strict=True):
        [record] = one["runs"]
        assert (record["data"]["n"], record["failures"]["n"]) == (2 + len(bad), len(bad))
        assert next(iter(record["metrics"].values()))["n"] == 2
        _check_messages(tmp_path / "work", record, bad)


def _check_messages(folder: Path, record: Mapping[str, Any], bad: Bad) -> None:
    run_id = record["run_id"]
    rows = parquet.read_table(folder / f"results/samples/{run_id[:2]}/{run_id}.parquet").to_pylist()
    errors = {row["id"]: row["error"] for row in rows if row["error"] is not None}
    assert errors.keys() == bad.keys()
    for name, (_, pattern) in bad.items():
        assert re.search(pattern, str(errors[name])), (name, errors[name])
