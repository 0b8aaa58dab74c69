"""The `classes:` and `probe:` sections: what there is to tell apart, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, field_validator

from harness.spec.section import Section

PLACE = "{}"
"""Where a template has the name of the class."""


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """Names of which none comes twice: one that does gets its number ("missile [744]"), as in ImageNet's."""
    counts = Counter(names)
    return tuple(f"{name} [{number}]" if counts[name] > 1 else name for number, name in enumerate(names))


def prompts(names: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Each class's prompts, one for each template, with its name as it was before it was told apart."""
    plain = [name.removesuffix(f" [{number}]") for number, name in enumerate(names)]
    return [[template.replace(PLACE, name) for template in templates] for name in plain]


class Classes(Section):
    """The closed list of classes that targets come from, and how a dual encoder is asked about them."""

    names: tuple[str, ...] | None = Field(default=None, min_length=2)
    """Names in the order of their numbers. When not given: those of the dataset's column of classes."""
    names_file: str | None = None
    """A file of the dataset with a name on each line, in the order of their numbers (classnames.txt)."""
    templates: tuple[str, ...] = Field(default=(PLACE,), min_length=1)
    """Prompts with {} in place of the class; a class is the mean of all of them (Radford et al. 2021)."""
    multilabel: bool = False
    """Several classes may be right at once; targets are lists of names, possibly empty."""
    scoring: Literal["checkpoint", "softmax", "sigmoid"] = "checkpoint"
    """How similarities become probabilities: as the checkpoint was trained, or one of the two."""

    @field_validator("names")
    @classmethod
    def _told_apart(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name, count in Counter(names or ()).items():
            if not name.strip():
                raise ValueError("a class has no name")
            if name != name.strip():
                raise ValueError(f"'{name}' begins or ends with a space, which no label does")
            if count > 1:
                raise ValueError(f"{count} classes are called '{name}'")
        return names

    @field_validator("templates")
    @classmethod
    def _has_a_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count(PLACE) != 1:
                raise ValueError(f"'{template}' needs exactly one {PLACE}, where the class's name goes")
        return templates


class Probe(Section):
    """A logistic regression on frozen embeddings."""

    shots: Annotated[int, Field(ge=1)] | None = None
    """Training samples of each class, drawn with the seed; all when not given."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draw."""
    strengths: tuple[Annotated[FiniteFloat, Field(gt=0)], ...] = Field(
        default=tuple(10.0**power for power in range(-4, 5)), min_length=1
    )
    """Inverse strengths of the L2 penalty (scikit-learn's C) of which the best on the validation split is
    taken."""
