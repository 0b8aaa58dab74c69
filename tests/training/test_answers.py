"""The code in the card of a classifier or a dual encoder says what the harness says."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from harness.data.audio import EncodedAudio
from harness.data.image import EncodedImage
from harness.models import Adapter
from harness.models.attach import quiet_peft
from harness.training.answers import PROMPTS, SOUNDS
from harness.training.export import export
from harness.types import Sample
from tests.models.clips import RATE_HZ, noise
from tests.models.tiny_classifier import tiny_ast, tiny_dual, tiny_vit
from tests.models.tiny_clip import TINY, tiny_clap
from tests.training.tuned import PLAIN, asked, opened, tuned

CLASSIFIERS: dict[str, Callable[[Path], Path]] = {"vit": tiny_vit, "ast": tiny_ast, "clip": tiny_dual}
ENCODERS: dict[str, Callable[[Path], Path]] = {
    name: TINY[name] for name in ("clip", "siglip", "siglip2 fixed", "chinese_clip")
} | {"clap": tiny_clap}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "IMAGE.png")
    soundfile.write(folder / "CLIP.wav", noise(0.5, 0).load(RATE_HZ), RATE_HZ, subtype="FLOAT")
    return folder


def sample_of(media: Path, column: str) -> Sample:
    image, audio = EncodedImage(media / "IMAGE.png"), EncodedAudio(media / "CLIP.wav")
    return Sample("0", {column: image if column == "image" else audio}, "", "0")


def run_code(folder: Path, base: Path, media: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the card's code prints, line by line."""
    found = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert found
    code = found[1]
    names = {"THIS_REPOSITORY": folder, "PATH_TO_BASE": base}
    for name, path in names.items() | {(name, media / name) for name in ("IMAGE.png", "CLIP.wav")}:
        code = code.replace(name, str(path))
    capsys.readouterr()
    with quiet_peft(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filter", UserWarning)  # AST's own filter bank
        exec(code, {})
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("made", ["adapter", "full", "exported"])
@pytest.mark.parametrize("multilabel", [False, True])
def test_code_of_a_classifier(
    tmp_path: Path, media: Path, capsys: pytest.CaptureFixture[str], name: str, made: str, multilabel: bool
) -> None:
    base, column = CLASSIFIERS[name](tmp_path / "base"), "audio" if name == "ast" else "image"
    task = asked(base, column=column, classes={"multilabel": multilabel})
    classes = PLAIN if name == "vit" else tuple("abcdefg")
    tuned(tmp_path / "tuned", task, classes, method="full" if made == "full" else "lora")
    folder = tmp_path / "tuned"
    if made == "full":
        adapter = opened(task.model_copy(update={"model": asked(folder).model}), classes)
    else:
        adapter = opened(task, classes, trained=folder)
    [output] = adapter.predict(adapter.encode([sample_of(media, column)]))
    assert isinstance(output.output, dict)
    if made == "exported":
        export(adapter, folder := tmp_path / "out")
    said = [line.rsplit(": ", 1) for line in run_code(folder, base, media, capsys)]
    expected = dict(list(output.output.items())[:5])
    assert [one.split(", ")[-1] for one, _ in said] == list(expected)
    assert [float(value) for _, value in said] == pytest.approx(list(expected.values()), abs=1e-4)
    front = (folder / "README.md").read_text().split("---")[1]
    assert f"pipeline_tag: {column}-classification" in front


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_code_of_a_dual_encoder(
    tmp_path: Path, media: Path, capsys: pytest.CaptureFixture[str], name: str, method: str
) -> None:
    base, column = ENCODERS[name](tmp_path / "base"), "audio" if name == "clap" else "image"
    task = asked(base, "retrieval", column=column)
    adapter = tuned(tmp_path / "tuned", task, method=method)
    texts = SOUNDS if name == "clap" else PROMPTS
    expected = probabilities(adapter, sample_of(media, column), texts)
    said = [line.rsplit(" ", 1) for line in run_code(tmp_path / "tuned", base, media, capsys)]
    assert [text for text, _ in said] == texts
    assert [float(value) for _, value in said] == pytest.approx(expected, abs=2e-4)
    assert f"zero-shot-{column}-classification" in (tmp_path / "tuned" / "README.md").read_text()


def probabilities(adapter: Adapter, sample: Sample, texts: list[str]) -> list[float]:
    prompts = [Sample(text, {"text": text}, "", text) for text in texts]
    rows: list[Any] = [one.output for one in adapter.predict(adapter.encode(prompts))]
    [medium] = (one.output for one in adapter.predict(adapter.encode([sample])))
    unit = [vector / np.linalg.norm(vector) for vector in [medium, *rows]]
    reading = adapter.similarity()
    logits = np.array([reading.scale * float(unit[0] @ text) + reading.bias for text in unit[1:]])
    if reading.scoring == "sigmoid":
        return list(1 / (1 + np.exp(-logits)))
    powers = np.exp(logits - logits.max())
    return list(powers / powers.sum())
