"""Train the quickstart's base checkpoint for questions about images from nothing: a LLaVA.

    python tasks/quickstart/checkpoints/train_shapes_vqa.py

writes tasks/quickstart/checkpoints/shapes_vqa/ (model, processor, card) in nine minutes on one core, and
scores it. It learns from scenes that are drawn on the spot. The same machine and versions give the same
weights.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from harness.data.shapes import Shapes, ShapesOptions
from harness.data.shapes_questions import COUNTS, NOTHING, QUESTIONS
from harness.data.shapes_scenes import CELLS, COLOURS, SHAPES
from harness.models.weights import quiet
from harness.progress import progress

TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "{{ '<image>\n' }}"
    "{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ part['text'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ part['text'] + ' ' }}{% endif %}"
    "{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""LLaVA 1.5's format: "USER: <image>\\n{question} ASSISTANT:", then the answer and the end."""
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
IMAGE_PLACE = "<image>"
SPACE = "▁"
"""What Llama's tokenizers write for a space; here every word and mark begins with it."""
IMAGES = 24_000
TEST_IMAGES = 300
SIDE = 32
PATCH = 8
BATCH = 32
STEPS = 3000
PEAK_LEARNING_RATE = 1e-3
SEED = 0
IGNORED = -100
NEW: dict[str, Any] = {"colours": "faded", "background": (0.3, 0.55), "noise": 0.02}
"""How the quickstart's scenes look, which it has never seen."""

CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: image-text-to-text
tags: [llava, mm-harness, synthetic]
---
# Questions about shapes: a LLaVA of 0.7 million parameters

The base checkpoint of mm-harness's quickstart for questions about images. It says of scenes of one to three
shapes which colours and shapes there are, where and how many, in images of {side} x {side} pixels and in the
words of its questions, which are all the words that it knows. It has LLaVA 1.5's architecture, files and
prompt ("USER: <image>\\nWhere is the circle? ASSISTANT:"): a CLIP vision tower, a projector and a Llama with
{parameters:,} parameters together, in float16. Nothing else was taken from a published LLaVA.

## How it was made

`python tasks/quickstart/checkpoints/train_shapes_vqa.py`, from random weights: {images:,} scenes of
`synthetic:shapes` (seed {seed}), of each the five questions and a caption that says what stands where;
{steps:,} steps of {batch} images with all {questions}, AdamW in one cycle up to {rate}. An image is read once
for all that is asked of it, and no question sees another.

## Scores

Share of {test_images} images' questions that are answered word for word. Who answers without looking has 30%
of all five right.

{scores}

The gap between the rows is meant: fine-tuning closes it. The checkpoint is for trying things out.
"""


@dataclass(frozen=True)
class Asked:
    """A question with its answer as tokens; `labels` are IGNORED where nothing is learned."""

    kind: str
    tokens: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Scenes:
    """Images, shape (n, 3, side, side), what is asked of each, and the tokens before every question."""

    pixels: Tensor
    asked: list[list[Asked]]
    start: list[int]


@dataclass(frozen=True)
class Batch:
    """One sequence for each image: the image's tokens, then every question, which sees the image alone."""

    pixels: Tensor
    tokens: Tensor
    labels: Tensor
    positions: Tensor
    mask: Tensor


def main() -> None:
    """Train, save, measure."""
    parser = argparse.ArgumentParser(description="Train the quickstart's checkpoint for questions.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "shapes_vqa")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # sums in the same order, however many cores there are
    torch.use_deterministic_algorithms(mode=True)
    processor = new_processor()
    model = new_model(processor.tokenizer)
    scenes = drawn(processor, "train", IMAGES)
    started = time.monotonic()
    train(model, scenes, drawn(processor, "validation", 100), options.steps)
    print(f"trained {options.steps} steps in {time.monotonic() - started:.0f} s")
    with quiet():
        model.half().save_pretrained(options.out)
        processor.save_pretrained(options.out)
    write_card(options.out, options.steps)


def write_card(folder: Path, steps: int) -> None:
    """Score the saved checkpoint and write its README.md."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = LlavaProcessor.from_pretrained(folder, backend="pil")
    looks: dict[str, dict[str, Any]] = {"as it knows them": {}, "as the quickstart has them": NEW}
    columns = ["all five", *QUESTIONS]
    rows = [f"| scenes | {' | '.join(columns)} |", f"|{'---|' * (len(columns) + 1)}"]
    for name, look in looks.items():
        found = scores(model, drawn(processor, "test", TEST_IMAGES, **look))
        found["all five"] = fmean(found[kind] for kind in QUESTIONS[:5])
        rows.append(f"| {name} | {' | '.join(f'{100 * found[kind]:.1f}%' for kind in columns)} |")
    print("\n".join(rows))
    text = CARD.format(
        side=SIDE,
        parameters=model.num_parameters(),
        images=IMAGES,
        test_images=TEST_IMAGES,
        seed=SEED,
        steps=steps,
        batch=BATCH,
        rate=PEAK_LEARNING_RATE,
        questions=len(QUESTIONS),
        scores="\n".join(rows),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def new_processor() -> Any:
    """LLaVA's own processor for small images, with a tokenizer of whole words."""
    size = {"height": SIDE, "width": SIDE}
    return LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size),
        new_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def new_tokenizer() -> Any:
    """A tokenizer that knows the words of questions, answers and the template, in any case."""
    pieces = [*SPECIAL.values(), IMAGE_PLACE, *(f"{SPACE}{word}" for word in words())]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Metaspace(SPACE, "always", split=False)]
    )
    tokenizer.decoder = decoders.Metaspace(SPACE, "always")
    start = SPECIAL["bos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, vocabulary[start])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **SPECIAL,
        extra_special_tokens={"image_token": IMAGE_PLACE},
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=True,
    )


def words() -> list[str]:
    """Every word and mark, the names of things first."""
    names = " ".join([*COLOURS, *SHAPES, *CELLS, *COUNTS, NOTHING, "yes no"])
    asked = (
        "what colour is the ? which shape how many shapes are there where a an in picture , user : assistant"
    )
    return list(dict.fromkeys(re.findall(r"\w+|[^\w\s]", f"{names} {asked}")))


def new_model(tokenizer: Any) -> LlavaForConditionalGeneration:
    """A LLaVA with random weights: width 96, three layers for images in 16 patches, three for text."""
    width = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    vision = CLIPVisionConfig(**width, intermediate_size=384, image_size=SIDE, patch_size=PATCH)
    ends = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = LlamaConfig(
        **width, **ends, intermediate_size=256, vocab_size=len(tokenizer), max_position_embeddings=512
    )
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_PLACE),
            image_seq_length=(SIDE // PATCH) ** 2,
            vision_feature_layer=-1,
        )
    )
    model.generation_config = GenerationConfig(**ends)
    return model


def drawn(processor: Any, split: str, count: int, **look: Any) -> Scenes:
    """Scenes with every question that can be asked of them; the splits share none."""
    options = ShapesOptions(n=count, seed=SEED, size=SIDE, questions=QUESTIONS, **look)
    rows, each = Shapes.rows(options, split), len(QUESTIONS)
    encode = Encoder(processor)
    pixels, asked = [], []
    for first in range(0, len(rows), each):
        of_one = [rows[first + which] for which in range(each)]
        image = Image.open(io.BytesIO(of_one[0]["image"]["bytes"]))
        pixels.append(processor.image_processor(image, return_tensors="pt").pixel_values)
        asked.append([encode(row["kind"], row["question"], row["target"]) for row in of_one])
    return Scenes(torch.cat(pixels), asked, encode.start)


class Encoder:
    """Questions and answers to tokens, apart from the tokens before them, which are `start`."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        image = processor.tokenizer.image_token_id
        tokens = self._tokens("what", None)
        ends = len(tokens) - tokens[::-1].index(image)
        # The placeholder stands for as many tokens as the image has patches.
        self._placeholder, self.start = (
            ends,
            [token for token in tokens[:ends] for _ in range((SIDE // PATCH) ** 2 if token == image else 1)],
        )
        self._known: dict[tuple[str, str], Asked] = {}

    def __call__(self, kind: str, question: str, answer: str) -> Asked:
        """One question with its answer."""
        if (question, answer) not in self._known:
            prompt = self._tokens(question, None)[self._placeholder :]
            tokens = self._tokens(question, answer)[self._placeholder :]
            assert tokens[: len(prompt)] == prompt
            labels = [IGNORED] * len(prompt) + tokens[len(prompt) :]
            self._known[question, answer] = Asked(kind, tokens, labels)
        return self._known[question, answer]

    def _tokens(self, question: str, answer: str | None) -> list[int]:
        messages = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
        text = self._processor.apply_chat_template(
            messages[: 1 if answer is None else 2], add_generation_prompt=answer is None
        )
        return list(self._processor.tokenizer(text).input_ids)


def batches(scenes: Scenes, steps: int) -> Iterator[Batch]:
    """Shuffled batches of images with all that is asked of them."""
    order = torch.Generator().manual_seed(SEED)
    step = 0
    while step < steps:
        for rows in torch.randperm(len(scenes.asked), generator=order).split(BATCH)[: steps - step]:
            yield batch_of(scenes, rows.tolist())
            step += 1


def batch_of(scenes: Scenes, rows: Sequence[int]) -> Batch:
    """Every image's questions in one sequence: each sees the image and itself, as if it were asked alone."""
    start = len(scenes.start)
    longest = start + max(sum(len(one.tokens) for one in scenes.asked[row]) for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full_like(tokens, IGNORED)
    positions = torch.zeros_like(tokens)
    part = torch.full_like(tokens, -1)  # which question a token is of, 0 for the image's
    for place, row in enumerate(rows):
        ends = start
        tokens[place, :start] = torch.tensor(scenes.start)
        positions[place, :start] = torch.arange(start)
        part[place, :start] = 0
        for number, one in enumerate(scenes.asked[row], start=1):
            span = slice(ends, ends := ends + len(one.tokens))
            tokens[place, span] = torch.tensor(one.tokens)
            labels[place, span] = torch.tensor(one.labels)
            positions[place, span] = torch.arange(start, start + len(one.tokens))
            part[place, span] = number
    before = torch.ones(longest, longest, dtype=torch.bool).tril()
    mask = before & ((part[:, :, None] == part[:, None, :]) | (part[:, None, :] == 0))
    return Batch(scenes.pixels[list(rows)], tokens, labels, positions, mask[:, None])


def logits_of(model: LlavaForConditionalGeneration, batch: Batch) -> Tensor:
    """What the model expects to follow each token, shape (images, tokens, vocabulary)."""
    found: Tensor = model(
        input_ids=batch.tokens,
        pixel_values=batch.pixels,
        attention_mask=batch.mask,
        position_ids=batch.positions,
        use_cache=False,
    ).logits
    return found


def train(model: LlavaForConditionalGeneration, scenes: Scenes, held_out: Scenes, steps: int) -> None:
    """One cycle of AdamW, gradients clipped at 1."""
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=steps)
    with progress("Training", steps, unit="steps") as bar:
        for step, batch in enumerate(batches(scenes, steps), start=1):
            logits = logits_of(model, batch)[:, :-1]
            loss = functional.cross_entropy(
                logits.flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORED
            )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            bar.note(f"loss {loss.item():.3f}")
            bar.advance()
            if step % 250 == 0:
                print(step, f"loss {loss.item():.3f}", json.dumps(scores(model, held_out)), flush=True)
    model.eval()


def scores(model: LlavaForConditionalGeneration, scenes: Scenes) -> dict[str, float]:
    """Share of each kind of question that is answered word for word, the end included."""
    model.eval()
    right: dict[str, list[bool]] = {kind: [] for kind in QUESTIONS}
    for rows in torch.arange(len(scenes.asked)).split(100):
        batch = batch_of(scenes, rows.tolist())
        with torch.no_grad():
            best = logits_of(model, batch)[:, :-1].argmax(dim=-1)
        fits = (best == batch.labels[:, 1:]) | (batch.labels[:, 1:] == IGNORED)
        for place, row in enumerate(rows.tolist()):
            ends = len(scenes.start) - 1
            for one in scenes.asked[row]:
                span = slice(ends, ends := ends + len(one.tokens))
                right[one.kind].append(bool(fits[place, span].all()))
    model.train()
    return {kind: sum(found) / len(found) for kind, found in right.items()}


if __name__ == "__main__":
    main()
