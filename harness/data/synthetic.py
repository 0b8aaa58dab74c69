"""Datasets that are made on the spot: `path: synthetic:NAME`, with settings under `options`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.data.rows import Opened, Request, Rows
from harness.errors import DataError
from harness.registry import BUILDERS, near

PREFIX = "synthetic:"


class Options(BaseModel):
    """A builder's settings."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


O_contra = TypeVar("O_contra", bound=Options, contravariant=True)


class Builder(ABC, Generic[O_contra]):
    """Makes a split's rows. The same options and split give the same bytes."""

    options_type: ClassVar[type[Options]]

    @classmethod
    @abstractmethod
    def rows(cls, options: O_contra, split: str) -> Rows:
        """The rows of `split`. Raises DataError when the options can't be met."""


def open_synthetic(request: Request) -> Opened:
    """The rows of a builder. Raises UsageError for an unknown name, DataError for wrong options."""
    if request.name is not None:  # of a join: the schema refuses the task's own
        raise DataError(f"{request.path} has no configurations, but '{request.name}' is asked for")
    builder = BUILDERS.get(request.path.removeprefix(PREFIX))
    return Opened(builder.rows(_options(builder, request), request.split))


def _options(builder: Any, request: Request) -> Options:
    options_type: type[Options] = builder.options_type
    try:
        return options_type.model_validate(dict(request.options))
    except ValidationError as error:
        known = list(options_type.model_fields)
        faults = [_fault(detail, known) for detail in error.errors()]
        raise DataError("\n".join(faults), f"Options of {request.path}: {', '.join(known)}.") from error


def _fault(detail: Any, known: list[str]) -> str:
    key = str(detail["loc"][0]) if detail["loc"] else ""  # the rest names a union's branch
    if detail["type"] == "extra_forbidden":
        return f"data.options.{key}: there is no such option. {near(key, known)}".rstrip()
    return f"data.options.{key}: {detail['msg'].removeprefix('Value error, ')}"
