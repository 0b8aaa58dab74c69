"""A model on a server: what is sent, and what its answers become."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image as Pillow

from harness.data.audio import EncodedAudio, SampledAudio
from harness.data.image import DecodedImage, EncodedImage
from harness.errors import AdapterError, MediaError
from harness.models import load
from harness.types import Failure, Output, Sample, Turn
from tests.models.openai_model import KEY, asked, fast, model_of, png, said
from tests.models.openai_server import ChatServer, Fault, Seen, serving
from tests.tasks import task_of


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as chat:
        yield chat


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def sent_image(seen: Seen) -> tuple[str, bytes]:
    """Media type and bytes of the image in a request."""
    [url] = (
        part["image_url"]["url"]
        for part in seen.body["messages"][0]["content"]
        if part["type"] == "image_url"
    )
    head, _, content = url.partition(";base64,")
    return head.removeprefix("data:"), base64.b64decode(content)


# What is sent


def test_the_words_and_the_files_own_bytes_arrive(server: ChatServer):
    made = model_of(server, prompt="{question}\nIn one word.", generate={"max_new_tokens": 7})
    [output] = said(made, asked("which colour?", EncodedImage(png())))
    [seen] = server.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["Authorization"] == f"Bearer {KEY}"
    picture, text = seen.body.pop("messages")[0]["content"]
    assert picture == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + base64.b64encode(png()).decode()},
    }
    assert text == {"type": "text", "text": "which colour?\nIn one word."}
    assert seen.body == {"model": "tiny-chat", "temperature": 0.0, "max_tokens": 7}
    assert output == Output(
        "answer to which colour?\nIn one word.",
        tokens=7,
        extras={
            "model": "tiny-chat-2026-01-01",
            "system_fingerprint": "fp_44",
            "input_tokens": 100,
            "output_tokens": 7,
            "retries": 0,
        },
    )


def test_settings_have_the_servers_names(server: ChatServer):
    api = {"length_key": "max_completion_tokens", "image_detail": "low", "body": {"top_p": 0.5}}
    made = model_of(server, api=api, generate={"max_new_tokens": 3, "temperature": 0.7, "seed": 11})
    said(made, asked())
    body = server.seen[0].body
    image = body.pop("messages")[0]["content"][0]["image_url"]
    assert image["detail"] == "low"
    assert body == {
        "model": "tiny-chat", "temperature": 0.7, "seed": 11, "max_completion_tokens": 3, "top_p": 0.5,
    }  # fmt: skip


def test_a_conversation_keeps_its_turns_and_texts_stay_texts(server: ChatServer):
    turns = (
        Turn("system", ("Be brief.",)),
        Turn("user", ("What is it?",)),
        Turn("assistant", ("A dog.",)),
        Turn("user", ("And ", EncodedImage(png()), "?")),
        Turn("assistant", ("A cat.",)),
    )
    made = model_of(server, "conversation", columns={"messages": "messages"})
    said(made, Sample("1", {"messages": turns}, "A cat.", "1"))
    messages = server.seen[0].body["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert [message["content"] for message in messages[:3]] == ["Be brief.", "What is it?", "A dog."]
    assert [part["type"] for part in messages[3]["content"]] == ["text", "image_url", "text"]


@pytest.mark.parametrize(
    ("form", "mime"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("PNG", "image/png")]
)
def test_a_file_that_servers_read_is_sent_as_it_is(server: ChatServer, form: str, mime: str):
    content = png(form=form)
    said(model_of(server), asked(image=EncodedImage(content)))
    assert sent_image(server.seen[0]) == (mime, content)


@pytest.mark.parametrize("case", ["gif", "clear", "hole", "turned", "decoded", "deep", "inks"])
def test_any_other_image_is_sent_as_this_program_sees_it(server: ChatServer, case: str):
    turned = Pillow.Exif()
    turned[0x0112] = 6
    deep = io.BytesIO()
    Pillow.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000).save(deep, "PNG")
    inks = io.BytesIO()
    Pillow.open(io.BytesIO(png())).convert("CMYK").save(inks, "JPEG")
    image = {
        "gif": EncodedImage(png(form="GIF")),
        "clear": EncodedImage(png(mode="RGBA")),
        "hole": EncodedImage(png(transparency=Pillow.open(io.BytesIO(png())).getpixel((0, 0)))),
        "turned": EncodedImage(png(form="JPEG", exif=turned)),
        "decoded": DecodedImage(np.full((6, 8), 9, np.uint8)),
        "deep": EncodedImage(deep.getvalue()),
        "inks": EncodedImage(inks.getvalue()),
    }[case]
    said(model_of(server), asked(image=image))
    mime, content = sent_image(server.seen[0])
    assert mime == "image/png"
    arrived = Pillow.open(io.BytesIO(content))
    assert arrived.mode == "RGB"
    assert np.array_equal(np.asarray(arrived), np.asarray(image.load()))


def test_images_are_made_smaller_and_encoded_as_the_task_says(server: ChatServer):
    large = EncodedImage(png((200, 100)))
    said(model_of(server, api={"max_image_pixels": 5000}), asked(image=large))
    said(model_of(server, api={"image_format": "jpeg"}), asked(image=large))
    small, jpeg = (sent_image(seen) for seen in server.seen)
    assert Pillow.open(io.BytesIO(small[1])).size == (100, 50)
    assert jpeg[0] == "image/jpeg"
    assert Pillow.open(io.BytesIO(jpeg[1])).size == (200, 100)


def test_a_damaged_image_is_the_samples_own_fault(server: ChatServer):
    with pytest.raises(MediaError, match="can't be decoded"):
        model_of(server).encode([asked(image=EncodedImage(png((60, 60))[:-200]))])
    assert server.seen == []


def test_clips_arrive_as_wav(server: ChatServer):
    wave = np.sin(np.arange(1600) / 20).astype(np.float32) / 2
    file = io.BytesIO()
    soundfile.write(file, wave, 8000, format="WAV")
    made = model_of(server, column="audio")
    stored, sampled = EncodedAudio(file.getvalue()), SampledAudio(wave, 16_000)
    for clip in (stored, sampled):
        said(made, Sample("1", {"question": "what?", "audio": clip}, "", "1"))
    first, second = (seen.body["messages"][0]["content"][0]["input_audio"] for seen in server.seen)
    assert (first["format"], base64.b64decode(first["data"])) == ("wav", file.getvalue())
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(second["data"])))
    assert (second["format"], rate) == ("wav", 16_000)
    assert np.allclose(heard, wave, atol=1e-4)


# Many at a time


def test_requests_are_under_way_together_and_answers_keep_their_order(server: ChatServer):
    server.gate = threading.Barrier(4)  # nobody gets an answer before four have asked
    made = model_of(server, api={"concurrency": 4})
    outputs = said(made, *(asked(f"question {n}") for n in range(8)))
    assert [output.output for output in outputs if isinstance(output, Output)] == [
        f"answer to question {n}" for n in range(8)
    ]
    assert server.most_at_once == 4


def test_no_more_are_under_way_than_allowed(server: ChatServer):
    server.seconds = 0.02
    said(model_of(server, api={"concurrency": 2}), *(asked(f"{n}") for n in range(6)))
    assert server.most_at_once == 2


# Answers that are none


@pytest.mark.parametrize(
    ("message", "finish", "words"),
    [
        ({"content": ""}, "stop", "empty answer"),
        ({"content": None}, "tool_calls", "empty answer (finish_reason 'tool_calls')"),
        ({"content": " \n"}, "length", "raise generate.max_new_tokens"),
        ({"content": "half of"}, "content_filter", "content filter"),
        ({"content": None, "refusal": "I can't help"}, "stop", "the model refused: I can't help"),
    ],
)
def test_an_empty_answer_is_never_scored(server: ChatServer, message: Any, finish: str, words: str):
    server.reply = lambda seen: {"choices": [{"message": message, "finish_reason": finish}]}
    [failure] = said(model_of(server), asked())
    assert isinstance(failure, Failure)
    assert words in failure.message
    assert len(server.seen) == 1


def test_a_cut_answer_says_so_and_a_server_without_counts_has_none(server: ChatServer):
    server.reply = lambda seen: {"choices": [{"message": {"content": "one two"}, "finish_reason": "length"}]}
    assert said(model_of(server), asked()) == [Output("one two", truncated=True, extras={"retries": 0})]


def test_parts_of_text_are_joined(server: ChatServer):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": " two"}]
    server.reply = lambda seen: {"choices": [{"message": {"content": parts}, "finish_reason": "stop"}]}
    [output] = said(model_of(server), asked())
    assert isinstance(output, Output)
    assert output.output == "one two"


# Streams


def test_a_stream_is_the_same_answer_in_pieces(server: ChatServer):
    made = fast(model_of(server))
    server.faults.append(Fault(500))
    pieces = list(made.stream(asked("is it red?")))
    assert pieces == ["answer", " to", " is", " it", " red?"]
    assert server.seen[-1].body["stream"] is True
    [output] = said(made, asked("is it red?"))
    assert isinstance(output, Output)
    assert "".join(pieces) == output.output == "".join(made.stream(asked("is it red?")))


def test_a_stream_without_words_or_end_is_a_failure(server: ChatServer):
    made = model_of(server)
    server.answer = lambda seen: ""
    with pytest.raises(Exception, match="empty answer"):
        list(made.stream(asked()))
    server.faults.append(Fault(200, raw='data: {"choices": [{"delta": {"content": "half"}}]}\n\n'))
    with pytest.raises(Exception, match="ended before"):
        list(made.stream(asked()))


# Cost


def test_cost_is_the_price_of_a_million_times_what_was_counted(server: ChatServer):
    api = {"price": {"input": 2.5, "output": 10}}
    [output] = said(model_of(server, api=api), asked("why?"))
    assert isinstance(output, Output)
    # 100 input tokens at 2.50 and 3 output tokens at 10 per million: 0.000250 + 0.000030
    assert output.extras["cost"] == pytest.approx(0.00028)


# What decides an answer, and what doesn't


def test_the_digest_is_over_what_decides_answers(server: ChatServer):
    def digest(checkpoint: str = "tiny-chat", **api: Any) -> str:
        model = {"checkpoint": checkpoint, "family": "openai", "api": {"base_url": server.url, **api}}
        task = task_of(checkpoint, "vqa", model=model, data=model_data)
        return load(task, base=Path()).weights.digest()

    model_data = {"path": "nowhere", "columns": {"question": "q", "image": "i", "target": "t"}}
    plain = digest()
    same: dict[str, Any] = {
        "concurrency": 3,
        "retries": 1,
        "price": {"input": 1, "output": 1},
        "timeout_seconds": 3,
    }
    assert digest(**same) == plain
    other = [
        digest("other"),
        digest(base_url="http://localhost:1/v1"),
        digest(body={"top_p": 0.5}),
        digest(image_detail="low"),
        digest(max_image_pixels=10),
        digest(image_format="jpeg"),
    ]
    assert len({plain, *other}) == 7


def test_the_words_are_in_the_request_and_the_cost_grows_with_the_picture(server: ChatServer):
    made = model_of(server)
    assert made.request(asked("what?")) == [["user", [None, "what?"]]]
    assert made.request(asked("who?")) != made.request(asked("what?"))
    assert made.cost(asked(image=EncodedImage(png((80, 60))))) > made.cost(asked())


def test_a_dry_run_shows_what_would_be_sent(server: ChatServer):
    shown = model_of(server, generate={"max_new_tokens": 5}).render(asked("which?"))
    assert shown.tokens == [("user: <image>which?\n", False)]
    assert shown.notes == {"url": server.url, "model": "tiny-chat", "temperature": "0.0", "max_tokens": "5"}
    assert server.seen == []


# What can't be


def test_a_choice_by_likelihood_names_the_way_out(server: ChatServer):
    columns = {"question": "q", "options": "o", "image": "i", "target": "t"}
    with pytest.raises(AdapterError, match="can choose") as caught:
        model_of(server, "multiple_choice", columns=columns, metrics=["accuracy"])
    assert "choice: {by: letter}" in caught.value.hint
    made = model_of(server, "multiple_choice", columns=columns, metrics=["accuracy"], choice={"by": "letter"})
    options = ("red", "green")
    said(made, asked("which?", options=options))
    assert server.seen[0].words == "which?\nA. red\nB. green"


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"generate": {"num_beams": 4}}, "num_beams"),
        ({"generate": {"temperature": [0, 0.2]}}, "temperature"),
        ({"generate": {"timestamps": "word"}}, "timestamps"),
    ],
)
def test_what_no_server_can_be_asked_for_is_refused(server: ChatServer, sections: Any, words: str):
    with pytest.raises(AdapterError, match=words):
        model_of(server, **sections)


def test_kinds_without_words_are_refused(server: ChatServer):
    with pytest.raises(AdapterError, match="asks in no words"):
        model_of(server, "asr", columns={"audio": "audio", "target": "target"})


@pytest.mark.parametrize("key", [{"dtype": "float16"}, {"revision": "main"}, {"attention": "sdpa"}])
def test_settings_of_weights_are_refused(key: dict[str, str]):
    [name] = key
    model = {"checkpoint": "m", "family": "openai", **key}
    columns = {"question": "q", "image": "i", "target": "t"}
    with pytest.raises(AdapterError, match=f"model.{name}"):
        load(task_of("m", "vqa", model=model, data={"path": "x", "columns": columns}), base=Path())


def test_a_missing_key_is_said_before_anything_is_sent(server: ChatServer, monkeypatch: pytest.MonkeyPatch):
    made = model_of(server, api={"key_variable": "MY_SERVERS_KEY"})
    with pytest.raises(AdapterError, match="MY_SERVERS_KEY is not set"):
        made.prepare()
    monkeypatch.delenv("OPENAI_API_KEY")
    said(model_of(server), asked())  # a server of one's own needs none
    assert "Authorization" not in server.seen[0].headers
    monkeypatch.setenv("MY_SERVERS_KEY", "two\nlines")
    with pytest.raises(AdapterError, match="can't be a key") as caught:
        model_of(server, api={"key_variable": "MY_SERVERS_KEY"}).prepare()
    assert "lines" not in str(caught.value)


def test_the_address_may_come_from_the_environment(server: ChatServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    made = model_of(server, api={"base_url": None})
    said(made, asked())
    assert len(server.seen) == 1
    assert made.weights.device == server.url.removeprefix("http://").removesuffix("/v1")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert model_of(server, api={"base_url": None}).weights.base_url == "https://api.openai.com/v1"
