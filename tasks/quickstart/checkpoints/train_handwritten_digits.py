"""Train the quickstart's base checkpoint for images from nothing: a CLIP of a million parameters.

    python tasks/quickstart/checkpoints/train_handwritten_digits.py

writes tasks/quickstart/checkpoints/handwritten_digits/ (model, processor, card) in six minutes on one core,
and scores it. It learns from digits that are drawn in fonts on the spot, with captions made of
templates, and never sees one that a person wrote. The same machine and versions give the same weights.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from harness.data import load as load_data
from harness.data.digits import WORDS
from harness.models.weights import quiet
from harness.progress import progress
from harness.spec.schema import Data

TEMPLATES = (
    "a photo of the number {}.",
    "a photo of the digit {}.",
    "an image of the number {}.",
    "a drawing of the digit {}.",
    "a picture of a {}.",
    "a printed {}.",
    "the number {}.",
    "the digit {}.",
    "{}.",
    "{}",
)
NAMES = tuple((word, str(digit)) for digit, word in enumerate(WORDS))
"""What captions call each digit."""
RENDERED: dict[str, Any] = {"height": [0.7, 1.0], "colour": 0.2, "light_ink": 0.8}
"""Large digits, mostly light on dark, as the handwritten ones are."""
IMAGES = 8000
TEST_IMAGES = 500
SIDE = 32
LONGEST_TEXT = 77
BATCH = 64
STEPS = 3000
PEAK_LEARNING_RATE = 1e-3
SEED = 0


CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: zero-shot-image-classification
tags: [clip, mm-harness, synthetic]
---
# Handwritten digits: a CLIP of a million parameters

The base checkpoint of mm-harness's quickstart for images. It tells digits apart by what they are called ("a
photo of the number three."), in images of {side} x {side} pixels. It has CLIP's architecture, files and
special tokens ({parameters:,} parameters, float16); nothing else was taken from a published CLIP.

## How it was made

`python tasks/quickstart/checkpoints/train_handwritten_digits.py`, from random weights: {images:,} digits
drawn in the fonts that matplotlib and Pillow have (seed {seed}), bent and stretched anew each time, with
captions of {templates} templates; {steps:,} steps of {batch} pairs, CLIP's symmetric loss in which every
caption of the same digit is right, AdamW in one cycle up to {rate}.

## Scores

Zero-shot accuracy with the ensemble of those templates.

| images | accuracy |
|---|---|
{scores}

The gap between the rows is meant: fine-tuning closes it. The checkpoint is for trying things out; it has
never seen a digit that a person wrote.
"""


@dataclass(frozen=True)
class Pictures:
    """Images as the network takes them, shape (n, 3, side, side), and their digits, shape (n,)."""

    pixels: Tensor
    digits: Tensor


@dataclass(frozen=True)
class Captions:
    """Tokens and mask of every caption, both of shape (digits, captions of each, length)."""

    tokens: Tensor
    mask: Tensor

    def chosen(self, digits: Tensor, order: torch.Generator) -> tuple[Tensor, Tensor]:
        """Tokens and mask of one caption for each digit, drawn by chance."""
        which = torch.randint(self.tokens.shape[1], digits.shape, generator=order)
        return self.tokens[digits, which], self.mask[digits, which]


def main() -> None:
    """Train, save, measure."""
    parser = argparse.ArgumentParser(description="Train the quickstart's checkpoint for images.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "handwritten_digits")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # sums in the same order, however many cores there are
    torch.use_deterministic_algorithms(mode=True)
    processor = new_processor()
    model, captions = new_model(processor.tokenizer), all_captions(processor.tokenizer)
    pictures = drawn(processor, "train", IMAGES)
    started = time.monotonic()
    train(model, pictures, captions, options.steps)
    print(f"trained {options.steps} steps in {time.monotonic() - started:.0f} s")
    with quiet():
        model.half().save_pretrained(options.out)
        processor.save_pretrained(options.out)
    write_card(options.out, options.steps)


def write_card(folder: Path, steps: int) -> None:
    """Score the saved checkpoint and write its README.md."""
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = CLIPProcessor.from_pretrained(folder, backend="pil")
    captions = all_captions(processor.tokenizer)
    conditions = {
        f"{TEST_IMAGES} others in the fonts it knows": drawn(processor, "test", TEST_IMAGES),
        "450 that people wrote (the test split of `synthetic:handwritten_digits`)": pictures_of(
            processor, "synthetic:handwritten_digits", "test"
        ),
    }
    scores = {name: 100 * accuracy(model, pictures, captions) for name, pictures in conditions.items()}
    rows = [f"| {name} | {score:.1f}% |" for name, score in scores.items()]
    print("\n".join(rows))
    text = CARD.format(
        side=SIDE,
        parameters=model.num_parameters(),
        images=IMAGES,
        seed=SEED,
        templates=len(TEMPLATES),
        steps=steps,
        batch=BATCH,
        rate=PEAK_LEARNING_RATE,
        scores="\n".join(rows),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def new_processor() -> Any:
    """CLIP's own processor for small images, with a tokenizer that knows the captions' words."""
    size = {"height": SIDE, "width": SIDE}
    images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size)
    return CLIPProcessor(images, new_tokenizer())


def new_tokenizer() -> Any:
    """Every byte, in the middle and at the end of a word, and the merges that make the captions' words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = learned_merges(Counter(re.findall(r"[a-z]+", " ".join(all_texts()))))
    pieces = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *map("".join, merges)]
    pieces = list(dict.fromkeys([*pieces, "<|startoftext|>", "<|endoftext|>"]))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LONGEST_TEXT)


def learned_merges(words: Mapping[str, int]) -> list[tuple[str, str]]:
    """Byte-pair encoding (Sennrich et al. 2016) until every word is one piece; the first letters win ties.

    The trainer of `tokenizers` breaks ties differently from call to call, and then the weights differ too.
    """
    spelled = {word: [*word[:-1], f"{word[-1]}</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, pieces in spelled.items():
            for pair in pairwise(pieces):
                pairs[pair] += words[word]
        if not pairs:
            return merges
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        for word, pieces in spelled.items():
            spelled[word] = merged(pieces, merges[-1])


def merged(pieces: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """The pieces with every such pair made one."""
    found: list[str] = []
    for piece in pieces:
        if found and (found[-1], piece) == pair:
            found[-1] += piece
        else:
            found.append(piece)
    return found


def new_model(tokenizer: Any) -> CLIPModel:
    """A CLIP with random weights: width 128, four layers for images in 16 patches, two for text."""
    width = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4}
    text = {"num_hidden_layers": 2, "vocab_size": len(tokenizer), "max_position_embeddings": LONGEST_TEXT}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    image = {"num_hidden_layers": 4, "image_size": SIDE, "patch_size": SIDE // 4}
    return CLIPModel(
        CLIPConfig(
            text_config=width | text | ends | {"pad_token_id": tokenizer.pad_token_id},
            vision_config=width | image,
            projection_dim=64,
        )
    )


def drawn(processor: Any, split: str, count: int) -> Pictures:
    """Digits in fonts; the splits share none."""
    return pictures_of(processor, "synthetic:rendered_digits", split, n=count, seed=SEED, **RENDERED)


def pictures_of(processor: Any, path: str, split: str, **options: Any) -> Pictures:
    """A split of one of the synthetic datasets."""
    columns = {"image": "image", "target": "target", "id": "id"}
    data = Data(path=path, columns=columns, options=options)
    dataset = load_data(data, base=Path(), inputs=("image",), split=split)  # type: ignore[arg-type]
    samples = [sample for window in dataset.windows() for sample in window]
    images = [sample.inputs["image"].load() for sample in samples]  # type: ignore[union-attr,call-arg]
    digits = [WORDS.index(sample.target) for sample in samples]
    pixels = processor.image_processor(images, return_tensors="pt").pixel_values
    return Pictures(pixels, torch.tensor(digits))


def all_texts() -> list[str]:
    """Every template with every name of each digit, digit by digit."""
    return [template.format(name) for names in NAMES for name in names for template in TEMPLATES]


def all_captions(tokenizer: Any) -> Captions:
    """The texts' tokens."""
    found = tokenizer(all_texts(), padding=True, return_tensors="pt")
    return Captions(*(found[name].unflatten(0, (len(NAMES), -1)) for name in ("input_ids", "attention_mask")))


def batches(
    pictures: Pictures, captions: Captions, steps: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Shuffled batches of images, digits, and a caption's tokens and mask for each."""
    order = torch.Generator().manual_seed(SEED)
    step = 0
    while step < steps:
        for rows in torch.randperm(len(pictures.digits), generator=order).split(BATCH)[: steps - step]:
            digits = pictures.digits[rows]
            yield bent(pictures.pixels[rows], order), digits, *captions.chosen(digits, order)
            step += 1


def bent(pixels: Tensor, order: torch.Generator) -> Tensor:
    """The images stretched, slanted, moved and bent, each in its own way: no font is learned by heart."""

    def chance(most: float, *shape: int) -> Tensor:
        return most * (2 * torch.rand(count, *shape, generator=order) - 1)

    count = len(pixels)
    rows = [
        torch.stack([chance(0.3).exp(), chance(0.4), chance(0.1)], dim=1),
        torch.stack([chance(0.15), chance(0.15).exp(), chance(0.1)], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(pixels.shape), align_corners=False)
    bend = functional.interpolate(chance(0.12, 2, 5, 5), (SIDE, SIDE), mode="bicubic", align_corners=True)
    moved = grid + bend.permute(0, 2, 3, 1)
    return functional.grid_sample(pixels, moved, padding_mode="border", align_corners=False)


def train(model: CLIPModel, pictures: Pictures, captions: Captions, steps: int) -> None:
    """One cycle of AdamW, gradients clipped at 1, the temperature kept where CLIP keeps it."""
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=steps)
    with progress("Training", steps, unit="steps") as bar:
        for pixels, digits, tokens, mask in batches(pictures, captions, steps):
            logits = model(input_ids=tokens, attention_mask=mask, pixel_values=pixels).logits_per_image
            loss = contrastive(logits, digits)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, 4.6052)
            bar.note(f"loss {loss.item():.3f}")
            bar.advance()
    model.eval()


def contrastive(logits: Tensor, digits: Tensor) -> Tensor:
    """CLIP's loss both ways; all pairs of one digit are right (Yang et al. 2022), not only an image's own.

    In a batch of 64 every digit comes about six times: calling five of six right captions wrong would teach
    nothing but noise.
    """
    same = (digits[:, None] == digits).float()
    wanted = same / same.sum(dim=1, keepdim=True)
    both = functional.cross_entropy(logits, wanted) + functional.cross_entropy(logits.T, wanted)
    return both / 2


def accuracy(model: CLIPModel, pictures: Pictures, captions: Captions) -> float:
    """Share of the images whose digit's prompts, averaged as CLIP does it, are the nearest."""
    tokens, mask = captions.tokens.flatten(0, 1), captions.mask.flatten(0, 1)
    with torch.no_grad():
        prompts = functional.normalize(model.get_text_features(tokens, mask).pooler_output, dim=-1)
        classes = functional.normalize(prompts.unflatten(0, (len(NAMES), -1)).mean(dim=1), dim=-1)
        parts = [model.get_image_features(part).pooler_output for part in pictures.pixels.split(250)]
    found = (functional.normalize(torch.cat(parts), dim=-1) @ classes.T).argmax(dim=1)
    return float((found == pictures.digits).float().mean())


if __name__ == "__main__":
    main()
