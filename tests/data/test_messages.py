"""Conversations: which image stands where, and what is refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from PIL import Image as Pillow

from harness.data.samples import SampleMaker
from harness.errors import RowError
from harness.types import Image, Turn
from tests.data.pictures import saved

COLUMNS = {"messages": "messages", "image": "image"}


def turns(said: Any, image: Any = None) -> tuple[Turn, ...]:
    """The conversation of a row in which the user says this."""
    messages = [{"role": "user", "content": said}, {"role": "assistant", "content": "a cat"}]
    found = SampleMaker(COLUMNS, ("messages", "image")).sample({"messages": messages, "image": image}, "a")
    return found.inputs["messages"]  # type: ignore[return-value]


def widths(found: tuple[Turn, ...]) -> list[Any]:
    """What the user says, images as their width in pixels."""
    return [part.size()[0] if isinstance(part, Image) else part for part in found[0].parts]


def encoded(width: int) -> bytes:
    """A file with an image so wide."""
    return saved(Pillow.new("RGB", (width, 2)))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "base64": base64.b64encode(encoded(7)).decode()},
        {"type": "image", "image": "data:image/png;base64," + base64.b64encode(encoded(7)).decode()},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64," + base64.b64encode(encoded(7)).decode()},
        },
        {"type": "image", "bytes": encoded(7), "path": None},
    ],
    ids=["base64", "data", "image_url", "bytes"],
)
def test_an_image_in_a_message_is_the_one_that_is_shown(part: dict[str, Any]) -> None:
    assert widths(turns([part, {"type": "text", "text": "what is it?"}])) == [7, "what is it?"]
    with pytest.raises(RowError, match="0 places"):  # the row's own has none then
        turns([part], image=encoded(9))


@pytest.mark.parametrize("form", ["image_url", "image"])
def test_an_address_on_the_web_is_refused(form: str) -> None:
    part = {"type": form, form: {"url": "https://example.org/a.png"}}
    with pytest.raises(RowError, match="address on the web"):
        turns([part], image=encoded(9))


def test_base64_that_is_none_is_refused() -> None:
    with pytest.raises(RowError, match="base64 that can't be read"):
        turns([{"type": "image", "base64": "cat!"}])


def test_places_with_numbers_show_those_images_or_are_refused() -> None:
    two = [encoded(3), encoded(4)]
    assert widths(turns("<image 1> or <image 2>?", two)) == [3, " or ", 4, "?"]
    with pytest.raises(RowError, match="<image 2> where image 1 is due"):
        turns("<image 2> or <image 1>?", two)


@pytest.mark.parametrize("image", [None, []])
def test_mixtures_have_conversations_in_words_alone(image: Any) -> None:
    assert widths(turns("what is 2 + 2?", image)) == ["what is 2 + 2?"]
    with pytest.raises(RowError, match="a place for image 1, the row has 0"):
        turns("<image>\nwhat is it?", image)


def test_a_place_for_a_clip_takes_no_image() -> None:
    with pytest.raises(RowError, match="a place for audio 1, where the row has none"):
        turns([{"type": "audio"}], encoded(9))
