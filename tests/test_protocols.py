"""Facts of protocols that shipped tasks hold: how many templates and classes, none of them twice."""

import pytest

from harness.spec.find import shipped_tasks
from harness.spec.load import load
from harness.spec.schema import Task

TEMPLATES = {
    **dict.fromkeys(("imagenet1k", "imagenet_v2", "imagenet_a", "imagenet_r", "imagenet_sketch"), 80),
    **dict.fromkeys(("cifar10", "cifar100"), 18),
    "caltech101": 34,
    "stanford_cars": 8,
    "dtd": 8,
    "svhn": 6,
    "resisc45": 4,
    "eurosat": 3,
    "gtsrb": 3,
    "fgvc_aircraft": 2,
    "stl10": 2,
    "sun397": 2,
    "pcam": 2,
    "food101": 1,
    "oxford_pets": 1,
    "mnist": 1,
}
CLASSES = {"cifar10": 10, "cifar100": 100, "svhn": 10, "stl10": 10, "mnist": 10, "pcam": 2, "esc50": 50}


def task(name: str) -> Task:
    return load(dict(shipped_tasks())[name])[0].task


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_task_has_its_protocols_templates(name: str):
    classes = task(name).classes
    assert classes is not None
    assert len(set(classes.templates)) == len(classes.templates) == TEMPLATES[name]


@pytest.mark.parametrize("name", CLASSES)
def test_a_task_that_names_its_classes_names_all(name: str):
    classes = task(name).classes
    assert classes is not None
    assert classes.names is not None
    assert len(classes.names) == CLASSES[name]


def test_esc50s_prompt_and_folds():
    classes = task("esc50").classes
    assert classes is not None
    assert classes.templates == ("This is a sound of {}.",)
    assert [cell.task.params["fold"] for cell in load(dict(shipped_tasks())["esc50_folds"])] == [
        1,
        2,
        3,
        4,
        5,
    ]
