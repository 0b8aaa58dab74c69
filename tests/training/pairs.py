"""Trainings of a small dual encoder on pairs of noise; as a script, such a training among other processes.

The network is transformers' own (CLIP, or SigLIP with its sigmoid loss); the family around it is a fake, so
that the trainer is seen to need no more than the contract.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.nn import functional

from harness.data import Dataset
from harness.models.base import Adapter, AdapterInfo, Batch, Rendered
from harness.models.checkpoint import resolve
from harness.models.weights import Weights
from harness.processes import Processes, processes
from harness.spec.training import Train
from harness.spec.values import PartState
from harness.training.fine_tune import Job, fine_tune
from harness.types import Json, Output, Sample
from tests.training.gradients import watched
from tests.training.jobs import manifest

WORDS, LONGEST = 40, 8
LN_100 = 4.6052


class Twins(Adapter):
    """Pairs of an image (noise drawn from the sample's number) and a text (likewise)."""

    info = AdapterInfo(
        family="twins",
        version="1",
        modes=frozenset({"embed"}),
        modalities=frozenset({"image", "text"}),
        lora_targets=("q_proj", "v_proj"),
        parts={
            "vision": ("vision_model", "visual_projection"),
            "text": ("text_model", "text_projection"),
            "temperature": ("logit_scale", "logit_bias"),
            "fusion": ("fusion_model",),
        },
    )
    auto_class = "AutoModel"
    coupled = True

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.seen: list[str] = []
        """Captions, in the order in which they were encoded."""

    @property
    def model(self) -> Any:
        return self.weights.model(self.auto_class)

    def part_states(self) -> Mapping[str, PartState]:
        return {"temperature": "full", "fusion": "frozen"}

    def chosen(self, sample: Sample, random: Any) -> Sample:
        caption = sample.target[int(random.integers(len(sample.target)))]
        return Sample(sample.id, sample.inputs, caption, sample.group)

    def constrain(self, network: Any) -> None:
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, LN_100)

    def encode(self, samples: Sequence[Sample], *, with_targets: bool = False) -> Batch:
        self.seen += [str(sample.target) for sample in samples]
        texts = [_drawn(f"text {sample.target}", _words) for sample in samples]
        longest = torch.zeros(LONGEST, dtype=torch.long)  # SigLIP reads the last place, so all are as long
        fixed = [longest] if self.weights.config.model_type == "siglip" else []
        padded = torch.nn.utils.rnn.pad_sequence([*texts, *fixed], batch_first=True, padding_value=1)[
            : len(texts)
        ]
        images = [
            _drawn(f"image {sample.id}", lambda seed: torch.randn(3, 8, 8, generator=seed))
            for sample in samples
        ]
        return Batch(
            samples,
            {
                "input_ids": padded,
                "attention_mask": (padded != 1).long(),
                "pixel_values": torch.stack(images),
            },
        )

    def items(self, batch: Batch) -> int:
        return len(batch.samples)

    def pair_embeddings(self, network: Any, batch: Batch) -> tuple[Any, Any]:
        found = network(**batch.tensors)
        sides = (
            functional.normalize(side.float(), dim=-1) for side in (found.image_embeds, found.text_embeds)
        )
        return next(sides), next(sides)

    def pair_loss(self, network: Any, left: Any, right: Any) -> Any:
        return pair_loss(self.model, left, right)

    def request(self, sample: Sample) -> Json:
        raise NotImplementedError

    def cost(self, sample: Sample) -> float:
        raise NotImplementedError

    def prepare(self) -> None:
        raise NotImplementedError

    def predict(self, batch: Batch) -> list[Output]:
        raise NotImplementedError

    def render(self, sample: Sample) -> Rendered:
        raise NotImplementedError


def pair_loss(model: Any, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Sum over pairs: symmetric cross entropy (CLIP), or SigLIP's loss where the network has a bias."""
    logits = left @ right.T * model.logit_scale.exp()
    if hasattr(model, "logit_bias"):
        signs = 2 * torch.eye(len(left)) - 1
        return -functional.logsigmoid(signs * (logits + model.logit_bias)).sum()
    places = torch.arange(len(left))
    both = [functional.cross_entropy(side, places, reduction="sum") for side in (logits, logits.T)]
    return (both[0] + both[1]) / 2


def base(folder: Path, *, sigmoid: bool = False, dropout: float = 0.0) -> Path:
    """A checkpoint with random weights of two layers each, made once per folder."""
    if not (folder / "config.json").is_file():
        from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

        shared = {
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "attention_dropout": dropout,
        }  # fmt: skip
        text = shared | {
            "vocab_size": WORDS, "max_position_embeddings": LONGEST, "bos_token_id": 0, "pad_token_id": 1,
            "eos_token_id": WORDS - 1, "projection_size": 16,
        }  # fmt: skip
        vision = shared | {"image_size": 8, "patch_size": 4}
        torch.manual_seed(0)
        if sigmoid:
            network: Any = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
        else:
            network = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        with torch.no_grad():  # far from where random towers put all embeddings into one corner
            for parameter in network.parameters():
                parameter += 0.2 * torch.randn(parameter.shape)
            network.logit_scale.fill_(2.0)
        network.save_pretrained(folder)
    return folder


class _Window:
    """Pairs of which each has three captions."""

    def __init__(self, n: int) -> None:
        self.ids = [f"{number}" for number in range(n)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Sample:
        return sample(place)


def sample(number: int) -> Sample:
    return Sample(f"{number}", {}, [f"{number} {caption}" for caption in "abc"], f"{number}")


def pairs(n: int = 24) -> Dataset:
    return Dataset("pairs", None, "train", None, n, [_Window(n)])  # type: ignore[arg-type]


def twins(folder: Path, *, dtype: str = "float32", adapter: Any = None) -> Twins:
    """The checkpoint in `folder`, with a trained adapter if there is one."""
    checkpoint = resolve(str(folder), None, base=folder, offline=True)
    return Twins(Weights(checkpoint, dtype, "cpu", None, adapter))


def pair_job(
    folder: Path,
    train: Mapping[str, Any],
    base: Path,
    *,
    evaluate: Callable[[Twins, int], Mapping[str, float]] | None = None,
    n: int = 24,
    world: Processes | None = None,
    dtype: str = "float32",
) -> Job:
    """A training of the checkpoint in `base`; `evaluate(adapter, step)` returns {"accuracy": value}."""
    adapter = twins(base, dtype=dtype)
    return Job(
        adapter=adapter,
        train=Train(**train),
        datasets={"": pairs(n)},
        evaluate=None if evaluate is None else lambda step: evaluate(adapter, step),
        metric=None if evaluate is None else "accuracy",
        higher_is_better=True,
        base=folder,
        folder=folder / "adapter",
        work=folder / "work",
        manifest=manifest(adapter, Train(**train)) | {"spec": {"kind": "retrieval", "train": dict(train)}},
        workers=1,
        processes=world or Processes(),
        show_progress=False,
    )


def _drawn(name: str, draw: Callable[[torch.Generator], torch.Tensor]) -> torch.Tensor:
    """Always the same for the same name."""
    return draw(
        torch.Generator().manual_seed(sum(ord(letter) * 31**at for at, letter in enumerate(name)) % 2**40)
    )


def _words(seed: torch.Generator) -> torch.Tensor:
    """Two to seven words and the end."""
    length = int(torch.randint(2, LONGEST, (1,), generator=seed))
    return torch.cat([torch.randint(2, WORDS - 1, (length,), generator=seed), torch.tensor([WORDS - 1])])


def main(folder: Path, base: Path, train: dict[str, Any]) -> None:
    """Train in this process among others and write its gradients, step by step, and its curve."""
    torch.set_num_threads(1)
    mine = processes()
    with watched() as found:
        done = fine_tune(pair_job(folder, train, base, world=mine))
    for step, gradients in enumerate(found):
        save_file(gradients, folder / f"gradients-{mine.rank}-{step}.safetensors")
    (folder / f"losses-{mine.rank}.json").write_text(json.dumps([point[1] for point in done.curve.losses]))


if __name__ == "__main__":
    import os

    os.environ["ACCELERATE_USE_CPU"] = "true"
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
