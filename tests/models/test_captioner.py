"""Vision encoder-decoders say what transformers says of a single image, and learn the caption and no more."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import AdapterError, PredictionError, RowError
from harness.models import load
from harness.types import Sample
from tests.models.tiny_blip import POSITIONS, asked, tiny_trocr, tiny_vit_gpt2
from tests.tasks import task_of

NAMES = ("vit-gpt2", "projected", "trocr")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("captioners")
    return {
        "vit-gpt2": tiny_vit_gpt2(root / "vit-gpt2"),
        "projected": tiny_vit_gpt2(root / "projected", width=12),
        "trocr": tiny_trocr(root / "trocr"),
    }


def opened(folder: Path, kind: str = "captioning", words: str = "", **generate: Any) -> Any:
    generate = {"max_new_tokens": 8} | generate
    task = task_of(folder, kind, column="image", prompt=words, generate=generate)
    return load(task, base=Path(), device="cpu")


def samples() -> list[Sample]:
    """Captions of several lengths; the first two are of one image."""
    rows = ((0, "a cat"), (0, "the cats"), (1, "a"), (2, "two, tall"))
    return [Sample(f"{place}", asked(seed).inputs, text, "") for place, (seed, text) in enumerate(rows)]


def pixels(made: Any, sample: Sample) -> torch.Tensor:
    from transformers import AutoImageProcessor

    reader = AutoImageProcessor.from_pretrained(made.weights.checkpoint.folder)
    image: Any = sample.inputs["image"]
    found: torch.Tensor = reader(images=image.load(), return_tensors="pt").pixel_values
    return found


def said(made: Any, asked: list[Sample]) -> list[Any]:
    return [output.output for output in made.predict(made.encode(asked))]


def loss(made: Any, learned: list[Sample]) -> torch.Tensor:
    found: torch.Tensor = made.loss(made.model, made.encode(learned, with_targets=True))
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "generate", [{}, {"num_beams": 3}, {"min_new_tokens": 5, "max_new_tokens": 6}], ids=str
)
def test_captions_are_those_of_transformers(
    folders: dict[str, Path], name: str, generate: dict[str, Any]
) -> None:
    from transformers import AutoTokenizer

    made, found = opened(folders[name], **generate), said(opened(folders[name], **generate), samples())
    tokenizer = AutoTokenizer.from_pretrained(folders[name])
    for sample, caption in zip(samples(), found, strict=True):
        settings = {"max_new_tokens": 8} | generate
        ids = made.model.generate(pixel_values=pixels(made, sample), **settings)
        assert caption == tokenizer.decode(ids[0], skip_special_tokens=True).strip()
    assert found[0] == found[1]
    assert len(set(found)) == 3


@pytest.mark.parametrize("name", NAMES)
def test_words_begin_what_is_written(folders: dict[str, Path], name: str) -> None:
    """As Donut is asked: the decoder goes on after them."""
    from transformers import AutoTokenizer

    made, tokenizer = opened(folders[name], words="the cat"), AutoTokenizer.from_pretrained(folders[name])
    begun = tokenizer("the cat", add_special_tokens=False).input_ids
    for sample, caption in zip(samples(), said(made, samples()), strict=True):
        start = torch.tensor([[made.model.generation_config.decoder_start_token_id, *begun]])
        ids = made.model.generate(pixels(made, sample), decoder_input_ids=start, max_new_tokens=8)
        whole = tokenizer.decode(ids[0], skip_special_tokens=True)
        assert whole.startswith("the cat")
        assert caption == whole.removeprefix("the cat").strip()


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_the_networks_own_times_its_labels(folders: dict[str, Path], name: str) -> None:
    from transformers import AutoTokenizer

    made, tokenizer = opened(folders[name]), AutoTokenizer.from_pretrained(folders[name])
    for sample in samples():
        text = tokenizer(sample.target, add_special_tokens=False).input_ids
        labels = torch.tensor([[*text, made.model.config.eos_token_id]])
        own = made.model(pixel_values=pixels(made, sample), labels=labels).loss
        assert made.items(made.encode([sample], with_targets=True)) == len(text) + 1
        assert loss(made, [sample]).item() == pytest.approx(own.item() * (len(text) + 1), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_teaches_what_its_samples_teach_alone(folders: dict[str, Path], name: str) -> None:
    made = opened(folders[name])
    together = loss(made, samples())
    together.backward()
    whole = {name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None}
    made.model.zero_grad()
    alone = [loss(made, [sample]) for sample in samples()]
    for one in alone:
        one.backward()
    assert together.item() == pytest.approx(sum(one.item() for one in alone), rel=1e-5)
    scale = max(gradient.abs().max().item() for gradient in whole.values())
    parts = {name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None}
    for key, gradient in whole.items():
        torch.testing.assert_close(gradient, parts[key], rtol=1e-4, atol=1e-5 * scale)
    untaught = {key for key, _ in made.model.named_parameters()} - whole.keys()
    assert all(key.startswith("encoder.pooler.") for key in untaught)  # which is frozen
    assert made.part_states() == {"pooler": "frozen"}


def test_what_is_learned_is_the_caption_and_its_end(folders: dict[str, Path]) -> None:
    shown = opened(folders["vit-gpt2"], words="the").render(samples()[0])
    assert [token for token, label in shown.tokens if not label] == ["<|endoftext|>", "t", "h", "e"]
    assert [token for token, label in shown.tokens if label] == ["a", "Ġ", "cat", "<|endoftext|>"]


def test_an_image_is_encoded_once(folders: dict[str, Path]) -> None:
    made = opened(folders["vit-gpt2"])
    seen: list[int] = []
    hook = made.model.encoder.register_forward_pre_hook(
        lambda _, __, named: seen.append(len(named["pixel_values"])), with_kwargs=True
    )
    made.predict(made.encode(samples()))
    hook.remove()
    assert seen == [3]


def test_prompts_and_captions_fit_into_the_decoder(folders: dict[str, Path]) -> None:
    with pytest.raises(RowError, match=f"17 tokens and 8 new ones are more than the decoder's {POSITIONS}"):
        opened(folders["vit-gpt2"], words="e" * 16).request(samples()[0])
    opened(folders["vit-gpt2"], words="e" * 15).request(samples()[0])
    long = Sample("long", samples()[0].inputs, "e" * POSITIONS, "")
    with pytest.raises(RowError, match=f"'long': prompt and answer have {POSITIONS + 1} tokens"):
        opened(folders["vit-gpt2"]).encode([long], with_targets=True)


def test_roberta_has_positions_behind_its_padding_only(tmp_path: Path) -> None:
    """Its positions are counted on from the padding token's number, so the last of them are never reached."""
    made = opened(tiny_trocr(tmp_path / "roberta", decoder="roberta"))
    room = POSITIONS - made.weights.config.decoder.pad_token_id - 1
    full = Sample("full", samples()[0].inputs, "e" * (room - 1), "")
    assert loss(made, [full]).isfinite()
    with pytest.raises(RowError, match=f"more than the decoder's {room} positions"):
        made.encode([Sample("long", full.inputs, "e" * room, "")], with_targets=True)


@pytest.mark.parametrize("key", ["decoder_start_token_id", "eos_token_id"])
def test_a_checkpoint_that_cannot_begin_or_end_is_refused(tmp_path: Path, key: str) -> None:
    folder = tiny_vit_gpt2(tmp_path / "broken")
    for name in ("config.json", "generation_config.json"):
        config = json.loads((folder / name).read_text())
        for part in (config, config.get("decoder", {})):
            part.update({"bos_token_id": None, key: None})
        (folder / name).write_text(json.dumps(config))
    with pytest.raises(AdapterError, match="begins" if key == "decoder_start_token_id" else "ends"):
        opened(folder)


def test_kinds_beyond_it_and_numbers_that_are_none_are_errors(folders: dict[str, Path]) -> None:
    columns = {"messages": "messages", "image": "image"}
    talk = task_of(folders["trocr"], "conversation", data={"path": "nowhere", "columns": columns})
    with pytest.raises(AdapterError, match="can't answer kind 'conversation'"):
        load(talk, base=Path(), device="cpu")
    made = opened(folders["trocr"])
    made.prepare()
    with torch.no_grad():
        made.model.encoder.layernorm.bias.fill_(math.nan)
    with pytest.raises(PredictionError, match="non-finite"):
        made.predict(made.encode(samples()))
