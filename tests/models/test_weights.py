"""Loading: nothing random is ever scored, nothing loads before it is needed, errors say what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import AdapterError
from harness.models import Weights, resolve
from tests.models.clips import adapter, sample
from tests.models.tiny import tiny_whisper

QUICKSTART = Path(__file__).parents[2] / "tasks" / "quickstart" / "checkpoints" / "spoken_digits"
AUTO = "AutoModelForSpeechSeq2Seq"


@pytest.fixture
def copy(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoints["bytes"], tmp_path / "copy"))


def weights_of(folder: Path, **settings: Any) -> Weights:
    return Weights(resolve(str(folder), None, base=folder, offline=True), device="cpu", **settings)


def test_network_loads_only_to_predict(copy: Path) -> None:
    made = adapter(copy, language="en")
    (copy / "model.safetensors").unlink()
    clip = sample()
    made.encode([clip], with_targets=True)
    made.render(clip)
    assert made.cost(clip) == pytest.approx(0.5)
    with pytest.raises(AdapterError, match="can't be loaded"):
        made.predict(made.encode([clip]))


@pytest.mark.parametrize("change", ["missing", "left over"])
def test_weights_that_do_not_fit_are_refused(copy: Path, change: str) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    layer = tensors.pop("model.encoder.layers.0.fc1.weight")
    if change == "left over":
        tensors |= {
            "model.encoder.layers.0.fc1.weight": layer,
            "model.encoder.layers.7.fc1.weight": layer.clone(),
        }
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AdapterError, match=r"don't fit its config: 1 .*fc1"):
        weights_of(copy).model(AUTO)


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"encoder_ffn_dim": 48}))
    with pytest.raises(AdapterError):
        weights_of(copy).model(AUTO)


def test_cut_off_file_is_refused(copy: Path) -> None:
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(AdapterError, match=r"weights of .* can't be loaded"):
        weights_of(copy).model(AUTO)


def test_missing_processor_is_named(copy: Path) -> None:
    for name in (
        "preprocessor_config.json",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ):
        (copy / name).unlink(missing_ok=True)
    with pytest.raises(AdapterError, match=r"processor of .* can't be loaded"):
        _ = weights_of(copy).processor


@pytest.mark.parametrize("lacking", [["tokenizer.json"], ["tokenizer.json", "tokenizer_config.json"]])
def test_checkpoint_without_its_vocabulary_is_refused(tmp_path: Path, lacking: list[str]) -> None:
    """transformers opens it with a tokenizer that makes every text empty, and it would score 100 % errors."""
    folder = Path(shutil.copytree(QUICKSTART, tmp_path / "checkpoint-500"))
    for name in lacking:
        (folder / name).unlink()
    with pytest.raises(AdapterError, match="has no vocabulary") as caught:
        adapter(folder, language="en")
    assert "tokenizer.json" in caught.value.hint


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_half_precision_runs_as_float32_on_a_cpu(tmp_path: Path, stored: str) -> None:
    weights = weights_of(tiny_whisper(tmp_path / "half", dtype=stored))
    assert weights.dtype == "float32"
    assert str(weights.model(AUTO).dtype) == "torch.float32"
    assert weights_of(tmp_path / "half", dtype="bfloat16").dtype == "bfloat16"


def test_model_is_in_evaluation_mode_and_cached(checkpoints: dict[str, Path]) -> None:
    weights = weights_of(checkpoints["bytes"])
    assert not weights.model(AUTO).training
    assert weights.model(AUTO) is weights.model(AUTO)


@pytest.mark.parametrize("device", ["cuda:7", "gpu"])
def test_device_that_is_not_there(checkpoints: dict[str, Path], device: str) -> None:
    weights = Weights(resolve(str(checkpoints["bytes"]), None, base=Path(), offline=True), device=device)
    with pytest.raises(AdapterError, match=f"no device '{device}'"):
        _ = weights.device


def test_attention_kernel_is_passed_on(checkpoints: dict[str, Path]) -> None:
    model = weights_of(checkpoints["bytes"], attention="eager").model(AUTO)
    assert model.config._attn_implementation == "eager"


def test_checkpoint_without_generation_config_derives_one(copy: Path) -> None:
    """As Whisper checkpoints were at first: languages are known from the tokenizer and the forced tokens."""
    (copy / "generation_config.json").unlink()
    with pytest.raises(AdapterError, match="doesn't say whether it is multilingual"):
        adapter(copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"forced_decoder_ids": [[1, None], [2, 261]]}))
    made = adapter(copy, language="fr", task="translate")
    assert made.request(sample()) == {"language": "fr", "task": "translate"}
    output = made.predict(made.encode([sample()]))[0]
    detecting = adapter(copy)
    assert detecting.predict(detecting.encode([sample()]))[0].extras["language"] in ("en", "fr")
    (copy / "config.json").write_text(json.dumps(config | {"forced_decoder_ids": [[1, 265]]}))
    with pytest.raises(AdapterError, match="no choice of language"):
        adapter(copy, language="fr")
    assert output.tokens > 20 or not output.truncated, "the library's default of 20 tokens isn't a limit"


@pytest.mark.parametrize(
    "broken",
    [
        {"lang_to_id": 5},
        {"lang_to_id": {"<|en|>": "256"}},
        {"task_to_id": ["transcribe"]},
        {"no_timestamps_token_id": "<|notimestamps|>"},
    ],
)
def test_malformed_generation_config_is_named(copy: Path, broken: dict[str, object]) -> None:
    path = copy / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | broken))
    [key] = broken
    with pytest.raises(AdapterError, match=rf"generation_config\.json of .*: {key} is "):
        adapter(copy)


QUIET = """
import sys
from pathlib import Path
from typing import Any
from tests.models.clips import adapter, sample
for name in ("bytes", "english", "moonshine"):
    made = adapter(Path(sys.argv[1]) / name, max_new_tokens=4)
    made.predict(made.encode([sample(0.5)]))
    made.predict(made.encode([sample(4.5)]))
"""


def test_loading_and_predicting_print_nothing(checkpoints: dict[str, Path]) -> None:
    """The libraries' advice is about settings that this code chose; the user can't act on it."""
    done = subprocess.run(
        [sys.executable, "-c", QUIET, str(checkpoints["bytes"].parent)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
