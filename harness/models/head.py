"""A classification head for other classes than the checkpoint's own: zero, until something is learned.

Zero weights say exactly chance for every class, where random ones would say something about the draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

MODULES = (
    "classifier",
    "cls_classifier",
    "distillation_classifier",
    "classifier_distill",
    "projector",
    "head",
    "score",
    "fc",
)
"""What transformers' classifiers call their head, at the top of the network."""
NEVER_USED = frozenset({"pooler", "mask_token", "head"})
"""Of a tower that classifies: what only other purposes need, left over in their checkpoints."""


@dataclass(frozen=True)
class Head:
    """The classes of a new head, in the order of its outputs; `multilabel` lets several be right at once."""

    labels: tuple[str, ...]
    multilabel: bool = False

    def settings(self) -> dict[str, Any]:
        """As a transformers config says it."""
        return {
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: number for number, label in enumerate(self.labels)},
            "problem_type": f"{'multi' if self.multilabel else 'single'}_label_classification",
        }

    def to_json(self) -> dict[str, Any]:
        """As a manifest says it."""
        return {"labels": list(self.labels), "multilabel": self.multilabel}

    @classmethod
    def from_json(cls, value: Any) -> Head | None:
        """What `to_json` made; None for anything else."""
        if not isinstance(value, dict) or not isinstance(value.get("labels"), list):
            return None
        return cls(tuple(map(str, value["labels"])), bool(value.get("multilabel")))


@contextmanager
def always_the_same() -> Iterator[None]:
    """Draw the same numbers each time: some heads have a layer before their outputs, which can't be zero."""
    import torch

    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        yield


def renew(model: Any, report: Mapping[str, Any]) -> dict[str, Any]:
    """Set to zero what the checkpoint lacks of the outputs of a new head, in place.

    `report` is transformers' own of the loading. Returns it without what a new head explains: its parameters
    that are missing or of another shape, and weights of towers that this network doesn't have.
    """
    import torch
    from torch import nn

    lacking = {_name(key) for what in ("missing_keys", "mismatched_keys") for key in report.get(what) or ()}
    for name, module in model.named_modules():
        fresh = {f"{name}.{own}" for own, _ in module.named_parameters(recurse=False)} & lacking
        answers = isinstance(module, nn.Linear) and module.out_features == model.config.num_labels
        if fresh and answers and _in_head(name):
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.zero_()
    return dict(report) | {
        "missing_keys": [key for key in report.get("missing_keys") or () if not _in_head(key)],
        "mismatched_keys": [key for key in report.get("mismatched_keys") or () if not _in_head(_name(key))],
        "unexpected_keys": [key for key in report.get("unexpected_keys") or () if not _elsewhere(model, key)],
    }


def _name(key: Any) -> str:
    """A mismatched key comes with its two shapes."""
    return str(key[0] if isinstance(key, tuple) else key)


def _in_head(name: str) -> bool:
    return name.partition(".")[0] in MODULES


def _elsewhere(model: Any, key: str) -> bool:
    """Whether weights are of a tower that this network doesn't have, or of what it never uses.

    Anything else that is left over says that the config is another network's.
    """
    towers = {name for name, _ in (*model.named_children(), *model.base_model.named_children())}
    first, *inner = key.split(".")
    return _in_head(key) or first not in towers or not NEVER_USED.isdisjoint(inner)
