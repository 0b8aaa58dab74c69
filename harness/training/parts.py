"""Which part of a network a module belongs to, and what fine-tuning does with that part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.errors import AdapterError
from harness.models.base import AdapterInfo
from harness.registry import near
from harness.spec.training import PartState, Train

REST = "rest"
"""What no part of the family covers."""


@dataclass(frozen=True)
class Parts:
    """`prefixes`: part name to the prefixes of its modules; `states`: part name to frozen, lora or full."""

    prefixes: Mapping[str, tuple[str, ...]]
    states: Mapping[str, str]

    @classmethod
    def of(
        cls, info: AdapterInfo, train: Train, defaults: Mapping[str, PartState] = MappingProxyType({})
    ) -> Parts:
        """The parts of a family as a task wants them treated: as the method says, unless it says otherwise.

        `defaults` are the states of parts of which the task says nothing (`Adapter.part_states`). Raises
        AdapterError for a part that the family doesn't have, and for LoRA where the method is full.
        """
        for name, state in train.parts.items():
            if name not in info.parts:
                hint = near(name, info.parts) or f"It has: {', '.join(info.parts) or 'no parts'}."
                raise AdapterError(f"train.parts: family '{info.family}' has no part '{name}'", hint)
            if train.method == "full" and state == "lora":
                raise AdapterError(
                    f"train.parts.{name}: a part can't take LoRA when the method is full",
                    "Set train.method to lora, and the other parts to full or frozen.",
                )
        states = dict.fromkeys([*info.parts, REST], train.method) | {**defaults} | train.parts
        return cls(dict(info.parts), states)

    def part(self, name: str) -> str:
        """The part that a module or parameter of this full name is in: the one with the longest prefix.

        An empty prefix is one of every name: that part is all that no other one covers.
        """
        found = [
            (len(prefix), part)
            for part, prefixes in self.prefixes.items()
            for prefix in prefixes
            if not prefix or f"{name}.".startswith(f"{prefix}.")
        ]
        return max(found, default=(0, REST))[1]

    def state(self, name: str) -> str:
        """What is done with a module or parameter of this full name: frozen, lora or full."""
        return self.states[self.part(name)]
