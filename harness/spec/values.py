"""Kinds of values that several sections of a task file share."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, FiniteFloat

Positive: TypeAlias = Annotated[FiniteFloat, Field(gt=0)]
Share: TypeAlias = Annotated[FiniteFloat, Field(ge=0, le=1)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Decibels: TypeAlias = Annotated[FiniteFloat, Field(ge=-200, le=200)]
PartState: TypeAlias = Literal["frozen", "lora", "full"]
Schedule: TypeAlias = Literal["linear", "cosine", "constant"]
