"""What a mapping of a task file is: frozen, unknown keys refused, fields explained by docstrings."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

UNSCORED: dict[str, Any] = {"scored": False}
"""Marks a field that doesn't change the outcome, so that it stays out of digests."""


class Section(BaseModel):
    """A mapping of the task file."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )
