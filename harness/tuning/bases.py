"""The models that a command's cells start from: weights are shared, and one network is loaded at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import models
from harness.errors import AdapterError
from harness.models.base import Adapter
from harness.spec.digest import digest_of
from harness.spec.load import ResolvedTask
from harness.spec.schema import Model


class Bases:
    """Base models by their settings. `adapter` is a trained one to put into each of them."""

    def __init__(self, *, device: str, offline: bool, adapter: str | None = None) -> None:
        self._device = device
        self._offline = offline
        self._adapter = adapter
        self._loaded: dict[str, models.Weights] = {}
        self._found: dict[str, models.Checkpoint] = {}

    def of(self, cell: ResolvedTask) -> Adapter:
        """The cell's model, in the precision that a training of it would have.

        Raises AdapterError when it can't do what the task asks, RemoteError when it can't be fetched.
        """
        model = cell.task.model if self._adapter else self._with_precision(cell)
        key = digest_of(model.model_dump(mode="json"))
        for other in self._loaded.keys() - {key}:
            self._loaded[other].release()
        if key not in self._loaded:
            self._loaded[key] = self._weights(model, cell.base)
        return with_weights(cell, self._loaded[key])

    def _weights(self, model: Model, base: Path) -> models.Weights:
        if models.is_hosted(model):
            return self._endpoint(model)
        adapter = None
        if self._adapter is not None:
            adapter = models.resolve_adapter(self._adapter, base=Path.cwd(), offline=self._offline)
        return models.Weights(
            self._checkpoint(model, base), model.dtype, self._device, model.attention, adapter
        )

    def _endpoint(self, model: Model) -> models.Endpoint:
        if self._adapter is not None:
            raise AdapterError(
                f"{model.checkpoint} runs on a server, so no adapter can be put into it",
                "Leave out --adapter. vLLM serves an adapter as a model with a name of its own.",
            )
        return models.Endpoint.of(model, offline=self._offline)

    def _with_precision(self, cell: ResolvedTask) -> Model:
        """The model section with the one precision that base, training and fine-tune share.

        Named by the task; else float32 on a CPU. On a GPU float32 when all weights are trained, and for LoRA
        the checkpoint's own, with bfloat16 for float16, whose range is too small to train in.
        """
        model, train = cell.task.model, cell.task.train
        if train is None or model.dtype != "auto" or models.is_hosted(model):
            return model
        own = models.Weights(self._checkpoint(model, cell.base), "auto", self._device).dtype
        chosen = "float32" if train.method == "full" else {"float16": "bfloat16"}.get(own, own)
        return model.model_copy(update={"dtype": chosen})

    def _checkpoint(self, model: Model, base: Path) -> models.Checkpoint:
        key = digest_of([model.checkpoint, model.revision])
        if key not in self._found:
            self._found[key] = models.resolve(
                model.checkpoint, model.revision, base=base, offline=self._offline
            )
        return self._found[key]


def with_weights(
    cell: ResolvedTask, weights: models.Weights, classes: Sequence[str] | None = None
) -> Adapter:
    """These weights, ready for a cell; `classes` are those of its dataset, where that is known."""
    return models.load(cell.task, base=cell.base, weights=weights, classes=classes)
