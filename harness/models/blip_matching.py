"""BLIP's image-text matching: which of several texts fits an image.

Matched are the options' own texts: the head was trained on captions, and a question before them isn't one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, RowError
from harness.models.asking import Asking
from harness.models.base import Batch, Rendered
from harness.models.blip import Blip
from harness.models.generation import positions
from harness.models.image_to_text import on_device, one_image, pictures, refuse_non_finite, shapes
from harness.models.weights import quiet
from harness.models.writing import padded
from harness.spec.prompting import LETTERS
from harness.types import Json, Output, Sample

if TYPE_CHECKING:
    from harness.models.weights import Weights
    from harness.spec.schema import Task
    from harness.spec.values import PartState

MATCHES = 1
"""Of the head's two outputs, the one that says that image and text belong together."""


class BlipMatching(Blip):
    """Scores every option by the logarithm of the head's probability that it matches the image.

    Fine-tuning teaches the head what each option of a sample is: the right one matches, the others don't.
    Raises AdapterError for a choice that has no meaning here.
    """

    auto_class = "BlipForImageTextRetrieval"

    def __init__(self, weights: Weights, task: Task) -> None:
        _check(task)
        self.weights = weights
        self._asking = Asking.of(task)
        self._named_parts = task.train.named_parts if task.train else {}
        self._image_processor = weights.processor.image_processor
        self._tokenizer = weights.processor.tokenizer
        self._room = positions(weights.config.text_config)
        self._pad = int(weights.config.text_config.pad_token_id)

    @property
    def model(self) -> Any:
        """The network; loaded when first asked for."""
        return self.weights.model(self.auto_class)

    @property
    def speaker(self) -> Any:
        """The head, whose output are logits."""
        return self.model.itm_head

    def request(self, sample: Sample) -> Json:
        """The options. Raises RowError without one image, and for a text that is too long."""
        one_image(self._asking, sample)
        return {"matched": [text for text, _ in self._texts(sample)]}

    def prefix(self, sample: Sample) -> str | None:
        """The image's digest: it is encoded once for all texts. Raises MediaError, RowError."""
        return one_image(self._asking, sample).digest()

    def cost(self, sample: Sample) -> float:
        """Options."""
        return float(len(self._texts(sample)))

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        """`pixel_values`, float32 (distinct images, channels, height, width); `image`, `input_ids` and
        `attention_mask`, int64, with a row for each option of each sample; with targets `labels`, (options,):
        1 for the right ones.

        Raises MediaError when pixels are NaN or infinite, RowError naming a sample that lacks something.
        """
        texts = [self._texts(sample) for sample in samples]
        tensors, _, seconds = pictures(self._asking, samples, self._image_processor)
        counts = [len(options) for options in texts]
        rows = [ids for options in texts for _, ids in options]
        tensors |= {
            "image": tensors["image"].repeat_interleave(_tensor(counts)),
            "input_ids": padded(rows, self._pad),
            "attention_mask": padded([[1] * len(row) for row in rows], 0),
        }
        if with_targets:
            right = [_right(sample, count) for sample, count in zip(samples, counts, strict=True)]
            labels = [
                int(at == place) for place, count in zip(right, counts, strict=True) for at in range(count)
            ]
            tensors["labels"] = _tensor(labels)
        return Batch(samples, tensors, {"counts": counts}, seconds)

    def prepare(self) -> None:
        """Load the network, so that loading doesn't count as prediction time."""
        _ = self.model

    def predict(self, batch: Batch) -> list[Output]:
        """Letter to `logprob`, that the option matches, and `tokens`, 1.

        Raises PredictionError when the network computes NaN or infinity.
        """
        import torch

        network = self.model  # loaded first: inference would mark its weights
        with torch.inference_mode(), quiet():
            logits = self._scores(on_device(network, batch)).float().cpu()
        refuse_non_finite(logits)
        found = logits.log_softmax(-1)[:, MATCHES].split(batch.settings["counts"])
        return [
            Output({letter: {"logprob": one, "tokens": 1} for letter, one in zip(LETTERS, row.tolist())})  # noqa: B905
            for row in found
        ]

    def items(self, batch: Batch) -> int:
        """Pairs of an image and a text."""
        return int(batch.tensors["labels"].numel())

    def loss(self, network: Any, batch: Batch) -> Any:
        """Cross entropy between matching and not, summed over the pairs, a float32 scalar."""
        from torch.nn.functional import cross_entropy

        tensors = on_device(self.model, batch)
        tensors.pop("labels", None)
        tensors["pixel_values"] = tensors["pixel_values"][tensors.pop("image")]
        logits = network(**tensors).itm_score.float()
        return cross_entropy(logits, batch.tensors["labels"].to(logits.device), reduction="sum")

    def part_states(self) -> Mapping[str, PartState]:
        """The head is trained in full; what only contrastive learning reaches stays as it is.

        Raises AdapterError for a task that wants that trained.
        """
        if self._named_parts.get("contrast", "frozen") != "frozen":
            raise AdapterError(
                "train.parts.contrast: nothing is learned by these projections, because matching doesn't use "
                "them",
                "Leave it out.",
            )
        return {"head": "full", "contrast": "frozen"}

    def render(self, sample: Sample) -> Rendered:
        """The options' texts, all of which are learned from, and the tensors' shapes."""
        lettered = zip(LETTERS, self._texts(sample), strict=False)
        texts = [f"{letter}. {text}  " for letter, (text, _) in lettered]
        notes = {"matched": "the options' texts, whatever is asked", "right": str(sample.target)}
        return Rendered([(text, True) for text in texts], shapes(self.encode([sample])), notes)

    def _texts(self, sample: Sample) -> list[tuple[str, list[int]]]:
        """Each option's text and ids. Raises RowError for one beyond the text encoder's positions."""
        found = []
        for text in self._asking.answers(sample):
            ids = list(self._tokenizer(text, verbose=False).input_ids)
            if len(ids) > self._room:
                raise RowError(
                    f"sample '{sample.id}': an option's {len(ids)} tokens are more than the {self._room} "
                    "positions of the text encoder"
                )
            found.append((text, ids))
        return found

    def _scores(self, tensors: Mapping[str, Any]) -> Any:
        """The head's logits (options, 2); every image goes through the vision tower once."""
        network = self.model
        states = network.vision_model(tensors["pixel_values"]).last_hidden_state[tensors["image"]]
        read = network.text_encoder(
            input_ids=tensors["input_ids"],
            attention_mask=tensors["attention_mask"],
            encoder_hidden_states=states,
        )
        return network.itm_head(read.last_hidden_state[:, 0])


def _check(task: Task) -> None:
    choice = task.chooses
    if choice.answers_letter:
        raise AdapterError(
            "choice.answer: letter: matching compares texts with the image, and a letter says nothing of it",
            "Use --set choice.answer=text.",
        )
    if choice.normalize == "bytes":
        raise AdapterError(
            "choice.normalize: bytes: the probability that a text matches doesn't shrink with its length",
            "Leave it out.",
        )


def _right(sample: Sample, count: int) -> int:
    """The place of the right option. Raises RowError for a letter that none has."""
    letters = LETTERS[:count]
    if not isinstance(sample.target, str) or sample.target not in letters:
        raise RowError(f"sample '{sample.id}': none of its {count} options is {sample.target!r}")
    return letters.index(sample.target)


def _tensor(numbers: Sequence[int]) -> Any:
    import torch

    return torch.tensor(numbers)
