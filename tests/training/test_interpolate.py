"""Weights between a base and its fine-tune: the formula, both ends, and what has no other end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import AdapterError, UsageError
from harness.models import Adapter
from harness.training import export as exporting
from harness.training.export import export, export_between
from harness.training.output import save_checkpoint
from harness.tuning.exportable import exported
from tests.models.tiny_classifier import tiny_resnet, tiny_vit
from tests.models.tiny_clip import tiny_clip
from tests.training.networks import open_checkpoint
from tests.training.tuned import PLAIN, asked, opened, tuned

SHARES = (0.0, 0.25, 0.9)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    makers: dict[str, Callable[[Path], Path]] = {"vit": tiny_vit, "resnet": tiny_resnet, "clip": tiny_clip}
    return {name: make(root / name) for name, make in makers.items()}


def weights(folder: Path, auto: str = "AutoModelForImageClassification") -> dict[str, torch.Tensor]:
    """As anybody would load them."""
    import transformers

    network = getattr(transformers, auto).from_pretrained(folder, dtype=torch.float32)
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def between(out: Path, adapter: Adapter, share: float) -> dict[str, torch.Tensor]:
    assert export(adapter, out, share=share).reloaded <= 1e-5
    return weights(out, adapter.auto_class)  # type: ignore[attr-defined]


def assert_between(
    found: dict[str, torch.Tensor],
    base: dict[str, torch.Tensor],
    tuned_: dict[str, torch.Tensor],
    share: float,
) -> None:
    assert found.keys() == base.keys() == tuned_.keys()
    for name, tensor in found.items():
        if tensor.is_floating_point():
            expected = (1 - share) * base[name].double() + share * tuned_[name].double()
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-6)
        else:
            assert torch.equal(tensor, tuned_[name])


@pytest.mark.parametrize("share", SHARES)
def test_weights_are_on_the_line_between_base_and_adapter(
    folders: dict[str, Path], tmp_path: Path, share: float
) -> None:
    """LoRA in the backbone, a head that was trained in full."""
    task = asked(folders["vit"])
    tuned(tmp_path / "tuned", task, PLAIN)
    adapter = opened(task, PLAIN, trained=tmp_path / "tuned")
    end = between(tmp_path / "end", adapter, 1.0)
    base = weights(folders["vit"])
    assert max(float((end[name] - base[name]).abs().max()) for name in base) > 0.05
    found = between(tmp_path / "out", adapter, share)
    assert_between(found, base, end, share)
    assert (share == 0.0) == all(torch.equal(found[name], base[name]) for name in base)


@pytest.mark.parametrize("share", SHARES)
def test_temperature_of_the_sidecar_is_on_the_line(
    folders: dict[str, Path], tmp_path: Path, share: float
) -> None:
    task = asked(folders["clip"], "retrieval")
    tuned(tmp_path / "tuned", task)
    assert (tmp_path / "tuned" / "extra_parameters.safetensors").is_file()
    adapter = opened(task, trained=tmp_path / "tuned")
    end = between(tmp_path / "end", adapter, 1.0)
    base = weights(folders["clip"], adapter.auto_class)  # type: ignore[attr-defined]
    assert end["logit_scale"] != base["logit_scale"]
    assert_between(between(tmp_path / "out", adapter, share), base, end, share)


@pytest.mark.parametrize("name", ["vit", "resnet"])
@pytest.mark.parametrize("share", SHARES)
def test_full_fine_tune_is_interpolated_with_the_base_that_it_names(
    folders: dict[str, Path], tmp_path: Path, name: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tuned(tmp_path / "tuned", asked(folders[name]), PLAIN, method="full")
    parity = _exported("tuned", tmp_path / "out", share)
    assert parity.merged == 0.0
    assert parity.reloaded <= 1e-5
    base, end = weights(folders[name]), weights(tmp_path / "tuned")
    assert any(not torch.equal(base[key], end[key]) for key in base)
    assert_between(weights(tmp_path / "out"), base, end, share)
    assert opened(asked(tmp_path / "out"), PLAIN).weights.head is None


def _exported(name: str, out: Path, share: float, model: str | None = None, dtype: str = "float32") -> Any:
    return exported(name, out, dtype, share, device="cpu", offline=True, model=model)


def test_what_batch_norms_counted_is_interpolated_too(folders: dict[str, Path], tmp_path: Path) -> None:
    """Averages are; how many batches they are of isn't a weight."""
    from transformers import ResNetForImageClassification

    network = ResNetForImageClassification.from_pretrained(folders["resnet"])
    for name, buffer in network.named_buffers():
        buffer.add_(torch.tensor(2.0 if buffer.is_floating_point() else 7).to(buffer.dtype))
        assert name
    elsewhere = Path(shutil.copytree(folders["resnet"], tmp_path / "elsewhere"))
    network.save_pretrained(elsewhere)
    _exported(str(elsewhere), tmp_path / "out", 0.5, model=str(folders["resnet"]))
    assert_between(weights(tmp_path / "out"), weights(folders["resnet"]), weights(elsewhere), 0.5)


def test_manifest_and_card_say_how_far(folders: dict[str, Path], tmp_path: Path) -> None:
    task = asked(folders["vit"])
    tuned(tmp_path / "lora", task, PLAIN)
    tuned(tmp_path / "full", task, PLAIN, method="full")
    lora = opened(task, PLAIN, trained=tmp_path / "lora")
    export(lora, tmp_path / "a", share=0.25)
    _exported(str(tmp_path / "full"), tmp_path / "b", 0.25)
    export(lora, tmp_path / "c")
    for name, key in (("a", "merged"), ("b", "interpolated")):
        manifest = json.loads((tmp_path / name / "harness.json").read_text())
        assert manifest["interpolate"] == 0.25
        assert manifest[key]["name"] in ("lora", "full")
        assert manifest["digest"] == open_checkpoint(tmp_path / name).digest()
        assert "path" not in manifest["base"]
        card = (tmp_path / name / "README.md").read_text()
        assert "0.25 of the way from the base's weights to the fine-tune's" in card
        assert "before the interpolation" in card
    assert "interpolate" not in json.loads((tmp_path / "c" / "harness.json").read_text())
    assert "of the way" not in (tmp_path / "c" / "README.md").read_text()


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_new_head_has_no_other_end(
    folders: dict[str, Path], tmp_path: Path, method: str, share: float
) -> None:
    tuned(tmp_path / "tuned", asked(folders["vit"]), ("x", "y"), method=method)
    with pytest.raises(AdapterError, match="trained with a new head") as caught:
        _exported(str(tmp_path / "tuned"), tmp_path / "out", share)
    assert "without --interpolate" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_all_of_a_full_fine_tune_is_there_already(folders: dict[str, Path], tmp_path: Path) -> None:
    tuned(tmp_path / "tuned", asked(folders["vit"]), PLAIN, method="full")
    with pytest.raises(AdapterError, match="is not an adapter") as caught:
        _exported(str(tmp_path / "tuned"), tmp_path / "out", 1.0)
    assert "whole checkpoint" in caught.value.hint


def test_networks_of_other_architectures_have_no_line(folders: dict[str, Path], tmp_path: Path) -> None:
    other = tiny_vit(tmp_path / "other", hidden_dropout_prob=0.0, num_channels=3)
    wider = tiny_vit(tmp_path / "wider", ("a", "b", "c", "d", "e"))
    assert _exported(str(other), tmp_path / "out", 0.5, model=str(folders["vit"])).reloaded <= 1e-5
    with pytest.raises(AdapterError, match="2 of their tensors are not in both"):
        _exported(str(wider), tmp_path / "wrong", 0.5, model=str(folders["vit"]))


def test_base_that_is_not_known_or_has_changed(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="doesn't say which checkpoint") as caught:
        _exported(str(folders["vit"]), tmp_path / "out", 0.5)
    assert "--model" in caught.value.hint
    base = Path(shutil.copytree(folders["vit"], tmp_path / "base"))
    tuned(tmp_path / "tuned", asked(base), PLAIN, method="full")
    with (base / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(AdapterError, match="was not trained on"):
        _exported(str(tmp_path / "tuned"), tmp_path / "out", 0.5)


@pytest.mark.parametrize("out", ["tuned", "base"])
def test_what_it_is_made_from_stays(folders: dict[str, Path], tmp_path: Path, out: str) -> None:
    base = Path(shutil.copytree(folders["vit"], tmp_path / "base"))
    tuned(tmp_path / "tuned", asked(base), PLAIN, method="full")
    with pytest.raises(UsageError, match=r"belongs to what is exported|is not an exported"):
        _exported(str(tmp_path / "tuned"), tmp_path / out, 0.5)


def test_an_export_may_be_replaced(folders: dict[str, Path], tmp_path: Path) -> None:
    tuned(tmp_path / "tuned", asked(folders["vit"]), PLAIN, method="full")
    for share in (0.25, 0.75):
        _exported(str(tmp_path / "tuned"), tmp_path / "out", share)
    assert json.loads((tmp_path / "out" / "harness.json").read_text())["interpolate"] == 0.75


def test_rounding_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    tuned(tmp_path / "tuned", asked(folders["vit"]), PLAIN, method="full")
    with pytest.raises(AdapterError, match="bfloat16 would round"):
        _exported(str(tmp_path / "tuned"), tmp_path / "out", 0.5, dtype="bfloat16")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_save_that_loses_something_is_not_written(
    folders: dict[str, Path], tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned(tmp_path / "tuned", asked(folders["vit"]), PLAIN, method=method)

    def spoiled(folder: Path, model: Any, base: Any) -> None:
        with torch.no_grad():
            model.classifier.bias[0] += 1.0
        save_checkpoint(folder, model, base)

    monkeypatch.setattr(exporting, "save_checkpoint", spoiled)
    with pytest.raises(AdapterError, match="saving and loading"):
        _exported(str(tmp_path / "tuned"), tmp_path / "out", 0.5)
    assert not (tmp_path / "out").exists()


def test_tied_weights_are_interpolated_once(tmp_path: Path) -> None:
    """Whisper's output layer is its embedding under another name."""
    from tests.models.tiny import tiny_whisper
    from tests.training.networks import fresh, moved, written

    base = tiny_whisper(tmp_path / "whisper")
    start = fresh(base)
    tuning = moved(start, method="full")
    written(tmp_path / "tuned", start, tuning)
    adapter = fresh(tmp_path / "tuned")
    adapter.generate = adapter.generate.model_copy(update={"language": "en"})
    export_between(adapter, {}, open_checkpoint(base), tmp_path / "out", "float32", 0.5)
    auto = "AutoModelForSpeechSeq2Seq"
    assert_between(
        weights(tmp_path / "out", auto), weights(base, auto), weights(tmp_path / "tuned", auto), 0.5
    )
