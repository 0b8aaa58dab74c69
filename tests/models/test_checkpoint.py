"""A checkpoint's folder, files, digest and size; local and from a hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import AdapterError, UsageError
from harness.models import check_kind, family_of, info, load, resolve
from harness.models.checkpoint import Checkpoint, needed
from tests.tasks import task_of

PLAIN = ["config.json", "generation_config.json", "merges.txt", "preprocessor_config.json", "tokenizer.json"]
OTHERS = [
    ".gitattributes",
    "README.md",
    "flax_model.msgpack",
    "tf_model.h5",
    "onnx/encoder.onnx",
    "trainer_state.json",
]


def open_folder(folder: Path) -> Checkpoint:
    return resolve(str(folder), None, base=folder, offline=True)


@pytest.mark.parametrize(
    ("weights", "chosen"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["model.safetensors", "model.fp32-00001-of-00002.safetensors"], ["model.safetensors"]),
        (
            ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "pytorch_model.bin"],
            ["model-00001-of-00002.safetensors", "model.safetensors.index.json"],
        ),
        (
            ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"],
            ["pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json"],
        ),
        (["pytorch_model.bin"], ["pytorch_model.bin"]),
        ([], []),
    ],
)
def test_one_format_of_the_weights_and_nothing_else(weights: list[str], chosen: list[str]) -> None:
    assert needed([*PLAIN, *OTHERS, *weights]) == sorted([*PLAIN, *chosen])


def test_local_paths(checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(checkpoints["bytes"], tmp_path / "tasks" / "mine")
    beside_the_task = resolve("./mine", None, base=tmp_path / "tasks", offline=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("tasks/mine", None, base=Path(), offline=True).folder == beside_the_task.folder
    assert beside_the_task.name == "./mine"
    assert beside_the_task.revision is None


def test_not_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"not a checkpoint: it has no config\.json") as caught:
        resolve("./nowhere", None, base=tmp_path, offline=True)
    assert "no such folder" in caught.value.hint
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterError) as caught:
        open_folder(tmp_path)
    assert "--adapter" in caught.value.hint
    with pytest.raises(AdapterError, match="neither a folder nor a Hub id"):
        resolve("a/b/c", None, base=tmp_path, offline=True)


@pytest.mark.parametrize(
    "name", ["~nosuchuser/x", "a" * 300, "./" + "a" * 300, "/" + "a" * 300, "a\0b", "./a\0b"]
)
def test_name_that_no_path_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(AdapterError) as caught:
        resolve(name, None, base=tmp_path, offline=True)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_folder_by_the_name_of_a_file_does_not_count(
    checkpoints: dict[str, Path], tmp_path: Path, name: str
) -> None:
    copy = Path(shutil.copytree(checkpoints["bytes"], tmp_path / "copy"))
    (copy / name).unlink()
    (copy / name).mkdir()
    checkpoint = open_folder(copy)
    assert name not in [path.name for path in [*checkpoint.files(), *checkpoint.settings()]]
    assert len(checkpoint.digest()) == 64
    from tests.models.clips import adapter

    with pytest.raises(AdapterError):
        adapter(copy, language="en").prepare()


def test_revision_of_a_folder_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(AdapterError, match="has no revision 'main'"):
        resolve(str(checkpoints["bytes"]), "main", base=Path(), offline=True)


def test_digest_follows_the_contents(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(checkpoints["bytes"], copy)
    original = open_folder(checkpoints["bytes"]).digest()
    assert open_folder(copy).digest() == original
    (copy / "README.md").write_text("A card.")
    assert open_folder(copy).digest() == original
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert open_folder(copy).digest() != original


def test_digest_trusts_the_names_of_the_hubs_blobs(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    import hashlib

    plain = open_folder(checkpoints["bytes"])
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in plain.files():
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(blob)
    assert open_folder(snapshot).digest() == plain.digest()


@pytest.mark.parametrize("name", ["bytes", "moonshine"])
def test_parameters_are_counted_without_loading(checkpoints: dict[str, Path], name: str) -> None:
    from tests.models.clips import adapter

    loaded = adapter(checkpoints[name])
    stored = open_folder(checkpoints[name]).parameters()
    assert stored == sum(parameter.numel() for parameter in loaded.model.parameters())


def test_parameters_of_pickles(tmp_path: Path) -> None:
    import torch

    (tmp_path / "config.json").write_text("{}")
    torch.save({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, tmp_path / "pytorch_model.bin")
    assert open_folder(tmp_path).parameters() == 17


def test_family_by_type(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    assert {family_of(open_folder(folder)) for folder in checkpoints.values()} == {"whisper"}
    assert family_of(open_folder(checkpoints["bytes"]), "dummy") == "dummy"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wisper"}))
    with pytest.raises(AdapterError, match="model_type is 'wisper'") as caught:
        family_of(open_folder(tmp_path))
    assert "'whisper'" in caught.value.hint
    with pytest.raises(UsageError):
        family_of(open_folder(tmp_path), "wisper")


def test_kind_that_the_family_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.spec.kinds import KINDS, Kind

    monkeypatch.setitem(KINDS, "retrieval", Kind("embed", ("text",)))
    with pytest.raises(AdapterError, match="needs a model that can embed; family 'whisper' can generate"):
        check_kind("whisper", "retrieval")


def test_asking_what_a_family_can_do_imports_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from harness.models import info, check_kind; check_kind('whisper', 'asr'); "
        "info('dummy'); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert info("whisper").modes == {"generate"}


def test_weights_are_shared_between_cells(checkpoints: dict[str, Path]) -> None:
    english, french = (task_of(checkpoints["bytes"], generate={"language": code}) for code in ("en", "fr"))
    first = load(english, base=Path(), device="cpu")
    second = load(french, base=Path(), weights=first.weights)
    assert second.model is first.model
