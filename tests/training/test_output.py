"""What comes out of a training says the same when it is loaded again, here or by anybody who has PEFT."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import AdapterError, RunError
from harness.models.whisper import Whisper
from harness.training import output
from tests.training.networks import (
    MAKERS,
    curve,
    fresh,
    manifest_of,
    moved,
    open_adapter,
    open_checkpoint,
    said,
    written,
)

LORA: dict[str, dict[str, Any]] = {
    "lora": {},
    "dropout": {"lora": {"dropout": 0.3, "targets": ["fc1", "q_proj"]}},
    "dora": {"lora": {"dora": True}},
    "rslora": {"lora": {"rslora": True, "alpha": 7}},
    "one part": {"parts": {"encoder": "frozen"}},
    "a part in full": {"parts": {"encoder": "full"}, "lora": {"dora": True, "rslora": True}},
}
PISSA: dict[str, dict[str, Any]] = {
    "pissa": {"lora": {"init": "pissa", "r": 4}},
    "pissa, rslora": {"lora": {"init": "pissa", "r": 4, "rslora": True, "alpha": 3}},
    "pissa beside full": {"lora": {"init": "pissa", "r": 4}, "parts": {"encoder": "full"}},
}


def plain(folder: Path, adapter: Path, dtype: str = "float32") -> Any:
    """The network as somebody without the harness loads it."""
    from peft import PeftModel
    from transformers import AutoModelForSpeechSeq2Seq

    from harness.models.attach import quiet_peft

    with quiet_peft():
        base = AutoModelForSpeechSeq2Seq.from_pretrained(folder, dtype=getattr(torch, dtype))
        return PeftModel.from_pretrained(base, adapter).eval()


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("settings", LORA.values(), ids=LORA)
def test_adapter_says_the_same_to_the_last_bit(
    bases: dict[str, Path], tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    adapter = fresh(bases[kind])
    folder = written(tmp_path / "adapter", adapter, moved(adapter, **settings))
    expected = said(adapter)
    assert not torch.equal(expected, said(fresh(bases[kind])))
    assert torch.equal(said(fresh(bases[kind], trained=folder)), expected)
    assert torch.equal(said(adapter, plain(bases[kind], folder)), expected)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("settings", PISSA.values(), ids=PISSA)
def test_pissa_becomes_a_plain_adapter_of_the_original_weights(
    bases: dict[str, Path], tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    adapter = fresh(bases[kind])
    folder = written(tmp_path / "adapter", adapter, moved(adapter, **settings))
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["init_lora_weights"], config["r"]) == (True, 8)
    for loaded in (said(fresh(bases[kind], trained=folder)), said(adapter, plain(bases[kind], folder))):
        torch.testing.assert_close(loaded, said(adapter), rtol=0, atol=5e-5)


def test_half_precision_beside_modules_in_float32(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = fresh(bases["whisper"], dtype="bfloat16")
    folder = written(tmp_path / "adapter", adapter, moved(adapter, parts={"encoder": "full"}))
    again = fresh(bases["whisper"], trained=folder)
    assert again.weights.dtype == "bfloat16"  # what it was trained and chosen in
    assert torch.equal(said(again), said(adapter))
    assert fresh(bases["whisper"], trained=folder, dtype="float32").weights.dtype == "float32"


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("parts", [{}, {"decoder": "frozen"}])
def test_whole_checkpoint_says_the_same(
    bases: dict[str, Path], tmp_path: Path, kind: str, parts: dict[str, str]
) -> None:
    adapter = fresh(bases[kind])
    folder = written(tmp_path / kind, adapter, moved(adapter, method="full", parts=parts))
    assert not torch.equal(said(adapter), said(fresh(bases[kind])))
    assert torch.equal(said(fresh(folder)), said(adapter))
    for name in ("tokenizer.json", "generation_config.json", "processor_config.json", "vocab.json"):
        if (bases[kind] / name).is_file():
            assert (folder / name).read_bytes() == (bases[kind] / name).read_bytes()


def test_whole_checkpoint_of_half_a_base_is_in_float32(bases: dict[str, Path], tmp_path: Path) -> None:
    from tests.models.tiny import tiny_whisper

    adapter = fresh(tiny_whisper(tmp_path / "whisper", dtype="float16"))
    folder = written(tmp_path / "full", adapter, moved(adapter, method="full"))
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    assert open_checkpoint(folder).parameters() == open_checkpoint(tmp_path / "whisper").parameters()


def test_parameters_of_an_adapter(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = fresh(bases["whisper"])
    tuning = moved(adapter, parts={"encoder": "full"})
    folder = written(tmp_path / "adapter", adapter, tuning)
    again = fresh(bases["whisper"], trained=folder)
    assert open_adapter(folder).parameters() == tuning.trainable
    assert again.weights.parameters() == tuning.total


class _Gated(torch.nn.Module):
    """A decoder layer behind a gate that is a parameter of no layer, as in Flamingo."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        self.gate = torch.nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Any, *args: Any, **kwargs: Any) -> Any:
        return hidden + torch.tanh(self.gate) * self.layer(hidden, *args, **kwargs)


def gated(folder: Path) -> Whisper:
    """A Whisper whose decoder does nothing until its gates open."""
    adapter = fresh(folder)
    layers = adapter.model.model.decoder.layers
    for place, layer in enumerate(layers):
        layers[place] = _Gated(layer)
    return adapter


def test_bare_parameters_go_into_the_sidecar(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from safetensors.torch import load_file

    info = replace(Whisper.info, parts={"encoder": ("model.encoder",), "gates": ("model.decoder.layers",)})
    monkeypatch.setattr(Whisper, "info", info)
    adapter = gated(bases["whisper"])
    tuning = moved(adapter, parts={"gates": "full"})
    expected = said(adapter)
    folder = written(tmp_path / "adapter", adapter, tuning)
    gates = {f"model.decoder.layers.{place}.gate" for place in (0, 1)}
    assert load_file(folder / "extra_parameters.safetensors").keys() == gates
    again = gated(bases["whisper"])
    open_adapter(folder).apply(again.model)
    assert torch.equal(said(again), expected)
    (folder / "extra_parameters.safetensors").unlink()
    without = gated(bases["whisper"])
    open_adapter(folder).apply(without.model)
    assert not torch.equal(said(without), expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [("model.decoder.gate", "without a place"), ("model.decoder.layers.0.gate", "of another shape")],
)
def test_sidecar_that_does_not_fit(bases: dict[str, Path], tmp_path: Path, name: str, message: str) -> None:
    from safetensors.torch import save_file

    adapter = gated(bases["whisper"])
    folder = written(tmp_path / "adapter", adapter, moved(adapter))
    save_file({name: torch.zeros(())}, folder / "extra_parameters.safetensors")
    with pytest.raises(AdapterError, match=rf"{message} \({name}\)"):
        open_adapter(folder).apply(gated(bases["whisper"]).model)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_card_is_one_that_the_hub_takes(bases: dict[str, Path], tmp_path: Path, method: str) -> None:
    from huggingface_hub import ModelCard

    adapter = fresh(bases["whisper"])
    manifest = manifest_of(adapter, method=method)
    manifest["base"] |= {"checkpoint": "openai/whisper-small", "revision": "abc123"}
    manifest["data"] = {"path": "google/fleurs", "revision": "def456"}
    folder = written(tmp_path / "made", adapter, moved(adapter, method=method), **manifest)
    card = ModelCard.load(folder / "README.md")
    facts = card.data.to_dict()
    assert facts["base_model"] == "openai/whisper-small"
    assert facts["base_model_relation"] == ("adapter" if method == "lora" else "finetune")
    assert facts["library_name"] == ("peft" if method == "lora" else "transformers")
    assert facts["pipeline_tag"] == "automatic-speech-recognition"
    assert (facts["language"], facts["datasets"], facts["metrics"]) == ("en", "google/fleurs", ["wer"])
    assert "mm-harness" in facts["tags"]
    for said_so in (
        "`digits`",
        "| wer |  | 12.50 |",
        "step 1 was kept",
        "10 of 100",
        "| peak learning rate |",
    ):
        assert said_so in card.text
    assert ("PeftModel" in card.text) == (method == "lora")


def test_nothing_of_this_machine_is_in_the_output(bases: dict[str, Path], tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    adapter = fresh(bases["whisper"])
    folder = written(tmp_path / "made", adapter, moved(adapter))
    for name in ("README.md", "adapter_config.json", "curve.csv", "harness.json"):
        assert str(bases["whisper"].parent) not in (folder / name).read_text()
    assert "base_model" not in ModelCard.load(folder / "README.md").data.to_dict()
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "whisper"


def test_manifest_and_curve_lie_beside_it(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = fresh(bases["whisper"])
    folder = written(tmp_path / "made", adapter, moved(adapter))
    manifest = manifest_of(adapter)
    manifest["base"]["checkpoint"] = "whisper"  # the rest of the path is this machine's
    opened = open_adapter(folder)
    assert opened.manifest() == manifest | {"digest": opened.digest()}
    assert (folder / "curve.csv").is_file()
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_same_training_gives_the_same_bytes(bases: dict[str, Path], tmp_path: Path) -> None:
    folders = []
    for number in (1, 2):
        adapter = fresh(bases["whisper"])
        folders.append(written(tmp_path / str(number) / "made", adapter, moved(adapter)))
    config = json.loads((folders[0] / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"])  # PEFT's own order changes by run
    for name in ("adapter_config.json", "adapter_model.safetensors", "README.md", "harness.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert open_adapter(folders[0]).digest() == open_adapter(folders[1]).digest()


def test_old_folder_is_replaced(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = fresh(bases["whisper"])
    folder = written(tmp_path / "made", adapter, moved(adapter))
    (folder / "left over").touch()
    other = fresh(bases["whisper"])
    written(folder, other, moved(other, lora={"r": 2}))
    assert not (folder / "left over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_failure_leaves_the_old_folder(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = fresh(bases["whisper"])
    tuning = moved(adapter)
    folder = written(tmp_path / "made", adapter, tuning)
    before = open_adapter(folder).digest()
    monkeypatch.setattr(output, "describe", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written(folder, adapter, tuning)
    assert open_adapter(folder).digest() == before
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_full_disk(bases: dict[str, Path], tmp_path: Path, method: str) -> None:
    """The kernel refuses to make files larger than a limit, as it refuses all on a full disk."""
    adapter = fresh(bases["whisper"])
    tuning = moved(adapter, method=method)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(RunError, match="made can't be written") as caught:
            output.save(tmp_path / "made", tuning, adapter, manifest_of(adapter), curve())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "room" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
