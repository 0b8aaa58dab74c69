"""CLIP and its cousins embed as transformers' own recipes do, alone as in a batch."""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file

from harness.data.image import DecodedImage, EncodedImage
from harness.errors import AdapterError, MediaError, PredictionError, RowError
from harness.models.cousins import COUSINS
from harness.models.weights import quiet
from harness.types import Sample
from tests.models.pictures import dual_encoder, embeddings, image_sample, text_sample
from tests.models.tiny_clip import POSITIONS, TINY, tiny_siglip

COUSIN_NAMES = list(TINY)
PADDED = {"siglip", "siglip2 fixed", "siglip2 naflex", "align"}
SHAPES = [(30, 20), (9, 40), (16, 16), (200, 100), (3, 2)]
TEXTS = ["a dog", "a photo of a dog", "7 cats!", "x"]

Folders = dict[str, Path]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A tiny checkpoint of each cousin."""
    root = tmp_path_factory.mktemp("cousins")
    return {name: make(root / name) for name, make in TINY.items()}


def images() -> list[Sample]:
    return [image_sample(seed, size) for seed, size in enumerate(SHAPES)]


def pixels(sample: Sample) -> Pillow.Image:
    image = sample.inputs["image"]
    assert isinstance(image, DecodedImage)
    return image.load()


def theirs(folder: Path, name: str, samples: list[Sample], texts: list[str]) -> Any:
    """What transformers itself makes of images and texts, as its documentation says for each cousin."""
    from transformers import AutoModelForZeroShotImageClassification, AutoProcessor

    with quiet(), torch.inference_mode():
        model = AutoModelForZeroShotImageClassification.from_pretrained(folder).eval()
        processor = AutoProcessor.from_pretrained(folder)
        seen = processor.image_processor([pixels(sample) for sample in samples], return_tensors="pt")
        padding = {"padding": "max_length", "max_length": POSITIONS} if name in PADDED else {"padding": True}
        read = processor.tokenizer(texts, truncation=True, return_tensors="pt", **padding)
        return (
            model.get_image_features(**seen).pooler_output.numpy(),
            model.get_text_features(**read).pooler_output.numpy(),
            model(**seen, **read).logits_per_image.numpy(),
        )


def normalised(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("name", COUSIN_NAMES)
def test_embeddings_and_logits_are_those_of_transformers(folders: Folders, name: str) -> None:
    made = dual_encoder(folders[name])
    similarity = made.similarity()
    assert not made.weights.holds(
        made.auto_class
    )  # a run that finds everything in the cache loads no network
    seen, read = embeddings(made, images()), embeddings(made, [text_sample(text) for text in TEXTS])
    assert similarity == made.similarity()  # read from the network now
    expected = theirs(folders[name], name, images(), TEXTS)
    logits = similarity.scale * normalised(seen) @ normalised(read).T + similarity.bias
    for found, wanted in zip((seen, read, logits), expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert similarity.scoring == ("sigmoid" if "siglip" in name else "softmax")
    assert np.ptp(normalised(seen), axis=0).max() > 0.05  # the tiny network tells images and texts apart
    assert np.ptp(normalised(read), axis=0).max() > 0.05


@pytest.mark.parametrize("name", COUSIN_NAMES)
def test_a_sample_is_embedded_alike_alone_and_in_a_batch(folders: Folders, name: str) -> None:
    made = dual_encoder(folders[name])
    for samples in (images(), [text_sample(text) for text in TEXTS]):
        together = embeddings(made, samples)
        alone = np.concatenate([embeddings(made, [sample]) for sample in samples])
        np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", COUSIN_NAMES)
def test_texts_are_padded_as_in_training(folders: Folders, name: str) -> None:
    batch = dual_encoder(folders[name]).encode([text_sample("a dog"), text_sample("a")])
    width = batch.tensors["input_ids"].shape[1]
    assert (width == POSITIONS) == (name in PADDED)
    assert ("attention_mask" in batch.tensors) == ("siglip" not in name)


@pytest.mark.parametrize("name", COUSIN_NAMES)
def test_a_text_that_is_too_long_is_cut_and_says_so(folders: Folders, name: str) -> None:
    made = dual_encoder(folders[name])
    fits, long, longer = "x" * (POSITIONS - 4), "x" * (POSITIONS + 3), "x" * (POSITIONS + 9)
    batch = made.encode([text_sample(text) for text in (fits, long, longer)])
    outputs = made.predict(batch)
    assert [output.truncated for output in outputs] == [False, True, True]
    assert np.array_equal(outputs[1].output, outputs[2].output)
    ids = batch.tensors["input_ids"]
    assert ids.shape[1] == POSITIONS
    ends = {"align": "sep", "chinese_clip": "sep"}.get(name, "eos")
    assert ids[1, -1] == getattr(made.weights.processor.tokenizer, f"{ends}_token_id")


@pytest.mark.parametrize("name", ["siglip", "siglip2 fixed", "siglip2 naflex", "clip"])
def test_case_makes_no_difference_to_those_that_learned_lower_case(folders: Folders, name: str) -> None:
    upper, lower = embeddings(dual_encoder(folders[name]), [text_sample("A DOG"), text_sample("a dog")])
    assert np.array_equal(upper, lower)


def test_siglip_sees_its_padding_even_where_its_tokenizer_makes_a_mask(folders: Folders) -> None:
    made = dual_encoder(folders["siglip"])
    [expected] = embeddings(made, [text_sample("a dog")])
    made.weights.processor.tokenizer.model_input_names = ["input_ids", "attention_mask"]
    assert np.array_equal(embeddings(made, [text_sample("a dog")])[0], expected)


def test_siglip_2_reads_lower_case_even_where_its_tokenizer_does_not(tmp_path: Path) -> None:
    folder = tiny_siglip(tmp_path / "siglip2", second=True)
    file = folder / "tokenizer_config.json"
    file.write_text(file.read_text().replace("Siglip2Tokenizer", "GemmaTokenizer"))
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    made = dual_encoder(folder)
    tokenizer = made.weights.processor.tokenizer
    assert tokenizer("A DOG").input_ids != tokenizer("a dog").input_ids
    upper, lower = embeddings(made, [text_sample("A DOG"), text_sample("a dog")])
    assert np.array_equal(upper, lower)


def test_what_is_asked_of_an_image_knows_nothing_of_the_task(folders: Folders) -> None:
    classes = {"names": ["cat", "dog"], "templates": ["a photo of a {}."]}
    made = dual_encoder(folders["clip"], sections={"classes": classes})
    other = dual_encoder(folders["clip"], "retrieval")
    one, two = image_sample(0, target="cat"), image_sample(0, target=["a dog", "it barks"])
    assert made.request(one) == other.request(two) == {"embed": "image"}
    assert made.request(text_sample("a cat")) == {"embed": "text", "text": "a cat"}
    assert made.bucket(one) != made.bucket(text_sample("a cat"))


@pytest.mark.parametrize("text", ["", "  \n", None, 7])
def test_an_empty_text_is_refused(folders: Folders, text: Any) -> None:
    made = dual_encoder(folders["clip"])
    with pytest.raises(RowError, match="has no text"):
        made.request(text_sample(text))
    with pytest.raises(RowError, match="has no text"):
        made.encode([text_sample("fine"), text_sample(text)])


def test_samples_without_an_image_are_refused(folders: Folders) -> None:
    made = dual_encoder(folders["clip"])
    with pytest.raises(RowError, match="'a' has no image"):
        made.request(Sample("a", {}, "", ""))
    with pytest.raises(RowError, match="'a' has no image"):
        made.encode([Sample("a", {"image": "file.png"}, "", "")])


def test_a_stripe_is_refused_where_it_would_fill_the_memory(folders: Folders) -> None:
    stripe = Sample("stripe", {"image": DecodedImage(np.zeros((2, 500, 3), np.uint8))}, "", "")
    with pytest.raises(MediaError, match="'stripe' has an image of 500 x 2 pixels"):
        dual_encoder(folders["clip"]).encode([image_sample(0), stripe])
    assert np.isfinite(embeddings(dual_encoder(folders["siglip"]), [stripe])).all()  # made square at once


def test_a_network_that_computes_nan_is_a_failure(folders: Folders) -> None:
    made = dual_encoder(folders["clip"])
    with torch.no_grad():
        made.model.visual_projection.weight.fill_(torch.nan)
    with pytest.raises(PredictionError, match="NaN or infinity"):
        embeddings(made, [image_sample(0)])


def test_pixels_that_are_not_finite_are_named(folders: Folders, tmp_path: Path) -> None:
    made = dual_encoder(folders["clip"])
    made.weights.processor.image_processor.image_std = [1.0, 1.0, np.nan]
    with pytest.raises(MediaError, match="'image 0' has an image whose pixels are NaN or infinite"):
        made.encode([image_sample(0)])


def test_an_old_checkpoint_is_embedded_as_a_new_one(folders: Folders, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(folders["clip"], old)
    weights = load_file(old / "model.safetensors")
    (old / "model.safetensors").unlink()
    for tower, positions in (("text", POSITIONS), ("vision", 5)):  # as OpenAI's converted ones have them
        weights[f"{tower}_model.embeddings.position_ids"] = torch.arange(positions)[None]
    torch.save(weights, old / "pytorch_model.bin")
    made, new = dual_encoder(old), dual_encoder(folders["clip"])
    assert np.array_equal(embeddings(made, images()), embeddings(new, images()))
    assert made.similarity() == new.similarity()


@pytest.mark.parametrize("scale", [float("nan"), 200.0])
def test_a_temperature_that_makes_nan_of_cosines(folders: Folders, tmp_path: Path, scale: float) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(folders["clip"], folder)
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"logit_scale": torch.tensor(scale)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(AdapterError, match=r"damaged multiplies cosines by (nan|inf)"):
        dual_encoder(folder).similarity()


def test_a_task_of_sounds_is_refused(folders: Folders) -> None:
    with pytest.raises(AdapterError, match="embeds image and texts, the task gives it audio"):
        dual_encoder(folders["clip"], column="audio")


def file_of(image: Pillow.Image, format: str, **options: Any) -> bytes:  # noqa: A002 - Pillow's name
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_however_an_image_is_stored_it_is_the_same_image(folders: Folders) -> None:
    y, x = np.mgrid[:20, :30]
    plain = Pillow.fromarray(np.stack([x * 8, y * 12, (x + y) * 5], -1).astype(np.uint8) // 51 * 51)
    turned = Pillow.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    grey = plain.convert("L")
    stored = {
        "CMYK": file_of(plain.convert("CMYK"), "TIFF"),
        "palette": file_of(plain.quantize(256), "PNG"),
        "alpha": file_of(plain.convert("RGBA"), "PNG"),
        "turned": file_of(plain.transpose(Pillow.Transpose.ROTATE_90), "TIFF", exif=turned),
    }
    made = dual_encoder(folders["clip"])

    def seen(content: bytes) -> Any:
        return embeddings(made, [Sample("a", {"image": EncodedImage(content)}, "", "")])[0]

    for name, content in stored.items():
        assert np.array_equal(seen(content), seen(file_of(plain, "PNG"))), name
    deep = Pillow.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert np.array_equal(seen(file_of(deep, "PNG")), seen(file_of(grey, "PNG")))


def test_threads_that_encode_at_once_do_not_disturb_each_other(folders: Folders) -> None:
    made = dual_encoder(folders["clip"])
    batches = [[text_sample("x" * length) for length in range(1, 2 + seed % 30)] for seed in range(200)]
    alone = [made.encode(batch).tensors["input_ids"] for batch in batches]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda batch: made.encode(batch).tensors["input_ids"], batches))
    finally:
        sys.setswitchinterval(before)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("name", COUSIN_NAMES)
def test_half_precision_is_close(folders: Folders, name: str) -> None:
    half, full = dual_encoder(folders[name], dtype="bfloat16"), dual_encoder(folders[name])
    similarity = half.similarity()  # from the files, rounded as the network rounds it
    for samples in (images(), [text_sample(text) for text in TEXTS]):
        found, expected = (normalised(embeddings(made, samples)) for made in (half, full))
        assert found.dtype == np.float32
        assert 0.99 < (found * expected).sum(-1).min() < 1
    assert similarity == half.similarity()


def test_a_dry_run_shows_what_a_sample_is_compared_with(folders: Folders) -> None:
    classes = {"names": ["cat", "dog"], "templates": ["a big {}", "a small {}"]}
    shown = dual_encoder(folders["clip"], classes=None, sections={"classes": classes})
    rendered = shown.render(image_sample(0, target="cat"))
    assert rendered.notes == {"text": "a big cat", "templates": "a big {} | a small {}", "scoring": "softmax"}
    assert "".join(token for token, _ in rendered.tokens) == "<|startoftext|>a</w>big</w>cat</w><|endoftext|>"
    assert not any(label for _, label in rendered.tokens)
    assert rendered.shapes == {"pixel_values": "float32 (1, 3, 16, 16)"}
    pairs = dual_encoder(folders["clip"], "retrieval")
    assert pairs.render(image_sample(0, target=["a dog", "it barks"])).notes == {"text": "a dog"}
    assert not dual_encoder(folders["clip"], "linear_probe").render(image_sample(0)).tokens


def test_every_registered_cousin_is_tried() -> None:
    from harness.registry import FAMILY_OF_TYPE

    types = {name for name, family in FAMILY_OF_TYPE.items() if family in ("clip", "clap")}
    assert types == {name.split()[0] for name in TINY} | {"clap"}
    assert COUSINS.keys() <= types
