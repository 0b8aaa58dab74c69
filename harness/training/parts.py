"""Which part of a network a module belongs to, and what fine-tuning does with that part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.errors import AdapterError
from harness.models.base import AdapterInfo
from harness.registry import near
from harness.spec.training import Train
from harness.spec.values import PartState

REST = "rest"
"""What no part of the family covers."""


@dataclass(frozen=True)
class Parts:
    """`prefixes`: part name to the prefixes of its modules; `states`: part name to frozen, lora or full;
    `unread`: prefixes of what is frozen whatever its part is."""

    prefixes: Mapping[str, tuple[str, ...]]
    states: Mapping[str, PartState]
    unread: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, info: AdapterInfo, train: Train, defaults: Mapping[str, PartState] = MappingProxyType({})
    ) -> Parts:
        """The parts of a family as a task wants them treated: as the method says, unless it says otherwise.
        Over all stages, where there are any: as the stage has it that trains it.

        `defaults` are the states of parts of which the task says nothing (`Adapter.part_states`). Raises
        AdapterError for a part that the family doesn't have, for LoRA where the method is full, and for a
        part that one stage gives LoRA and another trains in full.
        """
        states: dict[str, PartState] = {}
        for own in cls.staged(info, train, defaults).values():
            for name, state in own.states.items():
                if {states.get(name), state} == {"lora", "full"}:
                    raise AdapterError(
                        f"train.stages: part '{name}' can't be lora in one stage and full in another",
                        "Leave it out of the parts of a stage that isn't to train it.",
                    )
                states[name] = states.get(name, state) if state == "frozen" else state
        return cls(dict(info.parts), states, info.unread)

    @classmethod
    def staged(
        cls, info: AdapterInfo, train: Train, defaults: Mapping[str, PartState] = MappingProxyType({})
    ) -> dict[str, Parts]:
        """The parts in each stage, by its name. Where a stage names parts, all others are frozen."""
        found = {}
        for stage, own in zip(train.stages or (None,), train.staged.values(), strict=True):
            others = stage is not None and stage.parts is not None
            _check(info, own, "train.parts" if stage is None else f"train.stages ({stage.name}): parts")
            everything = [*info.parts, REST]
            frozen: dict[str, PartState] = dict.fromkeys(everything, "frozen")
            as_told: dict[str, PartState] = {**dict.fromkeys(everything, train.method), **defaults}
            states = (frozen if others else as_told) | own.parts
            found[stage.name if stage else ""] = cls(dict(info.parts), states, info.unread)
        return found

    def part(self, name: str) -> str:
        """The part that a module or parameter of this full name is in: the one with the longest prefix.

        An empty prefix is one of every name: that part is all that no other one covers.
        """
        found = [
            (len(prefix), part)
            for part, prefixes in self.prefixes.items()
            for prefix in prefixes
            if _begins(name, prefix)
        ]
        return max(found, default=(0, REST))[1]

    def state(self, name: str) -> str:
        """What is done with a module or parameter of this full name: frozen, lora or full."""
        if any(_begins(name, prefix) for prefix in self.unread):
            return "frozen"
        return self.states[self.part(name)]


def _begins(name: str, prefix: str) -> bool:
    return not prefix or f"{name}.".startswith(f"{prefix}.")


def _check(info: AdapterInfo, train: Train, where: str) -> None:
    for name, state in train.parts.items():
        if name not in info.parts:
            hint = near(name, info.parts) or f"It has: {', '.join(info.parts) or 'no parts'}."
            raise AdapterError(f"{where}: family '{info.family}' has no part '{name}'", hint)
        if train.method == "full" and state == "lora":
            raise AdapterError(
                f"{where}.{name}: a part can't take LoRA when the method is full",
                "Set train.method to lora, and the other parts to full or frozen.",
            )
