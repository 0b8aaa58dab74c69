"""Which tasks need a column of questions: those whose words ask with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.errors import SpecError
from harness.spec.load import load
from harness.spec.overlay import overlaid
from tests.tasks import task_of

OPTIONS = {"image": "image", "options": "captions", "target": "label"}


def choice(columns: dict[str, str], **sections: Any) -> Any:
    data = {"path": "nowhere", "columns": columns}
    return task_of("nowhere", "multiple_choice", data=data, metrics=["accuracy"], **sections)


def test_a_task_may_ask_the_same_of_every_sample() -> None:
    task = choice(OPTIONS, prompt="Which caption is funnier?\n{options}")
    assert task.inputs == ("options", "image")
    asked = choice({**OPTIONS, "question": "query"}, prompt="Which caption is funnier?\n{options}")
    assert asked.inputs == ("question", "options", "image")


@pytest.mark.parametrize("sections", [{}, {"prompt": "{question}\n{options}"}])
def test_words_that_ask_with_a_column_need_it(sections: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"needs data\.columns to map 'question'"):
        choice(OPTIONS, **sections)


@pytest.mark.parametrize(("name", "said"), [("target", "is the answer"), ("image", "isn't text")])
def test_words_show_neither_the_answer_nor_media(name: str, said: str) -> None:
    with pytest.raises(ValidationError, match=rf"prompt: \{{{name}\}} {said}"):
        choice({**OPTIONS, "question": "query"}, prompt=f"{{question}} {{{name}}}")


def test_a_stages_data_may_lack_a_column_of_the_tasks() -> None:
    own = {"path": "a", "columns": {"image": "image", "id": "id", "target": "answer"}}
    over = {"path": "b", "columns": {"id": None, "messages": "messages"}}
    assert overlaid(own, over)["columns"] == {"image": "image", "messages": "messages"}


TALK = """\
name: talk
data:
  path: ./talk
  columns: {{image: image, messages: conversations{columns}}}
model: {{checkpoint: somebody/chat}}
metrics: [{metric}]
{more}
"""


@pytest.mark.parametrize(
    ("columns", "more", "said"),
    [
        (", target: answer", "", ["data.columns.target: messages stand for it"]),
        (", question: a, target: b", "", ["columns.question: messages", "columns.target: messages"]),
        ("", "prompt: Say it", ["prompt: messages say what is asked"]),
        ("", "kind: multiple_choice", ["kind: messages bring no options"]),
        ("", "prompt: null", []),
        (", hint: hint", "", []),
    ],
)
def test_what_conversations_would_leave_out_is_refused(
    tmp_path: Path, columns: str, more: str, said: list[str]
) -> None:
    file = tmp_path / "talk.yaml"
    kind = "" if more.startswith("kind") else "kind: vqa\n"
    metric = "exact_match" if kind else "accuracy"
    file.write_text(kind + TALK.format(columns=columns, more=more, metric=metric))
    faults = [] if not said else raised(file)
    assert len(faults) == len(said)
    assert all(part in fault for part, fault in zip(said, faults, strict=True))
    if not said:
        assert next(iter(load(file))).task.inputs == ("messages", "image")


def raised(file: Path) -> list[str]:
    """What is wrong with a task file."""
    with pytest.raises(SpecError) as caught:
        list(load(file))
    return [str(fault) for fault in caught.value.faults]


def test_a_prompts_fault_stands_at_its_line(tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_text(TALK.format(columns=", target: answer", metric="exact_match", more="prompt: '{qestion}'"))
    file.write_text(file.read_text().replace("messages: conversations, ", "") + "kind: vqa\n")
    with pytest.raises(SpecError) as caught:
        load(file)
    [fault] = caught.value.faults
    assert (fault.line, fault.key) == (7, "prompt")
    assert fault.message.startswith("{qestion} is neither a parameter nor a column")
