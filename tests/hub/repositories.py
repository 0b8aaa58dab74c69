"""Folders of the shapes that datasets have on the Hub, for the server in hub_server.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from harness.data.audio import encode_wav
from tests.data.pictures import picture, saved, write_pictures, write_shard

RATE_HZ = 16_000
TEXTS: Mapping[str, Sequence[str]] = {
    "en_us": ("a red door opens", "two birds sing", "rain falls at night", "the train is late"),
    "fr_fr": ("une porte rouge s'ouvre", "deux oiseaux chantent", "la pluie tombe la nuit", "le train tarde"),
}
README = """---
configs:
- config_name: clean
  default: true
  data_files:
  - split: train
    path: clean/train-*.parquet
  - split: test.easy
    path: clean/test.easy-*.parquet
- config_name: noisy
  data_files:
  - split: test
    path: noisy/test-*.parquet
---
# Clips
"""


def tone(position: int, seconds: float = 0.3) -> bytes:
    """A short wav that differs with `position`."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return encode_wav(0.3 * np.sin(2 * np.pi * (300 + 50 * position) * times), RATE_HZ)


def fleurs(root: Path, clips: Mapping[str, Sequence[bytes]] | None = None) -> dict[str, Path]:
    """FLEURS as the Hub has it: a loading script on main, parquet per configuration on the convert branch.

    Utterance ids are shared by the configurations, as the same sentences are in the real one. `clips`
    replaces the tones of a configuration by wav files, one for each of its `TEXTS`.
    """
    main, converted = root / "main", root / "converted"
    main.mkdir(parents=True)
    (main / "README.md").write_text("---\nlanguage: [en, fr]\n---\n# FLEURS\n", encoding="utf-8")
    (main / "fleurs.py").write_text("raise RuntimeError('scripts must not run')\n", encoding="utf-8")
    for config, texts in TEXTS.items():
        for split in ("train", "validation", "test"):
            wavs = (clips or {}).get(config) or [tone(position) for position in range(len(texts))]
            rows = [fleurs_row(config, number, text, wavs[number]) for number, text in enumerate(texts)]
            write_parquet(converted / config / split / "0000.parquet", rows)
    return {"main": main, "refs/convert/parquet": converted}


def fleurs_row(config: str, number: int, text: str, wav: bytes) -> dict[str, Any]:
    """A row with the columns of google/fleurs."""
    return {
        "id": 1000 + number,
        "num_samples": (len(wav) - 44) // 2,
        "path": f"/data/{config}/{number}.wav",
        "audio": {"bytes": wav, "path": f"{number}.wav"},
        "transcription": text,
        "raw_transcription": text.capitalize() + ".",
        "gender": number % 2,
        "lang_id": sorted(TEXTS).index(config),
        "language": "English" if config == "en_us" else "French",
        "lang_group_id": 0,
    }


def configured(root: Path) -> dict[str, Path]:
    """A dataset whose README lists configurations and splits, one of them sharded."""
    main = root / "main"
    main.mkdir(parents=True)
    (main / "README.md").write_text(README, encoding="utf-8")
    for config, split, shards in (("clean", "train", 1), ("clean", "test.easy", 2), ("noisy", "test", 1)):
        for shard in range(shards):
            file = main / config / f"{split}-{shard:05d}-of-{shards:05d}.parquet"
            rows = [
                {
                    "id": f"{config}-{shard}-{row}",
                    "audio": {"bytes": tone(row), "path": None},
                    "text": f"clip {row}",
                }
                for row in range(3)
            ]
            write_parquet(file, rows)
    return {"main": main}


def write_parquet(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as parquet, with the features that `datasets` writes when a column is audio."""
    from datasets import Audio, Features

    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([dict(row) for row in rows])
    if "audio" in table.column_names:
        features = Features.from_arrow_schema(table.schema)
        features["audio"] = Audio(decode=False, sampling_rate=RATE_HZ)
        table = table.cast(features.arrow_schema)
    parquet.write_table(table, file)


def audio_folder(root: Path) -> dict[str, Path]:
    """An audio folder: clips beside their metadata, a folder per split."""
    main = root / "main"
    for split in ("train", "test"):
        folder = main / split
        folder.mkdir(parents=True)
        lines = ["file_name,text"]
        for position in range(2):
            (folder / f"{position}.wav").write_bytes(tone(position))
            lines.append(f"{position}.wav,{split} clip {position}")
        (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"main": main}


def image_folder(root: Path) -> dict[str, Path]:
    """Images in a folder per class, below a folder per split."""
    main = root / "main"
    write_pictures(main, *(f"{split}/{name}/1.png" for split in ("train", "test") for name in ("cat", "dog")))
    return {"main": main}


def shards(root: Path) -> dict[str, Path]:
    """WebDataset shards, as clip-benchmark has them."""
    main = root / "main"
    write_shard(main / "test/0.tar", 0, 2)
    write_shard(main / "test/1.tar", 2, 1)
    write_shard(main / "train/0.tar", 0, 1)
    (main / "classnames.txt").write_text("cat\ndog\nemu\n", encoding="utf-8")
    return {"main": main}


def labelled(root: Path) -> dict[str, Path]:
    """Parquet with images and labels that have names, as `push_to_hub` writes it."""
    from datasets import ClassLabel, Dataset, Features, Image, disable_progress_bars

    disable_progress_bars()
    features = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog"])})
    images = [{"bytes": saved(picture(seed)), "path": None} for seed in range(2)]
    file = root / "main" / "data" / "test-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    Dataset.from_dict({"image": images, "label": [1, 0]}, features=features).to_parquet(file)
    return {"main": root / "main"}
