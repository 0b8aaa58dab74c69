"""Questions about one image with a LLaVA of 45M parameters: the image read once, against each prompt anew.

Random weights, LLaVA 1.5's sequence (576 image tokens of a CLIP tower at 336 pixels, six layers of width 512;
a Llama of eight layers of width 512), JPEG files in memory, one thread, CPU time (several threads decode and
encode, and the machine may have other work), answers asserted equal. The harness does all that a run does
short of scoring: digests, plan, journal, cache. Questions have about 30 tokens, answers four. The figures:
1. five questions about each of two images, prompt by prompt with the processor and `generate`, over the
   harness's time, in batches of ten: at least 3;
2. the same in batches of ten that share nothing: at least 2;
3. eight questions about an image, prompt by prompt: at least 4;
4. choice by likelihood among four options, one question about each of five images, with four forward passes
   over prompt and option: at least 2.5;
5. the harness over encoding and predicting the same batches with its adapter alone: at most 1.05.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from harness import models
from harness.data import Dataset
from harness.data.dataset import make_dataset
from harness.data.rows import ListRows, Request
from harness.data.samples import SampleMaker
from harness.data.targets import Texts
from harness.evaluation.answers import Answers, Engines
from harness.models.weights import quiet
from harness.processes import Processes
from harness.spec.schema import Task
from harness.types import Sample
from tests.models.tiny_chat_parts import LLAVA_TEMPLATE, llama_tokenizer

BATCH, NEW_TOKENS, REPEATS = 10, 4, 3
OPTIONS = ("a red circle", "a blue square", "two things", "none of them")
THINGS = ("colour", "shape", "size", "place", "number", "kind", "name", "age")
PROMPT = "USER: <image>\n{question} ASSISTANT:"


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench(llava_shape(folder / "checkpoint"), folder)


def llava_shape(folder: Path) -> Path:
    """A checkpoint of LLaVA 1.5's shape, narrower and with fewer layers."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = llama_tokenizer("<image>", positions=1024)
    width = {"hidden_size": 512, "num_attention_heads": 8}
    vision = CLIPVisionConfig(
        **width, intermediate_size=2048, num_hidden_layers=6, image_size=336, patch_size=14
    )
    language = LlamaConfig(
        **width,
        intermediate_size=1376,
        num_hidden_layers=8,
        max_position_embeddings=1024,
        initializer_range=0.06,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    with quiet():
        torch.manual_seed(0)
        config = LlavaConfig(vision_config=vision, text_config=language, image_token_id=image)
        network = LlavaForConditionalGeneration(config)
        network.generation_config.eos_token_id = tokenizer.eos_token_id
        network.generation_config.pad_token_id = tokenizer.pad_token_id
        network.save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder


def bench(checkpoint: Path, folder: Path) -> None:
    five, eight = rows(images=2, questions=5), rows(images=1, questions=8)
    asked = Harness(checkpoint, five, folder / "five")
    print(f"{asked.adapter.model.num_parameters() / 1e6:.0f}M parameters, {len(five)} prompts")
    asked.answers()  # what runs for the first time takes longer
    ours, bare, loop, batched = (list[float]() for _ in range(4))
    for _ in range(REPEATS):  # in turn, so that a busy moment of the machine hits both
        found = timed(asked.answers, ours)
        assert found == timed(asked.by_adapter, bare), "the engine changes answers"
    assert found == timed(lambda: by_loop(asked.adapter, five, 1), loop), "sharing changes answers"
    assert found == timed(lambda: by_loop(asked.adapter, five, BATCH), batched), "batches change answers"
    for way, seconds in (("harness", ours), ("adapter", bare), ("by prompt", loop), ("by batch", batched)):
        print(f"{way:10} {statistics.median(seconds):6.2f} s ({', '.join(f'{one:.2f}' for one in seconds)})")
    figures = {
        "prompt by prompt / harness, 5 questions": (ratio(loop, ours), 3.0),
        "batches without sharing / harness, 5 questions": (ratio(batched, ours), 2.0),
        "prompt by prompt / harness, 8 questions": (questions(checkpoint, eight, folder), 4.0),
        "four forward passes / harness, 4 options": (
            options(checkpoint, rows(images=5, questions=1), folder),
            2.5,
        ),
    }
    overhead = ratio(ours, bare)
    for what, (figure, limit) in figures.items():
        print(f"{what:48} {figure:5.2f} (at least {limit})")
    print(f"{'harness / encoding and predicting alone':48} {overhead:5.3f} (at most 1.05)")
    assert all(figure >= limit for figure, limit in figures.values())
    assert overhead <= 1.05


def questions(checkpoint: Path, given: list[dict[str, Any]], folder: Path) -> float:
    """Prompt by prompt over the harness."""
    harness = Harness(checkpoint, given, folder / "eight")
    ours, loop = list[float](), list[float]()
    assert timed(harness.answers, ours) == timed(lambda: by_loop(harness.adapter, given, 1), loop)
    return ratio(loop, ours)


def options(checkpoint: Path, given: list[dict[str, Any]], folder: Path) -> float:
    """A forward pass for each option over the harness."""
    harness = Harness(checkpoint, given, folder / "options", kind="multiple_choice")
    ours, loop = list[float](), list[float]()
    found = timed(harness.said, ours)
    expected = timed(lambda: by_forwards(harness.adapter, given), loop)
    assert np.allclose([[one["logprob"] for one in answer.values()] for answer in found], expected, atol=1e-3)
    return ratio(loop, ours)


def rows(images: int, questions: int) -> list[dict[str, Any]]:
    """Questions about images of coarse noise, the images in turn."""
    random = np.random.default_rng(0)
    files = []
    for _ in range(images):
        small = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        small.resize((640, 480), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        files.append(buffer.getvalue())
    return [
        {"image": {"bytes": file, "path": None}, "question": f"What {thing} has it?", "target": "A"}
        for thing in THINGS[:questions]
        for file in files
    ]


class Harness:
    """The harness on these rows; every call is a run of its own."""

    def __init__(
        self, checkpoint: Path, given: list[dict[str, Any]], folder: Path, kind: str = "vqa"
    ) -> None:
        columns = {"image": "image", "question": "question", "target": "target"}
        inputs: tuple[str, ...] = ("image", "question")
        if kind == "multiple_choice":
            columns, inputs = {**columns, "options": "options"}, (*inputs, "options")
            given = [{**row, "options": list(OPTIONS)} for row in given]
        section = {
            "name": "bench",
            "kind": kind,
            "data": {"path": "nowhere", "columns": columns},
            "model": {"checkpoint": str(checkpoint)},
            "prompt": "{question}",
            "generate": {"max_new_tokens": NEW_TOKENS},
            "metrics": ["accuracy" if kind == "multiple_choice" else "exact_match"],
        }
        self.task = Task.model_validate(section)
        self.adapter: Any = models.load(self.task, base=checkpoint, device="cpu")
        self.adapter.prepare()
        maker = SampleMaker(columns, inputs, None, Texts())
        self._dataset: Dataset = make_dataset(ListRows(given, tuple(columns)), maker, Request("rows", "test"))
        self._folder = folder
        self._runs = 0

    def answers(self) -> list[Any]:
        """What a run says of every row."""
        self._runs += 1
        cache = self._folder / f"cache-{self._runs}"
        engines = Engines(self.adapter, cache, BATCH, 2, Processes(), show_progress=False)
        made = Answers(self.task, self._dataset, engines, lambda purpose: self._dataset)
        return [prediction.output for _, _, prediction in made.run()]

    def said(self) -> list[dict[str, Any]]:
        """The log-likelihoods behind its answers."""
        self._runs += 1
        engines = Engines(self.adapter, self._folder / "said", BATCH, 2, Processes(), show_progress=False)
        return [prediction.output for _, _, prediction in engines.engine().run(self._dataset)]  # type: ignore[misc]

    def by_adapter(self) -> list[Any]:
        """The same batches through the adapter alone."""
        [window] = self._dataset.windows()
        samples: Sequence[Sample] = [window[row] for row in range(len(window))]
        order = sorted(range(len(samples)), key=lambda row: self.adapter.prefix(samples[row]))
        found: dict[int, Any] = {}
        for start in range(0, len(order), BATCH):
            part = order[start : start + BATCH]
            outputs = self.adapter.predict(self.adapter.encode([samples[row] for row in part]))
            found |= {row: output.output for row, output in zip(part, outputs, strict=True)}
        return [found[row] for row in range(len(samples))]


def by_loop(adapter: Any, given: list[dict[str, Any]], size: int) -> list[str]:
    """What one would write by hand, in batches of `size`."""
    processor, network = adapter.weights.processor, adapter.model
    processor.tokenizer.padding_side = "left"
    found: list[str] = []
    with torch.inference_mode():
        for start in range(0, len(given), size):
            part = given[start : start + size]
            inputs = processor(
                text=[PROMPT.format(question=row["question"]) for row in part],
                images=[picture(row) for row in part],
                padding=True,
                return_tensors="pt",
            )
            ids = network.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
            new = ids[:, inputs["input_ids"].shape[1] :]
            found += [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]
    return found


def by_forwards(adapter: Any, given: list[dict[str, Any]]) -> list[list[float]]:
    """A forward pass over prompt and option for each option of each row."""
    processor, network = adapter.weights.processor, adapter.model
    found = []
    with torch.inference_mode():
        for row in given:
            prompt = PROMPT.format(question=row["question"])
            length = processor(text=[prompt], images=[picture(row)], return_tensors="pt")["input_ids"].shape[
                1
            ]
            scores = []
            for option in OPTIONS:
                inputs = processor(text=[f"{prompt} {option}"], images=[picture(row)], return_tensors="pt")
                ids = inputs["input_ids"][0, length:]
                logits = network(**inputs, logits_to_keep=len(ids) + 1).logits[0, :-1].log_softmax(-1)
                scores.append(float(logits.gather(1, ids[:, None]).sum()))
            found.append(scores)
    return found


def picture(row: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")


def ratio(slow: list[float], fast: list[float]) -> float:
    return statistics.median(slow) / statistics.median(fast)


def timed(run: Callable[[], Any], seconds: list[float]) -> Any:
    """What `run` returns; its CPU seconds, of all threads, are added to the list."""
    began = time.process_time()
    found = run()
    seconds.append(time.process_time() - began)
    return found


if __name__ == "__main__":
    main()
