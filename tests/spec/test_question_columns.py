"""Which tasks need a column of questions: those whose words ask with it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

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
