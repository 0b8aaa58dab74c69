"""A chat checkpoint's processor, without its part for videos where that can't be loaded.

transformers' video processors need torchvision; images and texts don't.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.models.weights import quiet

if TYPE_CHECKING:
    from harness.models.weights import Weights

VIDEO = "video_processor"
PARTS = {"image_processor": "AutoImageProcessor", "tokenizer": "AutoTokenizer"}


class NoVideos(dict[str, Any]):
    """In the place of a video processor: processors write it down, and SmolVLM's asks it for these."""

    num_frames = None
    fps = None


def processor_of(weights: Weights) -> Any:
    """The checkpoint's own processor. Raises AdapterError like `Weights.processor`."""
    from transformers.utils import is_torchvision_available

    kind = None if is_torchvision_available() else _kind(weights.config.model_type)
    if kind is None or VIDEO not in kind.get_attributes():
        return weights.processor
    return _without_video(kind, weights)


def _kind(model_type: str) -> Any:
    """The class of a type's processor; None where transformers has none."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    return getattr(transformers, PROCESSOR_MAPPING_NAMES.get(model_type) or "", None)


def _without_video(kind: Any, weights: Weights) -> Any:
    class Seeing(kind):
        def check_argument_for_proper_class(self, name: str, part: Any) -> Any:
            return None if name == VIDEO else super().check_argument_for_proper_class(name, part)

    names = kind.get_attributes()
    parts = [NoVideos() if name == VIDEO else weights.preprocessor(PARTS[name]) for name in names]
    with quiet():
        settings, _ = kind.get_processor_dict(weights.checkpoint.folder, local_files_only=True)
        return Seeing.from_args_and_dict(parts, settings)
