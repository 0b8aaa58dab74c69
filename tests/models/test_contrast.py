"""What dual encoders learn from: pairs against each other, and classes that prompts name."""

from __future__ import annotations

from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import AdapterError, RowError
from harness.models import TrainedAdapter, losses
from harness.models.base import Batch
from harness.models.temperature import Scales
from harness.training import targets
from harness.training.parts import Parts
from harness.types import Sample
from tests.models.pictures import dual_encoder, embeddings, image_sample, text_sample
from tests.models.tiny_clip import TINY, tiny_align, tiny_clap, tiny_clip, tiny_siglip

CLASSES = {"names": ["cat", "dog", "bird"], "templates": ["a photo of a {}.", "a {}", "{}s everywhere"]}
TRAIN = {"method": "lora", "steps": 1}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_siglip(tmp_path_factory.mktemp("siglip"))


def pairs(*captions: Any) -> list[Sample]:
    return [image_sample(seed, target=caption) for seed, caption in enumerate(captions)]


def scales(forth: float, back: float | None = None, bias: float = 0.0) -> Scales:
    return Scales(torch.tensor(forth), torch.tensor(forth if back is None else back), torch.tensor(bias))


LEFT = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
RIGHT = torch.tensor([[1.0, 0.0], [0.6, 0.8]])  # cosines [[1, 0.6], [0, 0.8]]


def softplus(value: float) -> float:
    return log(1 + exp(value))


def test_pairs_are_told_apart_both_ways() -> None:
    # Images: 2 * 1 against 2 * 0.6, and 2 * 0.8 against 0. Texts, times 3: 1 against 0, and 0.8 against 0.6.
    forth, back = softplus(1.2 - 2) + softplus(0 - 1.6), softplus(0 - 3) + softplus(1.8 - 2.4)
    assert losses.symmetric(LEFT, RIGHT, scales(2, 3)).item() == pytest.approx((forth + back) / 2)


def test_each_pair_is_a_decision_of_its_own() -> None:
    logits = [[2 * 1 - 1, 2 * 0.6 - 1], [2 * 0 - 1, 2 * 0.8 - 1]]
    expected = (
        softplus(-logits[0][0]) + softplus(logits[0][1]) + softplus(logits[1][0]) + softplus(-logits[1][1])
    )
    assert losses.pairwise(LEFT, RIGHT, scales(2, bias=-1)).item() == pytest.approx(expected)


def test_media_are_told_apart_by_their_classes() -> None:
    found = losses.of_classes(LEFT, RIGHT, torch.tensor([0, 0]), scales(2)).item()
    assert found == pytest.approx(softplus(1.2 - 2) + softplus(1.6 - 0))
    several = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    found = losses.of_classes(LEFT, RIGHT, several, scales(2, bias=-1)).item()
    assert found == pytest.approx(softplus(-1) + softplus(-0.2) + softplus(-1) + softplus(-0.6))


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_the_loss_of_a_batch_is_that_of_transformers(name: str, request: pytest.FixtureRequest) -> None:
    made = dual_encoder(request.getfixturevalue(name), "retrieval")
    batch = made.encode(pairs("a dog", "two cats", "a bird on a tree"), with_targets=True)
    expected = made.model(**batch.tensors, return_loss=True).loss
    assert made.items(batch) == 3
    assert made.loss(made.model, batch).item() / 3 == pytest.approx(expected.item(), rel=1e-5)


def test_sounds_and_texts_each_have_a_temperature(tmp_path: Path) -> None:
    made = dual_encoder(tiny_clap(tmp_path), "retrieval", column="audio")
    with torch.no_grad():
        made.model.logit_scale_a.fill_(0.5)
        made.model.logit_scale_t.fill_(1.5)
    made.pair_loss(made.model, LEFT, RIGHT).backward()
    expected = losses.symmetric(LEFT, RIGHT, scales(exp(0.5), exp(1.5)))
    assert made.pair_loss(made.model, LEFT, RIGHT).item() == pytest.approx(expected.item())
    assert made.model.logit_scale_a.grad != 0
    assert made.model.logit_scale_t.grad != 0


@pytest.mark.parametrize("name", list(TINY))
def test_a_pair_teaches_both_towers_and_the_temperature(tmp_path: Path, name: str) -> None:
    made = dual_encoder(TINY[name](tmp_path), "retrieval")
    assert made.coupled
    assert made.part_states() == {"temperature": "full"}
    batch = made.encode(pairs("a dog", "two cats"), with_targets=True)
    left, right = made.pair_embeddings(made.model, batch)
    assert left.dtype == right.dtype == torch.float32
    assert torch.cat([left, right]).norm(dim=-1).tolist() == pytest.approx([1.0] * 4)
    made.loss(made.model, batch).backward()
    parts = Parts(made.info.parts, {})
    reached = {parts.part(name) for name, value in made.model.named_parameters() if value.grad is not None}
    assert reached == {"vision", "text", "temperature"}
    scale = getattr(made.model, "temperature" if name == "align" else "logit_scale")
    assert scale.grad.abs().sum() > 0


@pytest.mark.parametrize("name", [*TINY, "clap"])
def test_lora_reaches_every_attention_of_both_towers(tmp_path: Path, name: str) -> None:
    make, column = (tiny_clap, "audio") if name == "clap" else (TINY[name], "image")
    made = dual_encoder(make(tmp_path), column=column)
    parts = Parts(made.info.parts, dict.fromkeys([*made.info.parts, "rest"], "lora"))
    [found] = targets.match(made.model, made.info.lora_targets, parts).values()
    towers = {part: [layer for layer in found if parts.part(layer) == part] for part in parts.prefixes}
    assert len(towers["text"]) >= 3 * 2  # of each of two layers
    if name == "align":
        assert not towers["vision"]  # convolutions
    else:
        assert len(towers["audio" if name == "clap" else "vision"]) >= 3 * 2
    assert not any("head.attention" in layer for layer in found)  # which reads its weights past LoRA


def test_lora_by_name_keeps_off_what_is_read_past_it(siglip: Path) -> None:
    made = dual_encoder(siglip)
    parts = Parts(made.info.parts, dict.fromkeys([*made.info.parts, "rest"], "lora"))
    found = targets.match(made.model, ["out_proj"], parts)["out_proj"]
    assert made.model.get_submodule("vision_model.head.attention.out_proj")
    assert len(found) == 4
    assert all("self_attn" in layer for layer in found)


def test_classes_are_the_means_of_their_prompts(clip: Path) -> None:
    from harness.evaluation.zero_shot import classifier

    made = dual_encoder(clip, sections={"classes": CLASSES})
    rows = []
    for name in CLASSES["names"]:  # as in the notebook of Radford et al. 2021
        tokens = made._texts.encode([template.replace("{}", name) for template in CLASSES["templates"]])[0]
        with torch.no_grad():
            prompts = made.model.get_text_features(**tokens).pooler_output
        prompts = prompts / prompts.norm(dim=-1, keepdim=True)
        mean = prompts.mean(dim=0)
        rows.append(mean / mean.norm())
    found = made._classifier.weights
    torch.testing.assert_close(found, torch.stack(rows), atol=1e-6, rtol=0)
    assert not found.requires_grad
    asked = [template.replace("{}", name) for name in CLASSES["names"] for template in CLASSES["templates"]]
    scored = classifier(embeddings(made, [text_sample(text) for text in asked]).reshape(3, 3, -1))
    np.testing.assert_allclose(found.numpy(), scored, atol=1e-6)  # what is learned is what is scored


def test_a_class_is_learned_against_all_classes(clip: Path) -> None:
    made = dual_encoder(clip, sections={"classes": CLASSES})
    samples = pairs("dog", "cat")
    batch = made.encode(samples, with_targets=True)
    assert batch.tensors["labels"].tolist() == [1, 0]
    images = torch.from_numpy(embeddings(made, samples))
    logits = (
        made.model.logit_scale.exp()
        * (images / images.norm(dim=-1, keepdim=True))
        @ made._classifier.weights.T
    )
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 0]), reduction="sum")
    assert made.loss(made.model, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    assert made.items(batch) == 2


def test_sigmoids_decide_each_class_alone(siglip: Path, clip: Path) -> None:
    made = dual_encoder(siglip, sections={"classes": CLASSES})
    assert made.encode(pairs("dog"), with_targets=True).tensors["labels"].tolist() == [[0.0, 1.0, 0.0]]
    softmax = dual_encoder(siglip, sections={"classes": CLASSES | {"scoring": "softmax"}})
    assert softmax.encode(pairs("dog"), with_targets=True).tensors["labels"].tolist() == [1]
    several = dual_encoder(clip, sections={"classes": CLASSES | {"multilabel": True}})
    batch = several.encode(pairs(["dog", "cat"], []), with_targets=True)
    assert batch.tensors["labels"].tolist() == [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    several.loss(several.model, batch).backward()


@pytest.mark.parametrize("name", ["clip", "align", "siglip", "clap"])
def test_classes_teach_the_vision_tower_and_the_temperature_only(tmp_path: Path, name: str) -> None:
    make, column = (tiny_clap, "audio") if name == "clap" else (TINY[name], "image")
    made = dual_encoder(make(tmp_path), column=column, sections={"classes": CLASSES})
    assert not made.coupled
    assert made.part_states() == {"text": "frozen", "temperature": "full"}
    parts = Parts(made.info.parts, {})
    for key, parameter in made.model.named_parameters():
        parameter.requires_grad_(parts.part(key) != "text")
    made.loss(made.model, learned(made, column)).backward()
    without = [
        key for key, value in made.model.named_parameters() if value.requires_grad and value.grad is None
    ]
    # One that no loss reaches would have data parallel training wait forever.
    assert not without
    assert all(
        value.grad is None for key, value in made.model.named_parameters() if parts.part(key) == "text"
    )


def learned(made: Any, column: str) -> Batch:
    from tests.models.clips import sample as sound

    samples = (
        pairs("dog", "cat") if column == "image" else [sound(0.5, 0, target="dog"), sound(1, 1, target="cat")]
    )
    batch: Batch = made.encode(samples, with_targets=True)
    return batch


def test_prompts_are_embedded_without_dropout_and_modules_stay_as_they_were(tmp_path: Path) -> None:
    folder = tiny_align(tmp_path)  # whose text tower drops out
    expected = dual_encoder(folder, sections={"classes": CLASSES})._classifier.weights
    made = dual_encoder(folder, sections={"classes": CLASSES})
    made.model.train()
    made.model.vision_model.eval()
    before = [module.training for module in made.model.modules()]
    with torch.autocast("cpu", torch.bfloat16):
        found = made._classifier.weights
    assert torch.equal(found, expected)
    assert [module.training for module in made.model.modules()] == before


def test_prompts_are_embedded_once(clip: Path) -> None:
    made = dual_encoder(clip, sections={"classes": CLASSES})
    batch = made.encode(pairs("dog", "cat"), with_targets=True)
    seen: list[int] = []
    made.model.text_model.register_forward_pre_hook(
        lambda _module, _args, named: seen.append(len(named["input_ids"])), with_kwargs=True
    )
    made.loss(made.model, batch)
    made.loss(made.model, batch)
    assert seen == [9, 1, 1]  # all prompts, then one that goes along with each batch


@pytest.mark.parametrize("kind", ["retrieval", "zero_shot_classification"])
@pytest.mark.parametrize("wrapper", ["peft", "data parallel"])
def test_losses_go_through_what_the_network_is_wrapped_in(
    clip: Path, tmp_path: Path, kind: str, wrapper: str
) -> None:
    made = dual_encoder(clip, kind, sections={"classes": CLASSES})
    batch = made.encode(pairs("dog", "cat"), with_targets=True)
    expected = made.loss(made.model, batch).item()
    with wrapped(made, wrapper, tmp_path) as network:
        calls: list[Any] = []
        network.register_forward_pre_hook(lambda *_: calls.append(None))
        loss = made.loss(network, batch)
        loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert len(calls) == 1
    scale = next(value for key, value in network.named_parameters() if key.endswith("logit_scale"))
    assert scale.grad is not None
    assert made.model.get_parameter("logit_scale") is scale


class wrapped:  # noqa: N801 - used as a function
    """The network within PEFT, or within data parallel training of a single process."""

    def __init__(self, made: Any, wrapper: str, folder: Path) -> None:
        self._made, self._wrapper, self._folder = made, wrapper, folder

    def __enter__(self) -> Any:
        from peft import LoraConfig, get_peft_model

        from harness.models.attach import quiet_peft

        model = self._made.model
        if self._wrapper == "peft":
            with quiet_peft():
                network = get_peft_model(model, LoraConfig(target_modules=["q_proj"]))
            model.logit_scale.requires_grad_(True)
            return network
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{self._folder / 'store'}", rank=0, world_size=1
        )
        parts = Parts(self._made.info.parts, {})
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(self._made.coupled or parts.part(name) != "text")
        return torch.nn.parallel.DistributedDataParallel(model)

    def __exit__(self, *_: Any) -> None:
        if self._wrapper != "peft":
            torch.distributed.destroy_process_group()


def test_one_of_several_captions_is_drawn(clip: Path) -> None:
    made = dual_encoder(clip, "retrieval")
    [sample] = pairs(["one", "two", "three"])
    drawn = {made.chosen(sample, np.random.default_rng(seed)).target for seed in range(30)}
    assert drawn == {"one", "two", "three"}
    again = {made.chosen(sample, np.random.default_rng(7)).target for _ in range(5)}
    assert len(again) == 1
    [single] = pairs("only")
    assert made.chosen(single, np.random.default_rng(0)) is single
    with pytest.raises(RowError, match="no caption"):
        made.chosen(pairs([])[0], np.random.default_rng(0))
    classes = dual_encoder(clip, sections={"classes": CLASSES | {"multilabel": True}})
    assert classes.chosen(sample, np.random.default_rng(0)) is sample


@pytest.mark.parametrize("caption", ["", " ", None, 3])
def test_an_empty_caption_is_refused(clip: Path, caption: Any) -> None:
    made = dual_encoder(clip, "retrieval")
    with pytest.raises(RowError, match="'image 1' has no text"):
        made.encode(pairs("fine", caption), with_targets=True)


def test_a_class_that_is_not_there_is_named_with_the_near_one(clip: Path) -> None:
    made = dual_encoder(clip, sections={"classes": CLASSES})
    with pytest.raises(RowError, match=r"'image 0' is of no class of the task: 'brid'\. Did you mean 'bird'"):
        made.encode(pairs("brid"), with_targets=True)
    nobody = dual_encoder(clip, sections={"classes": {"templates": ["{}"]}})
    with pytest.raises(AdapterError, match="nothing says which classes there are"):
        nobody.encode(pairs("cat"), with_targets=True)


def test_classes_of_the_dataset_go_before_those_of_the_task(clip: Path) -> None:
    made = dual_encoder(clip, classes=["dog", "cat", "bird"], sections={"classes": CLASSES})
    assert made.encode(pairs("dog"), with_targets=True).tensors["labels"].tolist() == [0]


def test_temperatures_stay_within_their_limits(clip: Path, siglip: Path, tmp_path: Path) -> None:
    soft, sigmoid = dual_encoder(clip), dual_encoder(siglip)
    divides = dual_encoder(tiny_align(tmp_path))
    for value, expected in ((9.0, log(100)), (-1.0, 0.0), (2.0, 2.0)):
        with torch.no_grad():
            soft.model.logit_scale.fill_(value)
        soft.constrain(soft.model)
        assert soft.model.logit_scale.item() == pytest.approx(expected)
    with torch.no_grad():
        sigmoid.model.logit_scale.fill_(4.765)  # as published: a scale of 117
        divides.model.temperature.fill_(0.001)
    sigmoid.constrain(sigmoid.model)
    divides.constrain(divides.model)
    assert sigmoid.model.logit_scale.item() == pytest.approx(4.765)
    assert divides.model.temperature.item() == pytest.approx(0.01)
    assert sigmoid.model.logit_bias.item() == pytest.approx(-10.0)


def test_a_trained_temperature_is_read_without_the_network(clip: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file

    from harness.models.attach import quiet_peft
    from harness.models.trained import EXTRA_PARAMETERS

    with quiet_peft():
        network = get_peft_model(dual_encoder(clip).model, LoraConfig(target_modules=["q_proj"]))
        network.save_pretrained(tmp_path)
    save_file({"logit_scale": torch.tensor(3.1415927)}, tmp_path / EXTRA_PARAMETERS)
    made = dual_encoder(clip, dtype="bfloat16", adapter=TrainedAdapter("trained", tmp_path))
    before = made.similarity()
    assert not made.weights.holds(made.auto_class)
    made.prepare()
    assert before == made.similarity()
    assert before.scale == pytest.approx(exp(3.1415927), rel=1e-6)


def test_what_cannot_be_learned_is_said_before_it_begins(clip: Path) -> None:
    probe = dual_encoder(clip, "linear_probe", sections={"classes": CLASSES})
    with pytest.raises(AdapterError, match="nothing to fine-tune"):
        probe.part_states()
    texts = dual_encoder(clip, sections={"classes": CLASSES, "train": TRAIN | {"parts": {"text": "lora"}}})
    with pytest.raises(AdapterError, match=r"train\.parts\.text: can't be lora"):
        texts.part_states()
    frozen = dual_encoder(clip, sections={"classes": CLASSES, "train": TRAIN | {"parts": {"text": "frozen"}}})
    assert frozen.part_states()["text"] == "frozen"
    locked = dual_encoder(clip, "retrieval", sections={"train": TRAIN | {"parts": {"vision": "frozen"}}})
    assert locked.part_states() == {"temperature": "full"}
