"""What models read: the prompt of every shipped task of questions and captions, for families of each style.

The files in prompts/ are written by `GOLDEN=write pytest tests/golden`; read their difference before it is
committed. A prompt stands there as the adapter renders it, before the processor puts image tokens in the
places of images, and a line break is added at its end.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.models import Adapter, Weights, load
from harness.models.openai import OpenAI
from harness.spec.schema import Model, Task
from harness.types import Sample
from tests.golden.samples import TASKS, first_sample
from tests.golden.templates import TEMPLATES
from tests.models.tiny_blip import tiny_blip
from tests.models.tiny_chat import tiny_chat

# The template of LLaVA-NeXT on Mistral writes "<\\s>" for "</s>", which Jinja's decoder warns of.
pytestmark = pytest.mark.filterwarnings("ignore:.*invalid escape sequence:DeprecationWarning")

PROMPTS = Path(__file__).with_name("prompts")
BLIP_TASK = "coco_captions_blip"
"""The one whose words are for another family."""
CHAT_TASKS = sorted(set(TASKS) - {BLIP_TASK})
CASES = [
    *((task, family) for family in TEMPLATES for task in CHAT_TASKS),
    *((task, "openai") for task in CHAT_TASKS if TASKS[task].mode == "generate"),
    (BLIP_TASK, "blip"),
]
Asked = Callable[[Task], Adapter]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


@pytest.fixture(scope="module")
def samples(root: Path) -> Mapping[str, Sample]:
    return {name: first_sample(name, root / "data") for name in TASKS}


@pytest.fixture(scope="module")
def families(root: Path) -> Mapping[str, Asked]:
    """What runs a task, by family; each checkpoint is made once."""
    found: dict[str, Asked] = {"openai": _hosted}
    for model_type, template in TEMPLATES.items():
        folder = tiny_chat(model_type, root / model_type)
        if template is not None:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        found[model_type] = _local(folder, root)
    return found | {"blip": _local(tiny_blip(root / "blip"), root)}


def _local(folder: Path, base: Path) -> Asked:
    held: list[Weights] = []

    def asked(task: Task) -> Adapter:
        model = Model(checkpoint=str(folder))
        made = load(
            task.model_copy(update={"model": model}), base=base, device="cpu", weights=next(iter(held), None)
        )
        held[:] = [made.weights]
        return made

    return asked


def _hosted(task: Task) -> Adapter:
    return load(task.model_copy(update={"model": Model(checkpoint="gpt", family="openai")}), base=Path())


@pytest.mark.parametrize(("task", "family"), CASES)
def test_a_prompt_is_what_it_was(
    families: Mapping[str, Asked], samples: Mapping[str, Sample], task: str, family: str
) -> None:
    text = shown(families[family](TASKS[task]), samples[task])
    file = PROMPTS / f"{task}.{family}.txt"
    if os.environ.get("GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"{file.name}: if that is right, GOLDEN=write pytest"


def test_no_file_is_left_of_what_is_gone() -> None:
    assert {file.name for file in PROMPTS.iterdir()} == {f"{task}.{family}.txt" for task, family in CASES}


def shown(adapter: Adapter, sample: Sample) -> str:
    """A sample's prompt as text; below it the answers that are compared, where options are."""
    if isinstance(adapter, OpenAI):
        return _json(adapter.messages(sample))
    request: Any = adapter.request(sample)
    if isinstance(request, str):
        return f"{request}\n"
    if "options" in request:
        answers = "".join(f"{answer!r}\n" for answer in request["options"])
        return f"{request['prompt']}\n---- answers to choose from\n{answers}"
    return f"{request['words']}\n"


def _json(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return re.sub(r"(data:image/\w+;base64,)[\w+/=]+", r"\1...", text)
