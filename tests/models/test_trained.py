"""Adapters from anywhere: used when they fit to the last tensor, refused with the cure when not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import AdapterError
from harness.models import TrainedAdapter, Weights, load, resolve, resolve_adapter
from harness.models.attach import quiet_peft
from tests.models.tiny import tiny_whisper
from tests.tasks import task_of

AUTO = "AutoModelForSpeechSeq2Seq"


def checkpoint(folder: Path) -> Any:
    return resolve(str(folder), None, base=folder, offline=True)


def network(folder: Path, adapter: Path | None = None, **settings: Any) -> Any:
    trained = TrainedAdapter(adapter.name, adapter) if adapter else None
    return Weights(checkpoint(folder), device="cpu", adapter=trained, **settings).model(AUTO)


def said(model: Any) -> torch.Tensor:
    features = torch.randn((1, 80, 100), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits: torch.Tensor = model(
            input_features=features, decoder_input_ids=torch.tensor([[1, 2, 3]]), use_cache=False
        ).logits
    return logits


def foreign(folder: Path, base: Path, config: Any = None, **settings: Any) -> tuple[Path, torch.Tensor]:
    """An adapter as PEFT's users make them, with what the network says with it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSpeechSeq2Seq

    config = config or LoraConfig(r=4, target_modules=["q_proj", "v_proj"], **settings)
    with quiet_peft():
        model = get_peft_model(AutoModelForSpeechSeq2Seq.from_pretrained(base), config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn(parameter.shape)
        model.eval().save_pretrained(folder, save_embedding_layers=False)
    return folder, said(model.get_base_model())


@pytest.fixture
def base(checkpoints: dict[str, Path]) -> Path:
    return checkpoints["bytes"]


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return foreign(tmp_path / "adapter", base)[0]


def signed(adapter: Path, base: Path, **more: Any) -> Path:
    """The adapter with the harness's manifest."""
    found = checkpoint(base)
    origin = {"checkpoint": "org/whisper", "revision": "abc", "digest": found.digest()}
    (adapter / "harness.json").write_text(json.dumps({"format": 1, "base": origin, **more}))
    return adapter


@pytest.mark.parametrize("task_type", [None, "SEQ_2_SEQ_LM"])
def test_adapter_from_elsewhere(base: Path, tmp_path: Path, task_type: str | None) -> None:
    """Most Whisper adapters on the Hub say SEQ_2_SEQ_LM, whose wrapper in PEFT takes no audio."""
    folder, expected = foreign(tmp_path / "adapter", base, task_type=task_type)
    assert not torch.equal(expected, said(network(base)))
    assert torch.equal(said(network(base, folder)), expected)
    assert TrainedAdapter("x", folder).manifest() == {}


@pytest.mark.parametrize("kind", ["IA3Config", "LoHaConfig"])
def test_other_types_that_go_into_a_network(base: Path, tmp_path: Path, kind: str) -> None:
    import peft

    settings: dict[str, Any] = {"target_modules": ["q_proj", "fc1"]}
    settings |= {"feedforward_modules": ["fc1"]} if kind == "IA3Config" else {"r": 2}
    folder, expected = foreign(tmp_path / "adapter", base, getattr(peft, kind)(**settings))
    assert torch.equal(said(network(base, folder)), expected)


def test_types_that_do_not(base: Path, adapter: Path) -> None:
    config = {"peft_type": "PROMPT_TUNING", "task_type": "SEQ_2_SEQ_LM", "num_virtual_tokens": 4}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(AdapterError, match="type PROMPT_TUNING, which can't be put into") as caught:
        network(base, adapter)
    assert "LORA" in caught.value.hint


def test_pickled_weights(base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder, expected = foreign(tmp_path / "adapter", base)
    stored = folder / "adapter_model.safetensors"
    torch.save(load_file(stored), folder / "adapter_model.bin")
    count = TrainedAdapter("x", folder).parameters()
    stored.unlink()
    assert torch.equal(said(network(base, folder)), expected)
    assert TrainedAdapter("x", folder).parameters() == count


def test_nothing_is_trainable_and_nothing_drops_out(base: Path, tmp_path: Path) -> None:
    folder, expected = foreign(tmp_path / "adapter", base, lora_dropout=0.5)
    model = network(base, folder)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())
    assert torch.equal(said(model), expected)


def test_families_get_the_transformers_model(base: Path, adapter: Path) -> None:
    from transformers import WhisperForConditionalGeneration

    trained = TrainedAdapter("adapter", adapter)
    made = load(task_of(base, generate={"language": "en"}), base=base, device="cpu", adapter=trained)
    assert type(made.model) is WhisperForConditionalGeneration
    assert made.weights.adapter is trained


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: {name + "x": value for name, value in tensors.items()}, "tensors are missing"),
        (lambda tensors: dict(list(tensors.items())[1:]), "1 of its tensors are missing"),
        (lambda tensors: tensors | {"base_model.model.lora_A.weight": torch.ones(2, 2)}, "without a place"),
        (lambda tensors: {name: value[:1] for name, value in tensors.items()}, "size mismatch"),
    ],
)
def test_tensors_that_do_not_fit(base: Path, adapter: Path, change: Any, message: str) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file(change(tensors), adapter / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=message) as caught:
        network(base, adapter)
    assert "--model" in caught.value.hint


def test_adapter_of_another_architecture(base: Path, adapter: Path, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(AdapterError, match="doesn't fit"):
        network(checkpoints["multilingual"], adapter)
    config = json.loads((adapter / "adapter_config.json").read_text()) | {"target_modules": ["to_q"]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(AdapterError, match=r"doesn't fit .*to_q"):
        network(base, adapter)


def test_cut_off_weights(base: Path, adapter: Path) -> None:
    stored = adapter / "adapter_model.safetensors"
    stored.write_bytes(stored.read_bytes()[:100])
    with pytest.raises(AdapterError, match="doesn't fit"):
        network(base, adapter)


def test_other_base_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    signed(adapter, base)
    network(base, adapter)
    other = tiny_whisper(tmp_path / "other", seed=7)
    with pytest.raises(AdapterError, match=r"was not trained on .*other as it is now") as caught:
        network(other, adapter)
    assert "org/whisper (revision abc)" in caught.value.hint


def test_base_that_was_overwritten_is_refused_without_loading_it(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(base, tmp_path / "copy"))
    signed(adapter, copy)
    (copy / "generation_config.json").write_text("{}")
    weights = Weights(checkpoint(copy), adapter=TrainedAdapter("adapter", adapter))
    with pytest.raises(AdapterError, match="as it is now") as caught:
        weights.digest()
    assert "changed" in caught.value.hint


@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_manifest(adapter: Path, content: str) -> None:
    (adapter / "harness.json").write_text(content)
    with pytest.raises(AdapterError, match=r"harness\.json"):
        TrainedAdapter("adapter", adapter).manifest()


def test_precision_is_what_it_was_trained_in(base: Path, adapter: Path) -> None:
    trained = TrainedAdapter("adapter", signed(adapter, base, dtype="bfloat16"))
    assert Weights(checkpoint(base), device="cpu", adapter=trained).dtype == "bfloat16"
    assert Weights(checkpoint(base), "float32", "cpu", adapter=trained).dtype == "float32"
    model = network(base, adapter)
    assert model.dtype == torch.bfloat16
    lora = {value.dtype for name, value in model.named_parameters() if ".lora_" in name}
    assert lora == {torch.float32}


def test_digest_is_of_what_the_adapter_does(base: Path, adapter: Path, tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        return TrainedAdapter("x", folder).digest()

    def changed(key: str, value: Any) -> str:
        config = json.loads((adapter / "adapter_config.json").read_text())
        (copy / "adapter_config.json").write_text(json.dumps(config | {key: value}))
        return digest(copy)

    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    (copy / "README.md").write_text("A card.")
    signed(copy, base)
    assert digest(copy) == digest(adapter)
    assert changed("target_modules", ["v_proj", "q_proj"]) == changed("target_modules", ["q_proj", "v_proj"])
    assert changed("base_model_name_or_path", "elsewhere") == digest(adapter)
    assert changed("lora_alpha", 3) != digest(adapter)
    weights = bytearray((adapter / "adapter_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (adapter / "adapter_model.safetensors").write_bytes(weights)
    assert digest(adapter) != digest(copy)


def test_digest_of_both(base: Path, adapter: Path) -> None:
    found = checkpoint(base)
    with_adapter = Weights(found, adapter=TrainedAdapter("x", adapter))
    assert Weights(found).digest() == found.digest() != with_adapter.digest()


def test_parameters_are_counted_without_loading(base: Path, adapter: Path) -> None:
    weights = Weights(checkpoint(base), device="cpu", adapter=TrainedAdapter("x", adapter))
    counted = weights.parameters()
    assert counted == sum(parameter.numel() for parameter in weights.model(AUTO).parameters())


def test_released_network_is_loaded_anew(base: Path) -> None:
    import weakref

    weights = Weights(checkpoint(base), device="cpu")
    gone = weakref.ref(weights.model(AUTO))
    weights.release()
    assert gone() is None
    assert weights.model(AUTO) is not None


def test_names(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = resolve_adapter("./adapter", base=tmp_path, offline=True)
    assert (found.name, found.folder, found.revision) == ("./adapter", adapter, None)
    monkeypatch.chdir(tmp_path)
    assert resolve_adapter("adapter", base=Path("/"), offline=True).folder == adapter


def test_whole_checkpoint_is_for_model(base: Path) -> None:
    with pytest.raises(AdapterError, match=r"is not an adapter: it has no adapter_config\.json") as caught:
        resolve_adapter(str(base), base=base, offline=True)
    assert "--model" in caught.value.hint


def test_what_is_no_adapter(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no such folder"):
        resolve_adapter("./nowhere", base=tmp_path, offline=True)
    with pytest.raises(AdapterError, match="neither a folder nor a Hub id"):
        resolve_adapter("a/b/c", base=tmp_path, offline=True)
    with pytest.raises(AdapterError, match="can't be a path"):
        resolve_adapter("~nosuchuser/x", base=tmp_path, offline=True)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match="adapter without weights"):
        resolve_adapter(str(adapter), base=tmp_path, offline=True)
