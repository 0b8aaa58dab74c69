"""The model card: code that runs as it stands, and what others must know of a fine-tune."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import soundfile

from harness.models.attach import quiet_peft
from harness.training.answers import ANSWERS
from harness.training.export import export
from tests.models.clips import RATE_HZ, noise, sample
from tests.models.clips import adapter as load
from tests.models.tiny import tiny_speech2text, tiny_whisper
from tests.training.networks import curve, fresh, manifest_of, moved, written


def code_of(folder: Path) -> str:
    found = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def run_code(folder: Path, base: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the card's code prints when the words in capitals are replaced."""
    code = code_of(folder)
    for name, path in (("THIS_REPOSITORY", folder), ("PATH_TO_BASE", base), ("CLIP.wav", clip)):
        code = code.replace(name, str(path))
    capsys.readouterr()
    with quiet_peft():
        exec(code, {})
    return capsys.readouterr().out.removesuffix("\n")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise(0.5, 0).load(RATE_HZ), RATE_HZ, subtype="FLOAT")
    return path


MAKERS: dict[str, Any] = {
    "half": lambda folder: tiny_whisper(folder, dtype="float16"),
    "english only": lambda folder: tiny_whisper(folder, vocabulary="english"),
    "beams of its own": lambda folder: tiny_whisper(folder, generation={"num_beams": 3}),
    "no window": lambda folder: tiny_speech2text(folder, multilingual=True),
}
GENERATE: dict[str, dict[str, Any]] = {
    "half": {"language": "fr", "task": "translate", "num_beams": 2, "max_new_tokens": 9},
    "english only": {},
    "beams of its own": {"language": "en", "suppress_tokens": "none"},
    "no window": {"language": "fr"},
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("whole", [False, True])
def test_code_says_what_the_adapter_says(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str], kind: str, whole: bool
) -> None:
    base = MAKERS[kind](tmp_path / "base")
    adapter = load(base, **GENERATE[kind])
    folder = written(tmp_path / "made", adapter, moved(adapter, method="full" if whole else "lora"))
    [output] = adapter.predict(adapter.encode([sample()]))
    assert run_code(folder, base, clip, capsys) == output.output
    assert output.output
    assert "dtype=torch.float32" in code_of(folder)  # the base's own may be float16


def test_code_of_an_exported_checkpoint(
    bases: dict[str, Path], tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = fresh(bases["whisper"])
    folder = written(tmp_path / "made", adapter, moved(adapter))
    export(fresh(bases["whisper"], trained=folder), tmp_path / "out")
    [output] = adapter.predict(adapter.encode([sample()]))
    assert run_code(tmp_path / "out", bases["whisper"], clip, capsys) == output.output


def test_code_of_half_precision_and_of_a_family_without_lines(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ANSWERS, "whisper")
    adapter = fresh(bases["whisper"], dtype="bfloat16")
    code = code_of(written(tmp_path / "made", adapter, moved(adapter)))
    assert "dtype=torch.bfloat16" in code
    assert code.rstrip().endswith('AutoProcessor.from_pretrained("PATH_TO_BASE")')
    assert "soundfile" not in code


def test_a_local_base_is_not_taken_for_one_on_the_hub(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = fresh(bases["whisper"])
    card = (written(tmp_path / "made", adapter, moved(adapter)) / "README.md").read_text()
    assert 'from_pretrained("whisper"' not in card
    assert "harness eval TASK --model PATH_TO_BASE --adapter THIS_REPOSITORY" in card
    assert "`PATH_TO_BASE` is your copy of the base, a folder that was called `whisper`" in card
    assert adapter.weights.checkpoint.digest()[:12] in card


def test_a_base_on_the_hub_is_named_with_its_commit(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = fresh(bases["whisper"])
    base = {"checkpoint": "openai/whisper-small", "revision": "abc123"}
    card = (written(tmp_path / "made", adapter, moved(adapter), base=base) / "README.md").read_text()
    assert card.count('from_pretrained("openai/whisper-small", revision="abc123"') == 2
    assert "PATH_TO_BASE" not in card


def test_scores_of_base_and_fine_tune_with_unit_and_settings(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = fresh(bases["whisper"])
    manifest = manifest_of(adapter)
    manifest["spec"]["metrics"] = [{"name": "wer", "options": {"normalizer": "lower"}}, {"name": "bleu"}]
    manifest["scores"] = {"wer": 3.939393, "bleu": float("nan")}
    made = curve()
    made.scores.insert(0, (0, {"wer": 54.54545, "bleu": 0.5}))
    manifest["train"]["curve"] = made.to_json()
    card = (written(tmp_path / "made", adapter, moved(adapter), **manifest) / "README.md").read_text()
    assert "| metric | settings | base | fine-tuned (step 1) |" in card
    assert "| wer | normalizer:lower | 54.55 % | 3.94 % |" in card
    assert re.search(r"\| bleu \| nrefs:.* \| 0\.50 \| undefined \|", card)


def test_settings_that_decide_a_training(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = fresh(bases["whisper"])
    augment = {"noise": {"snr_db": [15, 30], "probability": 0.7}, "speed": [0.9, 1.0, 1.1]}
    manifest = manifest_of(adapter, lora={"r": 4, "dropout": 0.25}, augment=augment, batch=8, seed=3)
    manifest["data"] = {"path": "./clips", "n": 1500, "revision": None}
    manifest["train"]["left_out"] = {f"clip {number}": "too long" for number in range(5)}
    manifest["versions"] = {"torch": "2.13", "peft": "0.21"}
    card = (written(tmp_path / "made", adapter, moved(adapter), **manifest) / "README.md").read_text()
    for row in (
        "| training samples | 1500 |",
        "| left out of them | 5 (clip 0: too long; clip 1: too long; clip 2: too long; ...) |",
        "| samples per step | 8 |",
        "| LoRA rank | 4 |",
        "| LoRA alpha | 8 |",
        "| LoRA targets | q_proj, v_proj |",
        "| LoRA dropout | 0.25 |",
        "| augmentation | speed [0.9, 1.0, 1.1]; noise snr_db 15.0 to 30.0, probability 0.7 |",
        "| seed | 3 |",
        "- torch 2.13\n- peft 0.21\n",
        "The licence of the base model applies.",
    ):
        assert row in card, row
    front = card.split("---")[1]
    assert not re.search(r"^(license|datasets|base_model):", front, re.MULTILINE)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_files_have_the_mode_that_others_have(bases: dict[str, Path], tmp_path: Path, method: str) -> None:
    before = os.umask(0o027)
    try:
        adapter = fresh(bases["whisper"])
        folder = written(tmp_path / "made", adapter, moved(adapter, method=method))
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}
