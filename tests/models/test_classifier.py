"""Classifiers: the right class under the right name, chance from a head that nobody trained."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import AdapterError, MediaError, PredictionError, RowError
from harness.models import Adapter, Weights, load, resolve
from harness.models.class_names import _tell
from harness.models.classifier import Classifier
from harness.models.head import Head
from harness.spec.training import SpecAugment
from harness.types import Sample
from tests.models.tiny_classifier import (
    ANIMALS,
    picture,
    sound,
    tiny_ast,
    tiny_convnext,
    tiny_dual,
    tiny_resnet,
    tiny_swin,
    tiny_vit,
    tiny_vit_without_head,
    tiny_wav2vec2,
)
from tests.tasks import task_of

PLAIN = ("cat", "dog", "red fox", "newt")
MAKERS: dict[str, Callable[[Path], Path]] = {
    "vit": tiny_vit,
    "swin": tiny_swin,
    "convnext": tiny_convnext,
    "resnet": tiny_resnet,
    "ast": tiny_ast,
    "wav2vec2": tiny_wav2vec2,
}
HEADLESS: dict[str, Callable[[Path], Path]] = {
    "vit": tiny_vit_without_head,
    "clip": tiny_dual,
    "siglip": lambda folder: tiny_dual(folder, "Siglip"),
}
AUDIO = ("ast", "wav2vec2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("classifiers")
    with_head = {name: make(root / name) for name, make in MAKERS.items()}
    return with_head | {f"{name} alone": make(root / f"{name}-alone") for name, make in HEADLESS.items()}


@pytest.fixture(autouse=True)
def _say_everything() -> None:
    _tell.cache_clear()


def opened(
    folder: Path, known: Sequence[str] | None = None, *, column: str = "image", **sections: Any
) -> Classifier:
    model = {"checkpoint": str(folder), "family": "classifier"}
    task = task_of(folder, "classification", column=column, **{"model": model, **sections})
    made = load(task, base=Path(), classes=known, device="cpu")
    assert isinstance(made, Classifier)
    return made


def samples_for(name: str) -> list[Sample]:
    if name in AUDIO:
        return [sound(seed, "cat", seconds=0.3 + 0.1 * seed) for seed in range(3)]
    return [picture(seed) for seed in range(3)]


def answers(adapter: Adapter, samples: Sequence[Sample]) -> list[dict[str, float]]:
    outputs = [one.output for one in adapter.predict(adapter.encode(samples))]
    return [dict(output) for output in outputs]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", MAKERS)
def test_says_what_transformers_says(folders: dict[str, Path], name: str) -> None:
    """One sample at a time, through transformers' own pipeline."""
    from transformers import pipeline

    kind = "audio" if name in AUDIO else "image"
    samples = samples_for(name)
    adapter = opened(folders[name], PLAIN, column=kind)
    reader = adapter.weights.preprocessor("AutoFeatureExtractor" if kind == "audio" else "AutoImageProcessor")
    settings = {"feature_extractor" if kind == "audio" else "image_processor": reader}
    said = pipeline(f"{kind}-classification", model=adapter.model, **settings)
    for sample, answer in zip(samples, answers(adapter, samples), strict=True):
        media = sample.inputs[kind].load(*([16_000] if kind == "audio" else []))  # type: ignore[union-attr]
        scores = {one["label"].split(", ")[-1]: one["score"] for one in said(media, top_k=4)}
        assert list(answer) == list(scores)
        assert answer == pytest.approx(scores, rel=1e-4)


@pytest.mark.parametrize("name", MAKERS)
def test_a_batch_says_what_single_samples_say(folders: dict[str, Path], name: str) -> None:
    adapter = opened(folders[name], PLAIN, column="audio" if name in AUDIO else "image")
    samples = samples_for(name)
    alone = [answers(adapter, [sample])[0] for sample in samples]
    for one, other in zip(answers(adapter, samples), alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert len({max(answer, key=lambda name: answer[name]) + str(answer) for answer in alone}) == 3


def test_classes_are_found_by_name_in_any_order(folders: dict[str, Path]) -> None:
    one, other = opened(folders["vit"], PLAIN), opened(folders["vit"], ("newt", "Red Fox ", "DOG", "cat"))
    [said], [turned] = answers(one, [picture(0)]), answers(other, [picture(0)])
    assert [name.strip().casefold() for name in turned] == list(said)
    assert list(turned.values()) == pytest.approx(list(said.values()))


def test_some_of_the_classes_share_the_probability(folders: dict[str, Path]) -> None:
    [every], [few] = (answers(opened(folders["vit"], names), [picture(0)]) for names in (PLAIN, PLAIN[:2]))
    assert set(few) == {"cat", "dog"}
    assert few["cat"] / few["dog"] == pytest.approx(every["cat"] / every["dog"], rel=1e-4)
    assert sum(few.values()) == pytest.approx(1)


def test_numbers_that_decide_against_names_are_told_once(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        opened(folders["vit"], ("a", "b", "c", "d"))
    told = capsys.readouterr().err
    assert told.count("numbers decide: its 'cat' is taken for 'a'") == 1


@pytest.mark.parametrize("name", [*MAKERS, *(f"{name} alone" for name in HEADLESS)])
@pytest.mark.parametrize("count", [2, 3])
def test_untrained_head_says_chance_and_says_so(
    folders: dict[str, Path], name: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = ("x", "y", "z")[:count]
    adapter = opened(folders[name], classes, column="audio" if name in AUDIO else "image")
    outputs = adapter.predict(adapter.encode(samples_for(name)))
    for output in outputs:
        assert output.output == dict.fromkeys(classes, pytest.approx(1 / count, abs=1e-7))
        assert isinstance(output.output, dict)
        assert list(output.output) == list(classes)
        assert output.extras == {"untrained_head": True}
    assert f"no head for these {count} classes" in capsys.readouterr().err


def test_trained_head_says_nothing_of_itself(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = opened(folders["vit"], PLAIN)
    assert adapter.predict(adapter.encode([picture(0)]))[0].extras == {}
    assert capsys.readouterr().err == ""


def test_new_head_leaves_the_backbone_as_it_was(folders: dict[str, Path]) -> None:
    own = opened(folders["wav2vec2"], PLAIN, column="audio").model.state_dict()
    new = opened(folders["wav2vec2"], ("x", "y"), column="audio").model.state_dict()
    assert not new["classifier.weight"].any()
    for name in own.keys() - {"classifier.weight", "classifier.bias"}:
        assert torch.equal(own[name], new[name]), name


def test_layers_before_a_new_heads_outputs_are_always_the_same(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_wav2vec2(tmp_path / "base")
    kept = {
        name: tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
        if not name.startswith(("projector", "classifier"))
    }
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        networks.append(opened(folder, ("x", "y"), column="audio").model)
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(networks[0].projector.weight, networks[1].projector.weight)
    assert networks[0].projector.weight.any()


@pytest.mark.parametrize("change", ["missing", "deeper", "another shape"])
def test_new_head_excuses_nothing_below_it(tmp_path: Path, change: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_vit(tmp_path / "vit")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "layer.0" in name and name.endswith("output.dense.weight"))
    if change == "missing":
        del tensors[name]
    elif change == "deeper":
        tensors[name.replace("layer.0", "layer.1")] = tensors[name].clone()
    else:
        tensors[name] = torch.zeros(3, 3)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AdapterError, match=r"don't fit its config: 1 .*layer"):
        _ = opened(folder, ("x", "y")).model


def test_checkpoint_without_its_own_head_is_refused(tmp_path: Path) -> None:
    """Its config says that it has one: random outputs would be scored."""
    from safetensors.torch import load_file, save_file

    folder = tiny_vit(tmp_path / "vit")
    tensors = load_file(folder / "model.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AdapterError, match="1 missing"):
        _ = opened(folder, PLAIN).model


def test_networks_with_other_heads_are_kept_apart_and_released_together(folders: dict[str, Path]) -> None:
    weights = Weights(resolve(str(folders["vit"]), None, base=Path(), offline=True), device="cpu")
    task = task_of(folders["vit"], "classification", column="image")
    one = load(task, base=Path(), classes=PLAIN, weights=weights)
    other = load(task, base=Path(), classes=("x", "y"), weights=weights)
    assert one.model.config.num_labels == 4
    assert other.model.config.num_labels == 2
    assert one.model.config.num_labels == 4
    network = one.model
    weights.release()
    assert one.model is not network


def test_nothing_known_of_the_classes(folders: dict[str, Path]) -> None:
    """A dry run: the checkpoint's own are taken."""
    adapter = opened(folders["vit"])
    assert adapter.classes == ANIMALS
    assert answers(adapter, [picture(0)])[0].keys() == set(ANIMALS)
    assert opened(folders["vit"], classes={"names": ["x", "y"]}).classes == ("x", "y")


@pytest.mark.parametrize("multilabel", [False, True])
def test_loss_is_the_sum_over_samples(folders: dict[str, Path], multilabel: bool) -> None:
    from torch.nn.functional import binary_cross_entropy, nll_loss

    settings = {"classes": {"names": PLAIN, "multilabel": multilabel}}
    task = task_of(folders["vit"], "classification", column="image", **settings)
    adapter = load(task, base=Path(), classes=PLAIN, device="cpu")
    targets: list[Any] = [["cat", "newt"], [], ["dog"]] if multilabel else ["cat", "newt", "dog"]
    samples = [picture(seed, target) for seed, target in enumerate(targets)]
    batch = adapter.encode(samples, with_targets=True)
    rows = torch.tensor([[answer[name] for name in PLAIN] for answer in answers(adapter, samples)])
    if multilabel:
        truth = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]])
        expected = binary_cross_entropy(rows, truth, reduction="sum")
    else:
        expected = nll_loss(rows.log(), torch.tensor([0, 3, 1]), reduction="sum")
    assert adapter.items(batch) == 3
    loss = adapter.loss(adapter.model, batch)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_loss_goes_to_the_outputs_that_stand_for_the_classes(folders: dict[str, Path]) -> None:
    adapter = opened(folders["vit"], ("newt", "cat"))
    adapter.loss(adapter.model, adapter.encode([picture(0, "newt")], with_targets=True)).backward()
    gradient = adapter.model.classifier.bias.grad
    assert gradient[3] < 0 < gradient[0]
    assert not gradient[1:3].any()


@pytest.mark.parametrize("said_by", ["task", "config"])
def test_several_classes_may_be_right(tmp_path: Path, said_by: str) -> None:
    settings = {"problem_type": "multi_label_classification"} if said_by == "config" else {}
    names = [f"class {number}" for number in range(30)]
    folder = tiny_vit(tmp_path / "vit", names, **settings)
    asked: dict[str, Any] = {"classes": {"multilabel": True}} if said_by == "task" else {}
    [answer] = answers(opened(folder, names, **asked), [picture(0)])
    assert len(answer) == 30
    assert sum(answer.values()) > 1.1
    assert list(answer.values()) == sorted(answer.values(), reverse=True)


def test_only_the_most_probable_are_kept_where_one_is_right(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(30)]
    adapter = opened(tiny_vit(tmp_path / "vit", names), names)
    [answer] = answers(adapter, [picture(0)])
    logits = adapter.model(**adapter.encode([picture(0)]).tensors).logits[0]
    assert list(answer) == [names[number] for number in logits.argsort(descending=True)[:20]]
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize(
    ("target", "reason"), [("cow", "'cow'"), ("newts", "Did you mean 'newt'"), (["cat", "dog"], "2 classes")]
)
def test_target_that_cannot_be_learned(folders: dict[str, Path], target: Any, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        opened(folders["vit"], PLAIN).encode([picture(0, target)], with_targets=True)


@pytest.mark.parametrize(("target", "reason"), [("b", "'b'"), ("clas 0", "Did you mean 'class 0'")])
def test_target_that_only_the_dataset_knows(tmp_path: Path, target: str, reason: str) -> None:
    """Where the dataset has no names for its classes, the checkpoint's own are what it answers with."""
    folder = tiny_vit(tmp_path, ("class 0", "class 1"))
    with pytest.raises(RowError, match=reason):
        opened(folder).request(picture(0, target))
    assert opened(folder).request(picture(0, "class 0")) == {"classify": "image"}


def test_sample_without_its_medium(folders: dict[str, Path]) -> None:
    adapter = opened(folders["vit"], PLAIN)
    with pytest.raises(RowError, match="'0' has no image"):
        adapter.encode([sound(0)])
    with pytest.raises(RowError, match="'0' has no audio"):
        opened(folders["ast"], PLAIN, column="audio").cost(picture(0))


def test_checkpoint_of_another_medium_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(AdapterError, match="classifies image, the task gives it audio"):
        opened(folders["vit"], PLAIN, column="audio")


def test_checkpoint_that_classifies_nothing_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(AdapterError, match="transformers has none of type 'llama'"):
        opened(tmp_path, PLAIN)


def test_clip_shorter_than_a_frame(folders: dict[str, Path]) -> None:
    adapter = opened(folders["ast"], PLAIN, column="audio")
    with pytest.raises(MediaError, match="'7'"):
        adapter.encode([sound(7, seconds=0.01)])


def test_network_that_computes_nan_is_a_failure(folders: dict[str, Path]) -> None:
    adapter = opened(folders["vit"], PLAIN)
    with torch.no_grad():
        adapter.model.classifier.bias[0] = math.nan
    try:
        with pytest.raises(PredictionError, match="NaN"):
            adapter.predict(adapter.encode([picture(0)]))
    finally:
        adapter.weights.release()


def test_masks_fall_on_the_clip_and_not_on_its_padding(folders: dict[str, Path]) -> None:
    import numpy as np

    adapter = opened(folders["ast"], PLAIN, column="audio")
    batch = adapter.encode([sound(0, seconds=0.5), sound(1, seconds=3.0)])
    before = batch.tensors["input_values"].clone()
    padding = before[0, 48:]
    assert (padding == padding[0, 0]).all()
    assert not (before[0, 47] == padding[0, 0]).all()
    settings = SpecAugment(time_masks=40, frequency_masks=0, time_share=0.2)
    adapter.spec_augment(batch, settings, [np.random.default_rng(seed) for seed in range(2)])
    changed = (batch.tensors["input_values"] != before).any(-1)
    assert changed[0, :48].any()
    assert not changed[0, 48:].any()
    assert changed[1, 64:].any()
    other = opened(folders["vit"], PLAIN)
    images = other.encode([picture(0)])
    with pytest.raises(AdapterError, match="no spectrogram"):
        other.spec_augment(images, settings, [])


def test_new_head_cannot_stay_untrained(folders: dict[str, Path]) -> None:
    train: dict[str, Any] = {"train": {"steps": 1, "parts": {"head": "frozen"}}}
    assert opened(folders["vit"], PLAIN, **train).part_states() == {"head": "full"}
    with pytest.raises(AdapterError, match=r"train\.parts\.head"):
        opened(folders["vit"], ("x", "y"), **train).part_states()


def test_dry_run_shows_classes_and_shapes(folders: dict[str, Path]) -> None:
    shown = opened(folders["ast"], PLAIN, column="audio").render(sound(0, "newt"))
    assert list(shown.tokens) == [("newt", True)]
    assert shown.shapes == {"input_values": "float32 (1, 128, 128)"}
    assert shown.notes == {"classes": "4, by name", "window": "1.28 s, the rest of a longer clip isn't heard"}


def test_clip_with_a_head_needs_no_forcing(folders: dict[str, Path], tmp_path: Path) -> None:
    adapter = opened(folders["clip alone"], ("x", "y"))
    assert adapter.weights.head == Head(("x", "y"))
    assert not any("text" in name for name, _ in adapter.model.named_parameters())
