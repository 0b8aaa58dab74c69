"""What encoder-decoders that write about an image share: one image and words in, a text out.

An encoder sees the image, once for all that is asked of it in a batch; a decoder writes. Which of the two
reads the words is the family's business.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import PredictionError, RowError
from harness.models.asking import Asking, media_of
from harness.models.base import IGNORED_LABEL, Adapter, Batch, Rendered
from harness.models.finite import check_finite
from harness.models.generation import only_numbers, samples
from harness.models.weights import quiet, single_thread
from harness.models.writing import TARGETS, Writer, seeded
from harness.types import Image, Json, Output, Sample

if TYPE_CHECKING:
    import numpy as np

    from harness.models.weights import Weights
    from harness.spec.schema import Task


class ImageToText(Adapter):
    """An encoder-decoder, ready for one task; `writer` says how it writes."""

    auto_class: str
    writer: Writer

    def __init__(self, weights: Weights, task: Task, *, image_processor: Any, tokenizer: Any) -> None:
        self.weights = weights
        self.generate = task.generate
        self._asking = Asking.of(task)
        self._image_processor = image_processor
        self._tokenizer = tokenizer

    @property
    def model(self) -> Any:
        """The network; loaded when first asked for."""
        return self.weights.model(self.auto_class)

    def request(self, sample: Sample) -> Json:
        """The words. Raises RowError for a sample that can't be asked: without an image, too long."""
        one_image(self._asking, sample)
        self._begun(sample)
        return {"words": self._words(sample)}

    def bucket(self, sample: Sample) -> Hashable:
        """Sampling draws for the whole batch, so what is sampled goes alone."""
        return sample.id if samples(self.generate) else None

    def prefix(self, sample: Sample) -> str | None:
        """The image's digest: it is encoded once for all questions about it. Raises MediaError, RowError."""
        return one_image(self._asking, sample).digest()

    def cost(self, sample: Sample) -> float:
        """1: the processor brings every image to one size."""
        return 1.0

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        """`pixel_values`, float32 (distinct images, channels, height, width), and `image`, int64 (samples,):
        the place of each sample's image among them; what else the family needs; with targets,
        `decoder_input_ids`, `decoder_attention_mask` and `labels`, int64 (samples, tokens).

        Raises MediaError when pixels are NaN or infinite, RowError naming a sample that can't be asked or
        learned from.
        """
        tensors, digests, seconds = self._pictures(samples)
        begun = [self._begun(sample) for sample in samples]
        tensors |= self._texts(samples)
        if with_targets:
            tensors |= self.writer.tensors(
                [
                    self.writer.lesson(start, self._ids(self._asking.answer(sample)), sample.id)
                    for sample, start in zip(samples, begun, strict=True)
                ]
            )
        return Batch(samples, tensors, {"begun": begun, "digests": digests}, seconds)

    def prepare(self) -> None:
        """Load the network, so that loading doesn't count as prediction time."""
        _ = self.model

    def predict(self, batch: Batch) -> list[Output]:
        """What the decoder writes after the prompt, without surrounding spaces and special tokens.

        Raises PredictionError when the network computes NaN or infinity.
        """
        import torch

        network, begun = self.model, batch.settings["begun"]  # loaded first: inference would mark its weights
        keys = [*batch.settings["digests"], *map(self._words, batch.samples)]
        outputs: dict[int, Output] = {}
        with (
            torch.inference_mode(),
            quiet(),
            only_numbers(self.speaker),
            seeded(self.generate, self.weights.device, keys),
        ):
            states, lengths = self._seen(on_device(network, batch))
            for places in _alike(begun, lengths):
                starts = torch.tensor([begun[place] for place in places], device=states.device)
                rows = self._write(states[places, : lengths[places[0]]], starts)
                for place, row in zip(places, rows.tolist(), strict=True):
                    outputs[place] = self._output(row, begun[place])
        return [outputs[place] for place in range(len(begun))]

    def stream(self, sample: Sample) -> Iterator[str]:
        """The answer, in one piece: it is a line long."""
        [output] = self.predict(self.encode([sample]))
        yield str(output.output)

    def chosen(self, sample: Sample, random: np.random.Generator) -> Sample:
        """One of several captions."""
        return self._asking.chosen(sample, random)

    def loss(self, network: Any, batch: Batch) -> Any:
        """Cross entropy summed over the labels, a float32 scalar."""
        from torch.nn.functional import cross_entropy

        tensors = on_device(self.model, batch)
        tensors |= {name: batch.tensors[name].to(tensors["image"].device) for name in TARGETS}
        tensors["pixel_values"] = tensors["pixel_values"][tensors.pop("image")]
        labels = tensors.pop("labels").flatten()
        logits = self._logits(network, tensors).flatten(0, 1).float()
        return cross_entropy(logits, labels, ignore_index=IGNORED_LABEL, reduction="sum")

    def render(self, sample: Sample) -> Rendered:
        """What encoder and decoder read and what is learned, the tensors' shapes."""
        begun = self._begun(sample)
        ids, follows = self.writer.lesson(begun, self._ids(self._asking.answer(sample)), sample.id)
        read = [(self._name(token), False) for token in [*self._read(sample), *begun]]
        learned = [(self._name(token), True) for token in [*ids[len(begun) :], follows[-1]]]
        return Rendered([*read, *learned], shapes(self.encode([sample])))

    @property
    @abstractmethod
    def speaker(self) -> Any:
        """The module whose output has the logits."""

    @abstractmethod
    def _seen(self, tensors: Mapping[str, Any]) -> tuple[Any, list[int]]:
        """What the decoder looks at for each sample: states (samples, positions, width), padded right, and
        how many of them are its own."""

    @abstractmethod
    def _write(self, states: Any, starts: Any) -> Any:
        """Rows of ids that begin with `starts`, int64 (rows, tokens); all of the states are looked at."""

    @abstractmethod
    def _logits(self, network: Any, tensors: dict[str, Any]) -> Any:
        """The decoder's logits (samples, tokens, vocabulary) from one call of `network`."""

    def _texts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """Tensors of what is read besides the decoder's beginning."""
        return {}

    def _read(self, sample: Sample) -> Sequence[int]:
        """Ids of what is read besides the decoder's beginning."""
        return ()

    def _begun(self, sample: Sample) -> list[int]:
        """The decoder's first ids: the words are the beginning of what it writes."""
        return self.writer.begun(self._ids(self._words(sample)), sample.id)

    def _words(self, sample: Sample) -> str:
        return words(self._asking, sample)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    def _pictures(self, samples: Sequence[Sample]) -> tuple[dict[str, Any], list[str], float]:
        return pictures(self._asking, samples, self._image_processor)

    def _output(self, row: Sequence[int], begun: Sequence[int]) -> Output:
        """The text after the prompt: the whole is decoded and its beginning cut off, so that a piece that
        continues the prompt's last word is read as that."""
        new, cut = self.writer.written(row, len(begun))
        whole, prompt = self._text([*begun[1:], *new]), self._text(begun[1:])
        text = whole[len(prompt) :] if whole.startswith(prompt) else self._text(new)
        return Output(text.strip(), len(new), cut)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def _name(self, token: int) -> str:
        """A token's name; BLIP's start token has none in its tokenizer."""
        known = token < len(self._tokenizer)
        return str(self._tokenizer.convert_ids_to_tokens(token)) if known else f"<{token}>"


def one_image(asking: Asking, sample: Sample) -> Image:
    """The image that is asked about. Raises RowError when there isn't one, or more than one."""
    found = media_of(asking.turns(sample))
    if len(found) != 1 or not isinstance(found[0], Image):
        many = f"{len(found)} images, which a model of single ones can't see" if found else "no image"
        raise RowError(f"sample '{sample.id}' has {many}")
    return found[0]


def words(asking: Asking, sample: Sample) -> str:
    """What is asked in words. Raises RowError for a conversation of more than one question."""
    turns = asking.turns(sample)
    if len(turns) != 1:
        raise RowError(f"sample '{sample.id}' has {len(turns)} turns before its answer, this model takes one")
    return turns[0].text


def pictures(
    asking: Asking, samples: Sequence[Sample], processor: Callable[..., Any]
) -> tuple[dict[str, Any], list[str], float]:
    """`pixel_values` of the distinct images and `image`, each sample's place among them; their digests, and
    the seconds that the processor took."""
    import torch

    images = [one_image(asking, sample) for sample in samples]
    digests = [image.digest() for image in images]
    first = {digest: place for place, digest in reversed(list(enumerate(digests)))}
    distinct = list(dict.fromkeys(digests))
    loaded = [images[first[digest]].load() for digest in distinct]
    started = time.perf_counter()
    with single_thread():
        pixels = processor(images=loaded, return_tensors="pt")["pixel_values"]
    seconds = time.perf_counter() - started
    check_finite([samples[first[digest]] for digest in distinct], {"pixel_values": pixels}, "pixels that are")
    numbers = torch.tensor([distinct.index(digest) for digest in digests])
    return {"pixel_values": pixels, "image": numbers}, distinct, seconds


def on_device(network: Any, batch: Batch) -> dict[str, Any]:
    """What the network reads, without targets, on its device; pixels in the precision of its first layer."""
    first = next(network.parameters())
    return {
        name: tensor.to(first.device, first.dtype if tensor.is_floating_point() else None)
        for name, tensor in batch.tensors.items()
        if name not in TARGETS
    }


def _alike(begun: Sequence[Sequence[int]], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of samples whose decoder begins with equally many ids and looks at equally many states, so that
    neither is padded."""
    sizes = [(len(ids), length) for ids, length in zip(begun, lengths, strict=True)]
    for size in sorted(set(sizes)):
        yield [place for place, own in enumerate(sizes) if own == size]


def shapes(batch: Batch) -> dict[str, str]:
    """Names, dtypes and shapes of a batch's tensors."""
    return {
        name: f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
        for name, tensor in batch.tensors.items()
    }


def refuse_non_finite(logits: Any) -> None:
    """Raises PredictionError when any is NaN or infinite."""
    if not logits.isfinite().all():
        raise PredictionError("the network computed non-finite numbers (NaN or infinity)")
