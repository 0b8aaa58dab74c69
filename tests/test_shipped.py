"""Where the shipped folders are found, in a checkout and in a wheel."""

from pathlib import Path

import pytest

from harness import shipped as module
from harness.shipped import KINDS, shipped

CHECKOUT = Path(__file__).parents[1]


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_checkout_they_stand_beside_the_package(kind: str):
    assert shipped(kind) == CHECKOUT / kind
    assert any(shipped(kind).iterdir())


def test_in_a_wheel_they_are_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inside = tmp_path / "harness" / "_shipped" / "tasks"
    inside.mkdir(parents=True)
    monkeypatch.setattr(module, "_PACKAGE", tmp_path / "harness")
    assert shipped("tasks") == inside


def test_anything_else_is_a_mistake():
    with pytest.raises(ValueError, match="recipes"):
        shipped("recipes")
