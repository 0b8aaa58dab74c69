"""BLIP (Li et al. 2022): captions, answers to questions, and whether a text matches an image.

A checkpoint is one of three networks, as its config's `architectures` says, and each answers kinds of its
own. Everything is as in transformers' classes: a text that is read begins with [CLS], where the authors' code
puts [ENC].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError, RowError
from harness.models.base import Adapter, AdapterInfo
from harness.models.generation import positions
from harness.models.image_to_text import ImageToText
from harness.models.writing import Writer, padded
from harness.types import Sample

if TYPE_CHECKING:
    from harness.models.weights import Weights
    from harness.spec.schema import Task

INFO = AdapterInfo(
    family="blip",
    version="1",
    modes=frozenset({"generate", "choose"}),
    modalities=frozenset({"image"}),
    lora_targets=(r"text_(?:encoder|decoder)\..*\.(?:query|key|value)",),
    parts={
        "vision": ("vision_model",),
        "text": ("text_encoder",),
        "decoder": ("text_decoder",),
        "head": ("itm_head",),
        "contrast": ("vision_proj", "text_proj"),
    },
)


CAPTIONS = "harness.models.blip:BlipCaptions"
ANSWERS = "harness.models.blip:BlipAnswers"
OPTIONS = "harness.models.blip_options:BlipOptions"
MATCHING = "harness.models.blip_matching:BlipMatching"


@dataclass(frozen=True)
class Network:
    """One of BLIP's networks: what runs it, by the kind that is asked and how it is to be answered, and a
    checkpoint of it."""

    adapters: Mapping[tuple[str, str], str]
    example: str


NETWORKS = {
    "BlipForConditionalGeneration": Network(
        {("captioning", "generate"): CAPTIONS, ("explanation", "generate"): CAPTIONS},
        "Salesforce/blip-image-captioning-base",
    ),
    "BlipForQuestionAnswering": Network(
        {
            ("vqa", "generate"): ANSWERS,
            ("yes_no", "generate"): ANSWERS,
            ("multiple_choice", "choose"): OPTIONS,
        },
        "Salesforce/blip-vqa-base",
    ),
    "BlipForImageTextRetrieval": Network(
        {("multiple_choice", "choose"): MATCHING}, "Salesforce/blip-itm-base-coco"
    ),
}
"""By the name in a config's `architectures`."""


class Blip(Adapter):
    """The family: `for_task` makes the adapter of the network that a checkpoint is."""

    info = INFO

    @classmethod
    def for_task(cls, weights: Weights, task: Task, classes: Any = None) -> Adapter:  # noqa: ARG003
        """The adapter of a checkpoint's network.

        Raises AdapterError when that network can't do what the task asks, and says which one can.
        """
        named = weights.checkpoint.config().get("architectures") or ["network of unknown kind"]
        adapters = NETWORKS[named[0]].adapters if named[0] in NETWORKS else {}
        asked = task.kind, task.mode
        if asked not in adapters:
            raise _wrong_network(weights.checkpoint.name, str(named[0]), *asked)
        module, _, name = adapters[asked].partition(":")
        made: Adapter = getattr(import_module(module), name)(weights, task)
        return made


def _wrong_network(name: str, found: str, kind: str, mode: str) -> AdapterError:
    able = {
        wanted: network.example for wanted, network in NETWORKS.items() if (kind, mode) in network.adapters
    }
    if able:
        return AdapterError(
            f"kind '{kind}' needs a {' or a '.join(able)}, {name} is a {found}",
            f"Choose one with --model, {' or '.join(able.values())} for example.",
        )
    known = {(kind, mode) for network in NETWORKS.values() for kind, mode in network.adapters}
    return AdapterError(
        f"no network of BLIP's can {mode} for kind '{kind}'",
        "Use --set choice.by=likelihood."
        if (kind, "choose") in known
        else f"They do {', '.join(sorted({kind for kind, _ in known}))}.",
    )


class BlipWriter(ImageToText, Blip):
    """A BLIP that writes; its decoder's settings are its text config's, as in transformers' `generate`."""

    def __init__(self, weights: Weights, task: Task) -> None:
        from transformers import GenerationConfig

        processor, config = weights.processor, weights.config.text_config
        super().__init__(
            weights, task, image_processor=processor.image_processor, tokenizer=processor.tokenizer
        )
        own = GenerationConfig.from_model_config(config)
        # transformers 5 no longer reads it there, where BLIP's checkpoints have it.
        own.max_length = (weights.checkpoint.config().get("text_config") or {}).get("max_length")
        self.writer = Writer.of(
            own,
            config,
            task.generate,
            start=int(config.bos_token_id),
            end=int(config.sep_token_id),
            pad=config.pad_token_id,
        )

    @property
    def speaker(self) -> Any:
        """The decoder."""
        return self.model.text_decoder

    def _pictured(self, tensors: Mapping[str, Any]) -> Any:
        """States of each sample's image (samples, patches + 1, width)."""
        return self.model.vision_model(tensors["pixel_values"]).last_hidden_state[tensors["image"]]

    def _write(self, states: Any, starts: Any) -> Any:
        import torch

        return self.speaker.generate(
            input_ids=starts,
            attention_mask=torch.ones_like(starts),
            encoder_hidden_states=states,
            generation_config=self.writer.settings,
        )


class BlipCaptions(BlipWriter):
    """Captions that go on after the task's words ("a picture of "), which aren't part of the answer.

    In the authors' protocol lengths count those words: 5 to 20 tokens are, after "a picture of " and the
    start token, at most 16 new ones.
    """

    auto_class = "AutoModelForImageTextToText"

    def _seen(self, tensors: Mapping[str, Any]) -> tuple[Any, list[int]]:
        states = self._pictured(tensors)
        return states, [states.shape[1]] * len(states)

    def _logits(self, network: Any, tensors: dict[str, Any]) -> Any:
        given = {
            "input_ids": tensors["decoder_input_ids"],
            "attention_mask": tensors["decoder_attention_mask"],
        }
        return network(pixel_values=tensors["pixel_values"], **given, use_cache=False).logits


class BlipAnswers(BlipWriter):
    """Answers to questions: an encoder reads the question beside the image, the decoder starts from nothing.

    transformers (5.23) drops the mask under which the decoder looks at the question, and padding would be
    part of what is asked: the decoder takes questions of one length at a time.
    """

    auto_class = "AutoModelForVisualQuestionAnswering"

    def _begun(self, sample: Sample) -> list[int]:
        """The start token alone; the question is read by the encoder, so its length is looked at here."""
        ids, room = self._read(sample), positions(self.weights.config.text_config)
        if len(ids) > room:
            raise RowError(
                f"sample '{sample.id}': the question's {len(ids)} tokens are more than the {room} positions "
                "of the text encoder"
            )
        return self.writer.begun([], sample.id)

    def _read(self, sample: Sample) -> Sequence[int]:
        return list(self._tokenizer(self._words(sample), verbose=False).input_ids)

    def _texts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        rows = [self._read(sample) for sample in samples]
        mask = padded([[1] * len(row) for row in rows], 0)
        return {"input_ids": padded(rows, self.writer.pad), "attention_mask": mask}

    def _seen(self, tensors: Mapping[str, Any]) -> tuple[Any, list[int]]:
        mask = tensors["attention_mask"]
        read = self.model.text_encoder(
            input_ids=tensors["input_ids"],
            attention_mask=mask,
            encoder_hidden_states=self._pictured(tensors),
        )
        return read.last_hidden_state, mask.sum(1).tolist()

    def _logits(self, network: Any, tensors: dict[str, Any]) -> Any:
        import torch

        lengths = tensors["attention_mask"].sum(1)
        found: dict[int, Any] = {}
        for length in lengths.unique().tolist():
            rows = torch.nonzero(lengths == length).flatten()
            part = {name: tensor[rows] for name, tensor in tensors.items()}
            for name in ("input_ids", "attention_mask"):
                part[name] = part[name][:, :length]
            found |= dict(zip(rows.tolist(), self._said(network, part), strict=True))
        return torch.stack([found[row] for row in range(len(lengths))])

    def _said(self, network: Any, tensors: dict[str, Any]) -> Any:
        """The network's output has a loss and no logits, so they are taken where its decoder says them."""
        found: list[Any] = []
        hook = self.speaker.register_forward_hook(lambda _, __, said: found.append(said.logits))
        try:
            network(**tensors, use_cache=False)
        finally:
            hook.remove()
        return found[0]
