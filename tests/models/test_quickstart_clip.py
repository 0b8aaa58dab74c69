"""The shipped CLIP: small, half precision, good at what it knows, clearly less at what it is tuned on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.models import resolve
from tests.models.quickstart import FOLDER, check_same_bytes, script_of


@pytest.fixture(scope="module")
def script() -> Any:
    return script_of("train_handwritten_digits")


def test_about_a_million_parameters_in_a_few_megabytes() -> None:
    checkpoint = resolve("./handwritten_digits", None, base=FOLDER, offline=True)
    assert 1e6 < checkpoint.parameters() < 2e6
    assert checkpoint.bytes() < 4e6
    assert checkpoint.config()["dtype"] == "float16"


def test_knows_its_fonts_and_reads_most_of_what_people_wrote(script: Any) -> None:
    import torch
    from transformers import CLIPModel, CLIPProcessor

    folder = FOLDER / "handwritten_digits"
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = CLIPProcessor.from_pretrained(folder, backend="pil")
    captions = script.all_captions(processor.tokenizer)
    known = script.accuracy(model, script.drawn(processor, "test", 100), captions)
    written = script.pictures_of(processor, "synthetic:handwritten_digits", "test")
    assert known > 0.95
    assert 0.5 < script.accuracy(model, written, captions) < 0.85


def test_any_text_has_one_end(script: Any) -> None:
    """A letter that the vocabulary lacked would be read as the end, where CLIP's features stand."""
    tokenizer = script.new_tokenizer()
    for text in ("a photo of the number three.", "Zebra? 7!", "naïve 猫"):
        assert tokenizer(text).input_ids.count(tokenizer.eos_token_id) == 1
    assert len(tokenizer.tokenize("a photo of the number three.")) == 7


@pytest.mark.heavy
def test_training_again_gives_the_same_bytes(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("model.safetensors", "README.md", "tokenizer.json", "processor_config.json")
    check_same_bytes(script, tmp_path, monkeypatch, files, IMAGES=80, TEST_IMAGES=10)
