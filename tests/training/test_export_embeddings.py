"""Dual encoders are exported, too: what they are compared by are their embeddings and their temperature."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data.probe import probe_samples
from harness.errors import AdapterError
from harness.models import Adapter
from harness.training import export as exporting
from harness.training.export import export
from harness.tuning.exportable import exported
from tests.models.tiny_clip import TINY, tiny_clap
from tests.training.tuned import asked, opened, tuned

MAKERS: dict[str, Callable[[Path], Path]] = {
    name: TINY[name] for name in ("clip", "siglip", "siglip2 naflex", "align")
} | {"clap": tiny_clap}
KINDS: dict[str, dict[str, Any]] = {
    "retrieval": {},
    "zero_shot_classification": {"classes": {"names": ["cat", "dog"], "templates": ["a photo of a {}."]}},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {name: make(root / name.replace(" ", "-")) for name, make in MAKERS.items()}


def said(adapter: Adapter) -> list[torch.Tensor]:
    """Embeddings of media and of texts, and the temperature."""
    found = []
    for what in sorted(adapter.info.modalities):
        batch = adapter.encode(probe_samples((what,)))
        found.append(torch.stack([torch.as_tensor(one.output) for one in adapter.predict(batch)]))
    reading = adapter.similarity()
    return [*found, torch.tensor([reading.scale, reading.bias])]


@pytest.mark.parametrize(
    ("name", "kind"),
    # ALIGN's vision tower has no attention that would take LoRA.
    [(name, kind) for name in MAKERS for kind in KINDS if (name, kind) != ("align", [*KINDS][1])],
)
def test_exported_checkpoint_embeds_the_same(
    folders: dict[str, Path], tmp_path: Path, name: str, kind: str
) -> None:
    column = "audio" if name == "clap" else "image"
    task = asked(folders[name], kind, column=column, **KINDS[kind])
    parts = {"text": "lora"} if kind == "retrieval" else {}
    before = said(tuned(tmp_path / "tuned", task, parts=parts))
    adapter = opened(task, trained=tmp_path / "tuned")
    for one, other in zip(said(adapter), before, strict=True):
        torch.testing.assert_close(one, other)
    parity = export(adapter, tmp_path / "out")
    assert max(parity.merged, parity.reloaded) <= 1e-5
    again = said(opened(asked(tmp_path / "out", kind, column=column, **KINDS[kind])))
    moved = [not torch.allclose(*pair, atol=1e-3) for pair in zip(said(opened(task)), again, strict=True)]
    assert moved == [name != "align", kind == "retrieval", True]
    for one, other in zip(again, before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lost", ["vision_model", "text_model", "logit_scale"])
def test_merge_that_loses_a_tower_or_the_temperature_is_not_written(
    folders: dict[str, Path], tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = asked(folders["clip"], "retrieval")
    tuned(tmp_path / "tuned", task)
    merge = exporting._merge

    def spoiled(network: Any, trained: Any) -> None:
        merge(network, trained)
        parameter = next(
            value
            for name, value in network.get_base_model().named_parameters()
            if name == lost or (lost in name and name.endswith("v_proj.weight"))
        )
        with torch.no_grad():
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))

    monkeypatch.setattr(exporting, "_merge", spoiled)
    with pytest.raises(AdapterError, match="merging the adapter tuned changes the logits"):
        export(opened(task, trained=tmp_path / "tuned"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_it_is_found_and_exported_by_its_name(
    folders: dict[str, Path], tmp_path: Path, kind: str, share: float
) -> None:
    """With what its manifest says, and without one."""
    task = asked(folders["clip"], kind, **KINDS[kind])
    tuned(tmp_path / "tuned", task)
    foreign = Path(shutil.copytree(tmp_path / "tuned", tmp_path / "foreign"))
    (foreign / "harness.json").unlink()
    for name, model in (("tuned", None), ("foreign", str(folders["clip"]))):
        parity = exported(
            str(tmp_path / name), tmp_path / "out", "float32", share, device="cpu", offline=True, model=model
        )
        assert max(parity.merged, parity.reloaded) <= 1e-5
