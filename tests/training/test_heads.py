"""A head that was trained is the head that is loaded: beside its base, in a checkpoint of its own, merged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import models
from harness.errors import AdapterError
from harness.models import Adapter, TrainedAdapter
from harness.models.classifier import Classifier
from harness.spec.training import Train
from harness.training.export import export
from harness.training.method import prepare, preview
from tests.models.tiny_classifier import (
    picture,
    sound,
    tiny_ast,
    tiny_convnext,
    tiny_dual,
    tiny_resnet,
    tiny_swin,
    tiny_vit,
    tiny_vit_without_head,
)
from tests.training.networks import open_checkpoint
from tests.training.tuned import PLAIN, asked, opened, tuned

MAKERS: dict[str, Callable[[Path], Path]] = {
    "vit": tiny_vit,
    "vit without a head": tiny_vit_without_head,
    "swin": tiny_swin,
    "resnet": tiny_resnet,
    "ast": tiny_ast,
    "clip": tiny_dual,
    "siglip": lambda folder: tiny_dual(folder, "Siglip"),
}
NEW = ("x", "y", "z")
METHODS = [(name, method) for name in MAKERS for method in ("lora", "full")]
METHODS.remove(("resnet", "lora"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {name: make(root / name.replace(" ", "-")) for name, make in MAKERS.items()}


def column(name: str) -> str:
    return "audio" if name == "ast" else "image"


def said(adapter: Adapter) -> torch.Tensor:
    """Probabilities of the classes, in their order."""
    assert isinstance(adapter, Classifier)
    samples = [sound(seed) if adapter.modality == "audio" else picture(seed) for seed in range(3)]
    rows = [output.output for output in adapter.predict(adapter.encode(samples))]
    return torch.tensor([[row[name] for name in adapter.classes] for row in rows])  # type: ignore[index, call-overload]


@pytest.mark.parametrize(("name", "method"), METHODS)
@pytest.mark.parametrize("classes", [PLAIN, NEW], ids=["its own classes", "new classes"])
def test_what_is_saved_says_the_same_when_it_is_loaded(
    folders: dict[str, Path], tmp_path: Path, name: str, method: str, classes: tuple[str, ...]
) -> None:
    task = asked(folders[name], column=column(name))
    made = tuned(tmp_path / "tuned", task, classes, method=method)
    before, base = said(made), said(opened(task, classes))
    assert not torch.allclose(before, base, atol=1e-3)
    if method == "lora":
        again = opened(task, classes, trained=tmp_path / "tuned")
    else:
        again = opened(asked(tmp_path / "tuned", column=column(name)), classes)
        assert again.weights.head is None  # it is the checkpoint's own now
    assert torch.equal(said(again), before)
    assert "untrained_head" not in again.predict(again.encode([_sample(name)]))[0].extras


def _sample(name: str) -> Any:
    return sound(0) if name == "ast" else picture(0)


def test_what_is_saved_is_the_same_every_time(folders: dict[str, Path], tmp_path: Path) -> None:
    task = asked(folders["vit"])
    for name, method in (("a", "lora"), ("b", "lora"), ("c", "full"), ("d", "full")):
        tuned(tmp_path / name, task, NEW, method=method)
    digests = [json.loads((tmp_path / name / "harness.json").read_text())["digest"] for name in "abcd"]
    assert digests[0] == digests[1] == TrainedAdapter("a", tmp_path / "a").digest()
    assert digests[2] == digests[3] == open_checkpoint(tmp_path / "c").digest()


def test_classes_that_agree_in_number_only_are_saved_by_their_new_names(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    others = tuple(f"other {number}" for number in range(len(PLAIN)))
    made = tuned(tmp_path / "tuned", asked(folders["vit"], column="image"), others, method="full")
    saved = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert list(saved["id2label"].values()) == list(others)
    again = opened(asked(tmp_path / "tuned", column="image"), others[::-1])  # by name now
    torch.testing.assert_close(said(again), said(made).flip(-1))


def test_full_checkpoint_is_one_that_anybody_can_use(folders: dict[str, Path], tmp_path: Path) -> None:
    """Its config has the classes, and says that a CLIP's tower became a classifier."""
    from transformers import AutoModelForImageClassification

    made = tuned(tmp_path / "tuned", asked(folders["clip"]), NEW, method="full")
    config = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert config["id2label"] == {"0": "x", "1": "y", "2": "z"}
    assert config["architectures"] == ["CLIPForImageClassification"]
    assert models.family_of(open_checkpoint(tmp_path / "tuned")) == "classifier"
    network, report = AutoModelForImageClassification.from_pretrained(
        tmp_path / "tuned", output_loading_info=True
    )
    assert not any(report[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    [answer] = torch.softmax(network.eval()(**made.encode([picture(0)]).tensors).logits, -1)
    assert answer.tolist() == pytest.approx(said(made)[0].tolist(), abs=1e-6)


@pytest.mark.parametrize("multilabel", [False, True])
def test_saved_config_says_how_many_classes_may_be_right(
    folders: dict[str, Path], tmp_path: Path, multilabel: bool
) -> None:
    task = asked(folders["vit"], classes={"multilabel": multilabel})
    tuned(tmp_path / "tuned", task, NEW, method="full")
    again = opened(asked(tmp_path / "tuned"), NEW)
    assert isinstance(again, Classifier)
    assert again.multilabel is multilabel


def test_adapter_knows_its_classes_by_name(folders: dict[str, Path], tmp_path: Path) -> None:
    """Another dataset lists them in another order; a dry run knows none."""
    task = asked(folders["vit"])
    tuned(tmp_path / "tuned", task, NEW)
    own = opened(task, trained=tmp_path / "tuned")
    turned = opened(task, ("z", "x", "y"), trained=tmp_path / "tuned")
    assert isinstance(own, Classifier)
    assert own.classes == NEW
    torch.testing.assert_close(said(turned), said(own)[:, [2, 0, 1]])
    with pytest.raises(AdapterError, match="was trained for 3 other classes than the task's 5"):
        opened(task, tuple("abcde"), trained=tmp_path / "tuned")


def test_adapter_without_a_manifest_fits_the_classes_of_the_task(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    task = asked(folders["vit"])
    before = said(tuned(tmp_path / "tuned", task, NEW))
    (tmp_path / "tuned" / "harness.json").unlink()
    assert torch.equal(said(opened(task, NEW, trained=tmp_path / "tuned")), before)
    with pytest.raises(AdapterError, match="doesn't fit"):
        said(opened(task, ("x", "y"), trained=tmp_path / "tuned"))


@pytest.mark.parametrize("name", ["vit", "ast", "clip"])
@pytest.mark.parametrize("classes", [PLAIN, NEW], ids=["its own classes", "new classes"])
def test_merged_export_has_the_trained_head(
    folders: dict[str, Path], tmp_path: Path, name: str, classes: tuple[str, ...]
) -> None:
    task = asked(folders[name], column=column(name))
    before = said(tuned(tmp_path / "tuned", task, classes))
    parity = export(opened(task, classes, trained=tmp_path / "tuned"), tmp_path / "out")
    assert max(parity.merged, parity.reloaded) <= 1e-5
    again = opened(asked(tmp_path / "out", column=column(name)), classes)
    torch.testing.assert_close(said(again), before, rtol=0, atol=1e-5)
    assert again.weights.head is None


@pytest.mark.parametrize("name", MAKERS)
def test_parts_are_the_head_and_all_below_it(folders: dict[str, Path], name: str) -> None:
    adapter = opened(asked(folders[name], column=column(name)), NEW)
    train = Train(steps=1, method="full", parts={"backbone": "frozen"})
    seen = preview(adapter.weights, adapter.auto_class, adapter.info, train, adapter.part_states())  # type: ignore[attr-defined]
    done = prepare(adapter.model, adapter.info, train, adapter.part_states())
    assert seen.parts == done.parts
    assert [(row.name, row.state) for row in done.parts] == [("backbone", "frozen"), ("head", "full")]
    trained = {name for name, value in done.network.named_parameters() if value.requires_grad}
    assert trained
    assert all(name.startswith("classifier") for name in trained)


def test_lora_is_in_the_attention_and_the_head_beside_it(folders: dict[str, Path]) -> None:
    adapter = opened(asked(folders["vit"]), NEW)
    tuning = prepare(adapter.model, adapter.info, Train(steps=1), adapter.part_states())
    assert {row.target: row.modules for row in tuning.targets} == {"q_proj": 1, "v_proj": 1}
    assert {row.name: row.state for row in tuning.parts} == {"backbone": "lora", "head": "full"}


@pytest.mark.parametrize("make", [tiny_resnet, tiny_convnext], ids=["resnet", "convnext"])
def test_convolutions_take_no_lora(make: Callable[[Path], Path], tmp_path: Path) -> None:
    adapter = opened(asked(make(tmp_path / "base")), NEW)
    with pytest.raises(AdapterError, match="matches no linear layer") as caught:
        prepare(adapter.model, adapter.info, Train(steps=1), adapter.part_states())
    assert "they are the family's own: " in caught.value.hint
    assert "train.method: full" in caught.value.hint


def test_another_base_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    tuned(tmp_path / "tuned", asked(folders["vit"]), NEW)
    other = Path(shutil.copytree(folders["swin"], tmp_path / "other"))
    with pytest.raises(AdapterError, match="was not trained on"):
        _ = opened(asked(other), NEW, trained=tmp_path / "tuned").model
