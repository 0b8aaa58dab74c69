"""How somebody without the harness loads a fine-tune and has it answer: the code in its model card.

What a family adds is in `answers`; of one that isn't there, the code ends where the model is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from harness.models.base import Adapter
from harness.models.trained import EXTRA_PARAMETERS
from harness.training.answers import answer

THIS, BASE = "THIS_REPOSITORY", "PATH_TO_BASE"
"""What stands in the code for the fine-tune, and for a base that is on no Hub."""


def usage(base: Mapping[str, Any], dtype: str, adapter: Adapter, *, whole: bool, extra: bool) -> str:
    """The card's section: code for transformers or PEFT, the harness's command, what the capitals mean.

    `base` is the manifest's. `whole`: the fine-tune is a checkpoint. `extra`: it has a sidecar.
    """
    on_hub = base.get("revision") is not None
    name = str(base.get("checkpoint")) if on_hub else BASE
    start = THIS if whole else name
    command = f"harness eval TASK --model {start}" + ("" if whole else f" --adapter {THIS}")
    meanings = [f"`{THIS}` is this folder, or its id on the Hub."]
    if not whole and not on_hub:
        meanings.append(_where(base))
    if extra:
        meanings.append(f"`{EXTRA_PARAMETERS}` holds trained parameters that PEFT doesn't load by itself.")
    revision = base.get("revision") if on_hub and not whole else None
    code = _loading(start, revision, dtype, adapter, whole=whole, extra=extra)
    return "\n\n".join(
        [
            " ".join(meanings),
            f"With {'transformers' if whole else 'PEFT'}:",
            "```python\n" + "\n".join(code) + "\n```",
            f"With mm-harness:\n\n```\n{command}\n```",
        ]
    )


def base_name(checkpoint: str, revision: str | None) -> str:
    """A base checkpoint's Hub id, or the name of its folder: paths say something about one machine only."""
    return checkpoint if revision is not None else PurePath(checkpoint).name or "checkpoint"


def _where(base: Mapping[str, Any]) -> str:
    """A local base's name says nothing to others, and could be that of something else on the Hub."""
    digest = base.get("digest")
    known = f"; the digest of its files begins with `{str(digest)[:12]}`" if digest else ""
    name = base_name(str(base.get("checkpoint", "")), None)
    return f"`{BASE}` is your copy of the base, a folder that was called `{name}` in training{known}."


def _loading(
    start: str, revision: str | None, dtype: str, adapter: Adapter, *, whole: bool, extra: bool
) -> list[str]:
    """The precision is the one that was trained in: a checkpoint's own may be half of that."""
    auto, answers = getattr(adapter, "auto_class", "AutoModel"), answer(adapter)
    pinned = f', revision="{revision}"' if revision else ""
    code = [*answers.imports, "import torch"]
    code += [] if whole else ["from peft import PeftModel"]
    code += ["from safetensors.torch import load_file"] if extra else []
    code += [f"from transformers import {auto}, {answers.processor}", ""]
    head = None if whole else adapter.weights.head
    code += [f"labels = {json.dumps(head.labels, ensure_ascii=False)}"] if head else []
    new = ", id2label=dict(enumerate(labels)), ignore_mismatched_sizes=True" if head else ""
    code += [f'model = {auto}.from_pretrained("{start}"{pinned}, dtype=torch.{dtype}{new})']
    if extra:
        code += [f'model.load_state_dict(load_file("{THIS}/{EXTRA_PARAMETERS}"), strict=False)']
    if not whole:
        code += [f'model = PeftModel.from_pretrained(model, "{THIS}").eval()']
    return [*code, f'processor = {answers.processor}.from_pretrained("{start}"{pinned})', *answers.lines]
