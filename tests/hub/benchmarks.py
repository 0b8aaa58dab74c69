"""Small data sets with the layouts that the shipped tasks of images and sounds expect on the Hub."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.spec.schema import Task
from tests.data.pictures import picture, saved
from tests.hub.repositories import tone, write_parquet

CLASSES = ("cat", "dog", "missile", "emu", "missile")
"""Names as a classnames.txt has them, one of them twice as in ImageNet's."""
IMAGES = 6
FORMATS = {"webp": "WEBP", "jpg": "JPEG", "png": "PNG"}


def benchmark(root: Path, task: Task) -> dict[str, Path]:
    """A repository of clip-benchmark that the task reads: two shards of test, one of train, its texts."""
    main = root / "main"
    splits = {"test": (IMAGES - 2, 2), "train": (2 * IMAGES,)}
    for split, counts in splits.items():
        first = 0
        for number, count in enumerate(counts):
            rows = list(_rows(task, range(first, first + count), seed=100 * (split == "train")))
            write_shard(main / split / f"{number}.tar", first, rows)
            first += count
        (main / split / "nshards.txt").write_text(f"{len(counts)}\n", encoding="utf-8")
    if task.classes is not None:
        (main / "classnames.txt").write_text("\n".join(names_of(task)) + "\n", encoding="utf-8")
    return {"main": main}


def names_of(task: Task) -> Sequence[str]:
    """The classes that its repository has: the task's own, where it names any."""
    assert task.classes is not None
    return task.classes.names or CLASSES


def _rows(task: Task, numbers: range, seed: int) -> Iterator[Mapping[str, bytes]]:
    suffix, target = str(task.data.columns["image"]), str(task.data.columns["target"])
    for number in numbers:
        yield {suffix: saved(picture(seed + number), FORMATS[suffix]), target: _target(task, target, number)}


def _target(task: Task, suffix: str, number: int) -> bytes:
    """A number, a vector with ones for two classes, or five captions on a line each."""
    if suffix == "cls":
        return str(number % len(names_of(task))).encode()
    if suffix == "npy":
        vector = np.zeros(len(names_of(task)), np.float32)
        vector[[number % 5, (number + 1) % 5]] = 1
        buffer = io.BytesIO()
        np.save(buffer, vector)
        return buffer.getvalue()
    return "\n".join(f"picture {number} in words {place}" for place in range(5)).encode()


def write_shard(file: Path, first: int, rows: Sequence[Mapping[str, bytes]]) -> None:
    """A WebDataset shard whose keys count on from `first`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for number, members in enumerate(rows, start=first):
            for suffix, content in members.items():
                member = tarfile.TarInfo(f"s{number:07d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def food(root: Path) -> dict[str, Path]:
    """Images with labels that have names, as ethz/food101: its test set is called validation."""
    from datasets import ClassLabel, Dataset, Features, Image, disable_progress_bars

    disable_progress_bars()
    features = Features({"image": Image(), "label": ClassLabel(names=["soup", "pie", "tea"])})
    for split, count in (("train", 9), ("validation", 6)):
        images = [{"bytes": saved(picture(seed)), "path": None} for seed in range(count)]
        rows = {"image": images, "label": [number % 3 for number in range(count)]}
        file = root / "main" / "data" / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_dict(rows, features=features).to_parquet(file)
    return {"main": root / "main"}


def sounds(root: Path) -> dict[str, Path]:
    """Clips as ashraq/esc50 has them: one split, numbered classes, the recording that each was cut from."""
    rows = [
        {
            "filename": f"1-{number // 2}-A-{number}.wav",
            "fold": 1 + number % 5,
            "target": number,
            "category": f"sound_{number}",
            "esc10": False,
            "src_file": number // 2,
            "take": "A",
            "audio": {"bytes": tone(number), "path": None},
        }
        for number in range(6)
    ]
    write_parquet(root / "main" / "data" / "train-00000-of-00001.parquet", rows)
    return {"main": root / "main"}


def esc50_original(root: Path) -> None:
    """ESC-50 as its authors hand it out: audio/ and meta/esc50.csv, two clips of two classes in each fold."""
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    for number in range(20):
        fold, target = 1 + number // 4, number % 2
        name = f"{fold}-{number}-A-{target}.wav"
        (root / "audio" / name).write_bytes(tone(number))
        lines.append(f"{name},{fold},{target},{('rain', 'dog')[target]},False,{number},A")
    (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
