"""Vision encoder-decoders in the line of Show and Tell (Vinyals et al. 2015): ViT and GPT-2, TrOCR, Donut.

Any two networks that transformers can join: the image processor, the tokenizer, the token that begins a text
and the one that ends it are the checkpoint's. The task's words are the beginning of what the decoder writes.
Most captioners were trained without any; Donut's are its task token and the question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.errors import AdapterError
from harness.models.base import AdapterInfo
from harness.models.generation import positions
from harness.models.image_to_text import ImageToText
from harness.models.writing import Writer

if TYPE_CHECKING:
    from harness.models.weights import Weights
    from harness.spec.schema import Task
    from harness.spec.values import PartState

KINDS = ("captioning", "explanation", "vqa", "yes_no")


@dataclass(frozen=True)
class Decoder:
    """One type of decoder: the layers of it that take LoRA, one regular expression over full names, and
    whether its positions begin behind the padding token's number."""

    targets: str
    after_padding: bool = False


GPT2 = Decoder(r"decoder\..*\.(?:c_attn|q_attn)")
BART = Decoder(r"decoder\..*\.(?:q_proj|k_proj|v_proj)")
BERT = Decoder(r"decoder\..*\.(?:query|key|value)")
ROBERTA = replace(BERT, after_padding=True)
DECODERS = {
    "gpt2": GPT2,
    "bart": BART,
    "mbart": BART,
    "trocr": BART,
    "bert": BERT,
    "roberta": ROBERTA,
    "camembert": ROBERTA,
    "xlm-roberta": ROBERTA,
}
"""By the decoder's model_type. Any other can be asked, and trained when the task names the layers."""


class Captioner(ImageToText):
    """A vision encoder-decoder, ready for one task.

    Raises AdapterError for a kind that it can't answer and for a checkpoint that names no token to begin or
    to end with.
    """

    info = AdapterInfo(
        family="captioner",
        version="1",
        modes=frozenset({"generate"}),
        modalities=frozenset({"image"}),
        parts={
            "encoder": ("encoder",),
            "projection": ("enc_to_dec_proj",),
            "decoder": ("decoder",),
            "pooler": ("encoder.pooler",),
        },
    )
    auto_class = "AutoModelForImageTextToText"

    @classmethod
    def for_task(cls, weights: Weights, task: Task, classes: Any = None) -> Captioner:  # noqa: ARG003
        """Ready to write what the task asks for."""
        return cls(weights, task)

    def __init__(self, weights: Weights, task: Task) -> None:
        if task.kind not in KINDS:
            raise AdapterError(
                f"family 'captioner' writes a line about an image, it can't answer kind '{task.kind}'",
                "Choose another checkpoint with --model.",
            )
        reader = weights.preprocessor("AutoImageProcessor")
        super().__init__(
            weights, task, image_processor=reader, tokenizer=weights.preprocessor("AutoTokenizer")
        )
        decoder = weights.config.decoder
        kind = DECODERS.get(decoder.model_type)
        self.info = replace(type(self).info, lora_targets=(kind.targets,) if kind else ())
        self.writer = _writer(weights, task)
        if kind and kind.after_padding:
            room = positions(decoder) - int(decoder.pad_token_id) - 1
            self.writer = replace(self.writer, room=room)

    def part_states(self) -> Mapping[str, PartState]:
        """The encoder's pooler stays as it is: nobody looks at what it says."""
        return {"pooler": "frozen"}

    @property
    def speaker(self) -> Any:
        """The network itself."""
        return self.model

    def _seen(self, tensors: Mapping[str, Any]) -> tuple[Any, list[int]]:
        states = self.model.get_encoder()(pixel_values=tensors["pixel_values"]).last_hidden_state
        return states[tensors["image"]], [states.shape[1]] * len(tensors["image"])

    def _write(self, states: Any, starts: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return self.model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            decoder_input_ids=starts,
            generation_config=self.writer.settings,
        )

    def _logits(self, network: Any, tensors: dict[str, Any]) -> Any:
        return network(**tensors, use_cache=False).logits


def _writer(weights: Weights, task: Task) -> Writer:
    """Start, end and padding as the generation config has them, else the config, else the decoder's."""
    own, config = weights.generation_config(), weights.config
    found: dict[str, Any] = {}
    for name in ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id"):
        values = (getattr(source, name, None) for source in (own, config, config.decoder))
        found[name] = next((value for value in values if value is not None), None)
    start = found["decoder_start_token_id"]
    start = found["bos_token_id"] if start is None else start
    if start is None or found["eos_token_id"] is None:
        raise AdapterError(
            f"{weights.checkpoint.name} says neither in its config nor in its generation config which token "
            f"{'begins' if start is None else 'ends'} a text",
            "Set decoder_start_token_id and eos_token_id in config.json.",
        )
    end, pad = found["eos_token_id"], found["pad_token_id"]
    return Writer.of(own, config.decoder, task.generate, start=int(start), end=end, pad=pad)
