"""A merged checkpoint says what the adapter said, or isn't written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data.probe import probe_samples
from harness.errors import AdapterError, UsageError
from harness.models import Weights
from harness.models.trained import MANIFEST
from harness.training import export as exporting
from harness.training.export import export
from harness.training.output import save_checkpoint
from tests.models.tiny import tiny_whisper
from tests.training.networks import MAKERS, fresh, moved, open_adapter, open_checkpoint, said, written

SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"lora": {"dora": True, "rslora": True}},
    "pissa": {"lora": {"init": "pissa", "r": 4}},
    "a part in full": {"parts": {"encoder": "full"}},
}


@pytest.fixture(scope="module")
def adapters(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained adapter of each checkpoint."""
    root = tmp_path_factory.mktemp("adapters")
    made = {}
    for kind in MAKERS:
        adapter = fresh(bases[kind])
        made[kind] = written(root / kind, adapter, moved(adapter))
    return made


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_exported_checkpoint_says_the_same(
    bases: dict[str, Path], tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    adapter = fresh(bases[kind])
    folder = written(tmp_path / "adapter", adapter, moved(adapter, **settings))
    trained = fresh(bases[kind], trained=folder)
    before = said(trained)
    parity = export(trained, tmp_path / kind)
    assert max(parity.merged, parity.reloaded) <= parity.limit == 1e-5
    torch.testing.assert_close(said(fresh(tmp_path / kind)), before, rtol=1e-5, atol=1e-3)
    assert not torch.allclose(before, said(fresh(bases[kind])), atol=0.1)
    assert open_checkpoint(tmp_path / kind).parameters() == open_checkpoint(bases[kind]).parameters()
    assert torch.equal(said(trained), before)  # it can still be used


def test_what_lies_beside_it(bases: dict[str, Path], adapters: dict[str, Path], tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    export(fresh(bases["whisper"], trained=adapters["whisper"]), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "curve.png"} <= names
    assert not {name for name in names if "adapter" in name}
    assert "merged" in ModelCard.load(tmp_path / "out" / "README.md").text
    manifest = json.loads((tmp_path / "out" / "harness.json").read_text())
    assert manifest["merged"] == {
        "name": "whisper",
        "digest": open_adapter(adapters["whisper"]).digest(),
    }
    assert manifest["base"]["digest"] == open_checkpoint(bases["whisper"]).digest()


def test_adapter_of_a_half_precision_base_is_merged_in_float32(tmp_path: Path) -> None:
    base = tiny_whisper(tmp_path / "whisper", dtype="bfloat16")
    adapter = fresh(base, dtype="bfloat16")
    folder = written(tmp_path / "adapter", adapter, moved(adapter, parts={"encoder": "full"}))
    export(fresh(base, trained=folder), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float32"


def test_adapter_from_elsewhere(bases: dict[str, Path], adapters: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    foreign = Path(shutil.copytree(adapters["whisper"], tmp_path / "foreign"))
    for name in ("harness.json", "README.md", "curve.csv", "curve.png"):
        (foreign / name).unlink()
    assert export(fresh(bases["whisper"], trained=foreign), tmp_path / "out").reloaded <= 1e-5
    assert "curve.png" not in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_merging_that_would_round_is_refused(
    bases: dict[str, Path], adapters: dict[str, Path], tmp_path: Path, dtype: str
) -> None:
    with pytest.raises(AdapterError, match=f"merging in {dtype} would round"):
        export(fresh(bases["whisper"], trained=adapters["whisper"]), tmp_path / "out", dtype)


def test_quantised_base_is_refused(adapters: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_whisper(tmp_path / "whisper", layers=2)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"load_in_4bit": True}}))
    adapter = fresh(tiny_whisper(tmp_path / "other" / "whisper", layers=2))
    adapter.weights = Weights(open_checkpoint(base), adapter=open_adapter(adapters["whisper"]))
    with pytest.raises(AdapterError, match="is quantised"):
        export(adapter, tmp_path / "out")


def test_other_base_is_refused(adapters: dict[str, Path], tmp_path: Path) -> None:
    base = tiny_whisper(tmp_path / "whisper", layers=2, seed=1)
    with pytest.raises(AdapterError, match="was not trained on"):
        export(fresh(base, trained=adapters["whisper"]), tmp_path / "out")


def test_nothing_to_merge(bases: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="nothing to merge") as caught:
        export(fresh(bases["whisper"]), tmp_path / "out")
    assert "--adapter" in caught.value.hint


def test_merge_that_changes_what_is_said_is_not_written(
    bases: dict[str, Path], adapters: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_merge", lambda network, _: network.unload())
    with pytest.raises(AdapterError, match="merging the adapter whisper changes the logits"):
        export(fresh(bases["whisper"], trained=adapters["whisper"]), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_save_that_loses_something_is_not_written(
    bases: dict[str, Path], adapters: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = save_checkpoint

    def spoiled(folder: Path, model: Any, base: Any) -> None:
        with torch.no_grad():
            model.model.encoder.conv1.weight[0, 0, 0] += 1.0
        saved(folder, model, base)

    monkeypatch.setattr(exporting, "save_checkpoint", spoiled)
    with pytest.raises(AdapterError, match="saving and loading"):
        export(fresh(bases["whisper"], trained=adapters["whisper"]), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_other_folders_are_not_overwritten(
    bases: dict[str, Path], adapters: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").touch()
    adapter = fresh(bases["whisper"], trained=adapters["whisper"])
    with pytest.raises(UsageError, match="exists"):
        export(adapter, tmp_path)
    export(adapter, tmp_path / "out")
    export(adapter, tmp_path / "out")
    assert (tmp_path / "thesis.tex").exists()


def test_what_was_trained_is_not_overwritten(
    bases: dict[str, Path], adapters: dict[str, Path], tmp_path: Path
) -> None:
    """Neither the adapter nor, when it is an export itself, the base; both have a manifest."""
    export(fresh(bases["whisper"], trained=adapters["whisper"]), tmp_path / "base")
    shutil.copytree(adapters["whisper"], tmp_path / "adapter")
    (tmp_path / "adapter" / MANIFEST).write_text("{}")
    for out in ("base", "adapter"):
        files = sorted((tmp_path / out).iterdir())
        with pytest.raises(UsageError, match=r"belongs to|is not an exported checkpoint"):
            export(fresh(tmp_path / "base", trained=tmp_path / "adapter"), tmp_path / out)
        assert sorted((tmp_path / out).iterdir()) == files


def test_probe_samples_are_always_the_same() -> None:
    one, two = probe_samples(("audio",)), probe_samples(("audio",))
    assert [sample.inputs["audio"].digest() for sample in one] == [  # type: ignore[union-attr]
        sample.inputs["audio"].digest()  # type: ignore[union-attr]
        for sample in two
    ]
    assert len({sample.inputs["audio"].digest() for sample in one}) == len(one)  # type: ignore[union-attr]
