"""Chat models that see (LLaVA, Liu et al. 2023) or hear: an answer in words to images, clips and a question.

Everything particular to a checkpoint comes from its own processor, chat template, config and generation
config; `chat_cousins` has what they don't tell. Images are never cut, prompts never truncated.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, RowError
from harness.models import generation, prefill
from harness.models.asking import Asking, media_of
from harness.models.base import IGNORED_LABEL, Adapter, AdapterInfo, Batch, Rendered
from harness.models.chat_cousins import TARGETS, all_parts, chat_of
from harness.models.chat_inputs import ChatInputs, Read, Reading, right_padded
from harness.models.chat_processor import processor_of
from harness.models.chat_prompts import ChatPrompts
from harness.models.chat_settings import positions, settings
from harness.models.chat_streams import Streamer
from harness.models.chat_vision import unread
from harness.models.finite import check_finite
from harness.models.sequences import Prompts, joined, media_tensors
from harness.models.weights import quiet
from harness.spec.kinds import KINDS
from harness.spec.prompting import LETTERS
from harness.types import Json, Media, Output, Sample

if TYPE_CHECKING:
    import numpy as np

    from harness.models.weights import Weights
    from harness.spec.schema import Task
    from harness.spec.values import PartState


class Llava(Adapter):
    """A chat model, ready for one task.

    Raises AdapterError at once when the checkpoint has no usable chat template, or the task asks nothing.
    """

    info = AdapterInfo(
        family="llava",
        version="1",
        modes=frozenset({"generate", "choose"}),
        modalities=frozenset({"image", "audio"}),
        lora_targets=TARGETS,
        parts=all_parts(),
    )
    auto_class = "AutoModelForMultimodalLM"

    def __init__(self, weights: Weights, task: Task) -> None:
        self.weights = weights
        self._asking = Asking.of(task)
        self._chooses = task.mode == "choose"
        self._generate = task.generate
        processor, chat = processor_of(weights), chat_of(weights.config)
        self._chat = chat
        self.info = replace(
            type(self).info,
            lora_targets=chat.targets,
            parts=chat.parts,
            unread=unread(weights.config),
        )
        self._tokenizer = processor.tokenizer
        own = weights.generation_config()
        self._settings = settings(own, weights.config, self._tokenizer, task.generate)
        ends = generation.end_tokens(self._settings)
        self._prompts = ChatPrompts(weights.checkpoint.name, processor, chat, ends)
        self._inputs = ChatInputs(processor, chat)
        self._positions = positions(weights.config)

    @classmethod
    def for_task(
        cls,
        weights: Weights,
        task: Task,
        classes: Sequence[str] | None = None,  # noqa: ARG003 - it answers in words
    ) -> Llava:
        """Raises AdapterError for a kind that asks in no words."""
        if KINDS[task.kind].prompt is None:
            raise AdapterError(
                f"kind '{task.kind}' asks in no words, and a chat model answers nothing else",
                "Use kind vqa, captioning or conversation; prompt: says what is asked.",
            )
        return cls(weights, task)

    @property
    def model(self) -> Any:
        """The network; loaded when first asked for."""
        return self.weights.model(self.auto_class)

    def request(self, sample: Sample) -> Json:
        """The rendered prompt and, where it chooses, what each option would be answered with."""
        prompt = self._prompt(sample)
        return {"prompt": prompt, "options": [*self._continuations(sample)]} if self._chooses else prompt

    def bucket(self, sample: Sample) -> Hashable:
        """Sampling draws for a whole batch, so samples don't share one; nor do texts alone and images where
        that would change the answer."""
        apart = not self._chat.mixes and not self._media(sample)
        return sample.id if generation.samples(self._generate) else apart

    def prefix(self, sample: Sample) -> str | None:
        """Digest over its images and clips in their order; None without any."""
        media = self._media(sample)
        if not media:
            return None
        return hashlib.sha256(" ".join(medium.digest() for medium in media).encode()).hexdigest()

    def cost(self, sample: Sample) -> float:
        """Tokens of the prompt, those of its images and clips among them. Raises MediaError."""
        text = self._inputs.text_tokens(self._prompt(sample))
        return text + sum(self._inputs.media_tokens(medium) for medium in self._media(sample))

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        """Prompts with their beginnings apart; with targets, whole conversations and `labels`.

        With targets `tensors` are what the network takes, right-padded: `input_ids` and `labels` int64
        (samples, tokens), labels on answers and the tokens that end them alone; and what the processor makes
        of images. Without, they are the beginnings' and `settings["prompts"]` says how they go on. Raises
        RowError for a sample longer than the language model has positions for, MediaError.
        """
        return self._encode_targets(samples) if with_targets else self._encode_prompts(samples)

    def prepare(self) -> None:
        """Load the network, so that loading doesn't count as prediction time."""
        _ = self.model

    def predict(self, batch: Batch) -> list[Output]:
        """Answers as texts, surrounding spaces stripped; or, where it chooses, for each letter of an option
        its `logprob` (the sum over its tokens, natural logarithm) and how many `tokens` it has.

        An option's tokens are those of its words as the chat template would write them; the token that ends
        the turn isn't counted, as evaluation harnesses have it. Raises PredictionError when the network
        computes NaN or infinity.
        """
        import torch

        network, share = self.model, self._chat.shares_prefix
        prompts = self._on_device(batch.settings["prompts"])
        with torch.inference_mode(), quiet(), self._seeded(batch), generation.only_numbers(network):
            if self._chooses:
                scored = prefill.option_scores(network, prompts, batch.settings["options"], share=share)
                return [_choice(row) for row in scored]
            written = prefill.generate(network, prompts, self._settings, share=share)
        return [Output(self._text(one.ids), len(one.ids), one.truncated) for one in written]

    def stream(self, sample: Sample) -> Iterator[str]:
        """The answer in pieces; together they are `predict`'s text. Raises AdapterError for a search with
        beams, which changes its mind, and for a task that chooses."""
        if self._chooses or self._settings.num_beams > 1:
            raise AdapterError("only greedy or sampled texts can be streamed", "Leave out num_beams.")
        network, batch = self.model, self.encode([sample])

        def write(streamer: Streamer) -> None:
            import torch

            prompts = self._on_device(batch.settings["prompts"])
            with torch.inference_mode(), self._seeded(batch), generation.only_numbers(network):
                prefill.generate(network, prompts, self._settings, share=False, streamer=streamer)

        yield from Streamer(self._text, self._tokenizer.convert_ids_to_tokens).pieces(write)

    def part_states(self) -> Mapping[str, PartState]:
        """Towers frozen, projector in full, the language model as the method says: LLaVA's second stage."""
        own = self._chat.parts
        states: dict[str, PartState] = {"vision": "frozen", "audio": "frozen", "projector": "full"}
        return {name: state for name, state in states.items() if name in own}

    def chosen(self, sample: Sample, random: np.random.Generator) -> Sample:
        """With one of its captions as the target, where it has several."""
        return self._asking.chosen(sample, random)

    def partial(self, batch: Batch) -> bool:
        """Whether it has neither images nor clips."""
        return not self._inputs.count_media(batch.tensors["input_ids"].flatten().tolist())

    def loss(self, network: Any, batch: Batch) -> Any:
        """Cross entropy summed over the labels, a float32 scalar; logits are made for their places alone."""
        import torch

        return torch.stack([self._loss(network, part) for part in self._apart(batch.tensors)]).sum()

    def _apart(self, tensors: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The batch's tensors; texts without media by themselves where the network can't mix them."""
        looks = tensors.get("cross_attention_mask")
        if self._chat.mixes or looks is None:
            yield dict(tensors)
            return
        shown = looks.flatten(1).any(1)
        for kept, names in ((shown, tensors), (~shown, ("input_ids", "attention_mask", "labels"))):
            if kept.any():
                yield {name: tensors[name][kept] for name in names}

    def _loss(self, network: Any, tensors: dict[str, Any]) -> Any:
        from torch.nn.functional import cross_entropy

        labels = tensors.pop("labels")[:, 1:]
        places = (labels != IGNORED_LABEL).any(0).nonzero().flatten()
        keep = {"logits_to_keep": places} if self.model._supports_logits_to_keep() else {}
        inputs = {name: self._fitting(tensor) for name, tensor in tensors.items()}
        logits = network(**inputs, use_cache=False, **keep).logits
        logits = logits if keep else logits[:, places]
        wanted = labels[:, places].to(logits.device)
        learned = wanted != IGNORED_LABEL
        return cross_entropy(logits[learned].float(), wanted[learned], reduction="sum")

    def render(self, sample: Sample) -> Rendered:
        """The conversation's tokens with the label mask; runs of image tokens are counted."""
        batch = self.encode([sample], with_targets=True)
        ids = batch.tensors["input_ids"][0].tolist()
        labels = batch.tensors["labels"][0].tolist()
        names = self._tokenizer.convert_ids_to_tokens(ids)
        learned = [label != IGNORED_LABEL for label in labels]
        shapes = {
            name: f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            for name, tensor in batch.tensors.items()
        }
        notes = {"template": self._prompts.source, "tokens": str(len(ids)), "labels": str(sum(learned))}
        notes["tokens of media"] = str(self._inputs.count_media(ids))
        return Rendered(list(_counted(names, learned)), shapes, notes)

    def _prompt(self, sample: Sample) -> str:
        return self._prompts.prompt(self._asking.turns(sample), sample.id)

    def _continuations(self, sample: Sample) -> list[str]:
        turns = self._asking.turns(sample)
        answers = self._asking.answers(sample)
        return [self._prompts.continuation(turns, answer, sample.id) for answer in answers]

    def _media(self, sample: Sample) -> list[Media]:
        return media_of(self._asking.turns(sample))

    def _encode_prompts(self, samples: Sequence[Sample]) -> Batch:
        started, reading = time.perf_counter(), Reading()
        reads, options = [], []
        for sample in samples:
            text, media = self._prompt(sample), self._media(sample)
            read = self._inputs.read(text, media, sample.id, reading)
            reads.append(read)
            own = self._options(sample, text, read, reading) if self._chooses else []
            options.append(own)
            self._check_room(sample, read, max(map(len, own)) if own else self._settings.max_new_tokens)
        prompts = self._inputs.prompts(reads, self._settings.pad_token_id)
        check_finite(samples, prompts.prefixes, "media whose features are")
        seconds = time.perf_counter() - started - reading.decoding_seconds
        return Batch(samples, prompts.prefixes, {"prompts": prompts, "options": options}, seconds)

    def _options(self, sample: Sample, text: str, read: Read, reading: Reading) -> list[list[int]]:
        """Ids of each option behind the prompt. Raises RowError when a prompt's last token would change."""
        found = []
        for words in self._continuations(sample):
            whole = self._inputs.read(text + words, self._media(sample), sample.id, reading).ids
            found.append(_behind(read.ids, whole, sample.id, words))
        return found

    def _encode_targets(self, samples: Sequence[Sample]) -> Batch:
        import torch

        started, reading = time.perf_counter(), Reading()
        reads, labels = [], []
        for sample in samples:
            read, own = self._learned(sample, reading)
            self._check_room(sample, read, 0)
            reads.append(read)
            labels.append(own)
        prompts = self._inputs.prompts(reads, self._settings.pad_token_id)
        tensors = right_padded(joined(prompts))
        width = tensors["input_ids"].shape[1]
        tensors["labels"] = torch.tensor([own + [IGNORED_LABEL] * (width - len(own)) for own in labels])
        if self._chat.answer_type:
            tensors["token_type_ids"][tensors["labels"] != IGNORED_LABEL] = self._chat.answer_type
        tensors |= media_tensors(prompts, prompts.prefix_of)
        check_finite(samples, tensors, "media whose features are")
        seconds = time.perf_counter() - started - reading.decoding_seconds
        return Batch(samples, tensors, {}, seconds)

    def _learned(self, sample: Sample, reading: Reading) -> tuple[Read, list[int]]:
        """A conversation, and its ids where they are learned: what stands behind each prompt in it."""
        turns = self._asking.conversation(sample)
        answered, media = self._prompts.answered(turns, sample.id), media_of(turns)
        read = self._inputs.read(answered.text, media, sample.id, reading)
        ids = read.ids
        labels = [IGNORED_LABEL] * len(ids)
        for start, end in answered.spans:
            before, until = (
                self._inputs.read(text, media[: self._inputs.placed(text)], sample.id, reading).ids
                for text in (answered.text[:start], answered.text[:end])
            )
            _behind(until, ids, sample.id, "")
            learned = _behind(before, until, sample.id, answered.text[start:end])
            labels[len(before) : len(until)] = learned
        return read, labels

    def _check_room(self, sample: Sample, read: Read, more: int) -> None:
        """Raises RowError when prompt and answer are more than the language model has positions for."""
        length = len(read.ids)
        if self._positions is not None and length + more > self._positions:
            answer = f" and up to {more} of the answer" if more else ""
            raise RowError(
                f"sample '{sample.id}' has {length} tokens ({read.beginning.media_tokens} of media){answer}: "
                f"more than the {self._positions} positions of the language model"
            )

    def _on_device(self, prompts: Prompts) -> Prompts:
        found = {name: self._fitting(tensor) for name, tensor in prompts.prefixes.items()}
        return replace(prompts, prefixes=found)

    def _fitting(self, tensor: Any) -> Any:
        """A tensor on the model's device; numbers that aren't counts in the precision of its weights."""
        import torch

        if tensor.is_floating_point():
            return tensor.to(self.weights.device, getattr(torch, self.weights.dtype))
        return tensor.to(self.weights.device)

    def _text(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)).strip()

    @contextmanager
    def _seeded(self, batch: Batch) -> Iterator[None]:
        """Draws that depend on the seed and on what is asked, not on the order of the work."""
        import torch

        if not generation.samples(self._generate):
            yield
            return
        asked = [part for sample in batch.samples for part in (self._prompt(sample), self.prefix(sample))]
        key = " ".join(map(str, [self._generate.seed, *asked]))
        devices = [self.weights.device] if self.weights.device.startswith("cuda") else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) >> 1)
            yield


def _choice(scored: Sequence[prefill.Scored]) -> Output:
    """What a head reads of the options, by their letters."""
    pairs = zip(LETTERS, scored, strict=False)
    return Output({letter: {"logprob": one.logprob, "tokens": one.tokens} for letter, one in pairs})


def _behind(before: list[int], whole: list[int], sample_id: str, words: str) -> list[int]:
    """Ids behind a prompt. Raises RowError when its ids change with what follows, or nothing follows."""
    if whole[: len(before)] != before or (words and len(whole) == len(before)):
        raise RowError(
            f"sample '{sample_id}': the prompt's tokens change with what follows it ({words[:40]!r}), so its "
            "answer has no tokens of its own"
        )
    return whole[len(before) :]


def _counted(names: Sequence[str], learned: Sequence[bool]) -> Iterator[tuple[str, bool]]:
    """Tokens with their masks; the same one many times over is written once with its number."""
    for (name, label), run in groupby(zip(names, learned, strict=True)):
        times = len(list(run))
        if times > 2:
            yield f"{name} x {times}", label
        else:
            yield from [(name, label)] * times
