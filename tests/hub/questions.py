"""The data sets of the shipped tasks of questions and captions, as repositories of a hub.

Configurations and splits are those of the data sets' cards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tests.data.pictures import picture, saved
from tests.hub.question_rows import (
    Row,
    chartqa,
    chartqa_m4,
    docvqa,
    gqa_images,
    gqa_questions,
    instruct_mix,
    mmmu,
    newyorker,
    nocaps,
    okvqa,
    pope,
    recap,
    scienceqa,
    textvqa,
    vizwiz,
    vqav2,
)

ROWS = 4
"""Rows of a split, of which two in turn are about one image."""
LEARNED = 6
"""Rows of a split to learn from."""


@dataclass(frozen=True)
class Table:
    """One split of one configuration."""

    row: Callable[[int], Row]
    split: str
    config: str = "default"
    rows: int = ROWS


FOLDS = ("", "_1", "_2", "_3", "_4")


def _newyorker() -> Iterator[Table]:
    for task in ("matching", "ranking", "explanation"):
        for fold in FOLDS:
            for split, rows in (("train", LEARNED), ("validation", ROWS), ("test", ROWS)):
                yield Table(newyorker(task, fold, split), split, f"{task}_from_pixels{fold}", rows)


REPOSITORIES: Mapping[str, Sequence[Table]] = {
    "lmms-lab-encoder/VQAv2": (Table(vqav2, "validation"),),
    "lmms-lab-encoder/OK-VQA": (Table(okvqa, "val2014"),),
    "lmms-lab-encoder/textvqa": (Table(textvqa, "train", rows=LEARNED), Table(textvqa, "validation")),
    "lmms-lab-encoder/VizWiz-VQA": (Table(vizwiz, "val"),),
    "lmms-lab-encoder/GQA": (
        Table(gqa_questions, "testdev", "testdev_balanced_instructions"),
        Table(gqa_images, "testdev", "testdev_balanced_images", rows=2),
        Table(gqa_questions, "train", "train_balanced_instructions", LEARNED),
        Table(gqa_images, "train", "train_balanced_images", rows=3),
    ),
    "lmms-lab-encoder/ScienceQA": (
        Table(scienceqa, "validation", "ScienceQA-IMG"),
        Table(scienceqa, "test", "ScienceQA-IMG"),
    ),
    "lmms-lab-encoder/POPE": tuple(
        Table(pope(split), split, "Full") for split in ("adversarial", "popular", "random")
    ),
    "lmms-lab-encoder/MMMU": (Table(mmmu, "dev"), Table(mmmu, "validation", rows=8)),
    "lmms-lab-encoder/NoCaps": (Table(nocaps, "validation"),),
    "jmhessel/newyorker_caption_contest": tuple(_newyorker()),
    "lmms-lab-encoder/DocVQA": (Table(docvqa, "validation", "DocVQA"),),
    "HuggingFaceM4/DocumentVQA": (Table(docvqa, "train", rows=LEARNED),),
    "lmms-lab-encoder/ChartQA": (Table(chartqa, "test"),),
    "HuggingFaceM4/ChartQA": (Table(chartqa_m4, "train", rows=LEARNED), Table(chartqa_m4, "val")),
    "lmms-lab/LLaVA-ReCap-558K": (Table(recap, "train", rows=LEARNED),),
    "HuggingFaceH4/llava-instruct-mix-vsft": (
        Table(instruct_mix, "train", rows=LEARNED),
        Table(instruct_mix, "test"),
    ),
}


def write_repository(root: Path, tables: Sequence[Table]) -> dict[str, Path]:
    """A repository whose README lists its configurations and splits, each split in one parquet file."""
    main, listed = root / "main", dict[str, list[str]]()
    for table in tables:
        folder = "data" if table.config == "default" else table.config
        rows = [table.row(number) for number in range(table.rows)]
        write_rows(main / folder / f"{table.split}-00000-of-00001.parquet", rows)
        lines = [f"  - split: {table.split}", f"    path: {folder}/{table.split}-*"]
        listed.setdefault(table.config, []).extend(lines)
    readme = ["---", "configs:"]
    for config, lines in listed.items():
        readme += [f"- config_name: {config}", "  data_files:", *lines]
    (main / "README.md").write_text("\n".join([*readme, "---", ""]), encoding="utf-8")
    return {"main": main}


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as parquet, with the features that `datasets` writes when columns hold images."""
    from datasets import Features, Image, List

    table = pa.Table.from_pylist([dict(row) for row in rows])
    features = Features.from_arrow_schema(table.schema)
    for name in table.column_names:
        if name == "image" or (name.startswith("image_") and name[6:].isdigit()):
            features[name] = Image()
        elif name == "images":
            features[name] = List(Image())
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.cast(features.arrow_schema), file)


def visual7w_original(folder: Path) -> None:
    """Visual7W as its authors hand it out: one JSON file of all splits, and a folder of images."""
    (folder / "images").mkdir(parents=True)
    images = []
    for number in range(6):
        name = f"v7w_{number}.jpg"
        (folder / "images" / name).write_bytes(saved(picture(number), "JPEG"))
        pairs = [
            {
                "qa_id": 10 * number + place,
                "image_id": number,
                "question": "What endangered animal is featured?",
                "answer": "A bald eagle.",
                "multiple_choices": ["A sparrow.", "A humming bird.", "A raven."],
                "type": "what",
            }
            for place in range(2)
        ]
        split = ("train", "train", "val", "test", "test", "train")[number]
        images.append({"image_id": number, "filename": name, "split": split, "qa_pairs": pairs})
    text = json.dumps({"dataset": "visual7w-telling", "images": images})
    (folder / "dataset_v7w_telling.json").write_text(text, encoding="utf-8")
