"""One adapter for Whisper of any vocabulary and for a cousin of another architecture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.errors import AdapterError, RowError
from harness.models.whisper import Whisper
from harness.types import Output
from tests.models.clips import adapter, sample
from tests.models.tiny import tiny_whisper

WHISPERS = ("bytes", "multilingual", "english")
MULTILINGUAL = ("bytes", "multilingual")
ALL = (*WHISPERS, "moonshine")
Folders = dict[str, Path]


@contextmanager
def counted(module: Any) -> Iterator[list[int]]:
    """The batch sizes with which a module is called."""
    sizes: list[int] = []
    hook = module.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    try:
        yield sizes
    finally:
        hook.remove()


@contextmanager
def prompts(model: Any) -> Iterator[list[list[list[int]]]]:
    """The decoder ids of every first call to the decoder, by call: rows of ids."""
    seen: list[list[list[int]]] = []

    def look(_: Any, args: Any, kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        if ids.shape[1] > 1:
            seen.append(ids.tolist())

    hook = model.get_decoder().register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


def tokens(made: Whisper, *names: str) -> list[int]:
    ids = made.weights.processor.tokenizer.convert_tokens_to_ids(list(names))
    assert made.weights.processor.tokenizer.unk_token_id not in ids
    return list(ids)


@pytest.mark.parametrize("name", ALL)
def test_batch_says_what_its_clips_say_alone(checkpoints: Folders, name: str) -> None:
    made = adapter(checkpoints[name])
    lengths = (0.5, 0.5, 0.5) if name == "moonshine" else (0.3, 0.5, 0.9)
    clips = [sample(seconds, seed) for seed, seconds in enumerate(lengths)]
    together = made.predict(made.encode(clips))
    assert together == [made.predict(made.encode([clip]))[0] for clip in clips]
    assert len({output.output for output in together}) > 1


@pytest.mark.parametrize("name", ALL)
def test_beams_agree_between_batch_and_alone(checkpoints: Folders, name: str) -> None:
    made = adapter(checkpoints[name], num_beams=3)
    clips = [sample(0.5, seed) for seed in range(3)]
    together = made.predict(made.encode(clips))
    assert together == [made.predict(made.encode([clip]))[0] for clip in clips]
    greedy = adapter(checkpoints[name])
    assert together != greedy.predict(greedy.encode(clips))


def test_cousin_never_pads_clips_of_other_lengths(checkpoints: Folders) -> None:
    made = adapter(checkpoints["moonshine"])
    assert made.bucket(sample(0.5)) == made.bucket(sample(0.5, 1)) != made.bucket(sample(0.51))


@pytest.mark.parametrize("name", MULTILINGUAL)
def test_language_and_task_reach_the_decoder(checkpoints: Folders, name: str) -> None:
    made = adapter(checkpoints[name], language="fr_fr", task="translate")
    with prompts(made.model) as seen:
        outputs = made.predict(made.encode([sample(0.5, 0), sample(0.5, 1)]))
    expected = tokens(made, "<|startoftranscript|>", "<|fr|>", "<|translate|>", "<|notimestamps|>")
    assert seen == [[expected, expected]]
    assert all("language" not in output.extras for output in outputs)


@pytest.mark.parametrize("name", MULTILINGUAL)
def test_language_per_sample(checkpoints: Folders, name: str) -> None:
    made = adapter(checkpoints[name], language="en")
    clips = [sample(0.5, 0, language="fr-FR"), sample(0.5, 0)]
    assert made.request(clips[0]) == {"language": "fr", "task": "transcribe"}
    with prompts(made.model) as seen:
        french, english = made.predict(made.encode(clips))
    assert [row[1] for row in seen[0]] == tokens(made, "<|fr|>", "<|en|>")
    assert french != english


def test_task_per_sample_makes_buckets(checkpoints: Folders) -> None:
    made = adapter(checkpoints["bytes"], language="en")
    translated = sample(0.5, 0, task="translate")
    assert made.bucket(translated) != made.bucket(sample(0.5, 0))
    with prompts(made.model) as seen:
        made.predict(made.encode([translated]))
    assert seen[0][0][2:3] == tokens(made, "<|translate|>")


@pytest.mark.parametrize("name", MULTILINGUAL)
def test_detection_names_the_language_and_encodes_once(checkpoints: Folders, name: str) -> None:
    made = adapter(checkpoints[name])
    clips = [sample(0.5, seed) for seed in range(3)]
    with counted(made.model.get_encoder().conv1) as sizes, prompts(made.model) as seen:
        outputs = made.predict(made.encode(clips))
    assert sum(sizes) == len(clips)
    heard = [str(output.extras["language"]) for output in outputs]
    assert [row[1] for row in seen[0]] == tokens(made, *(f"<|{code}|>" for code in heard))
    named = adapter(checkpoints[name], language=heard[0])
    assert named.predict(named.encode(clips[:1]))[0].output == outputs[0].output


def test_named_and_detected_languages_share_a_batch(checkpoints: Folders) -> None:
    made = adapter(checkpoints["bytes"])
    named, detected = made.predict(made.encode([sample(0.5, 0, language="fr"), sample(0.5, 0)]))
    assert "language" not in named.extras
    assert detected.extras["language"] in ("en", "fr")


@pytest.mark.parametrize("name", ["english", "moonshine"])
def test_without_choice_of_language(checkpoints: Folders, name: str) -> None:
    made = adapter(checkpoints[name], language="en_us")
    assert made.request(sample()) == {"language": None, "task": "transcribe"}
    with prompts(made.model) as seen:
        outputs = made.predict(made.encode([sample()]))
    if name == "english":
        assert seen == [[tokens(made, "<|startoftranscript|>", "<|notimestamps|>")]]
    assert outputs[0].extras == {}
    for wish, message in (
        ({"language": "fr"}, "no choice of language"),
        ({"task": "translate"}, "can't translate"),
    ):
        with pytest.raises(AdapterError, match=message):
            adapter(checkpoints[name], **wish)


def test_english_only_is_what_the_checkpoint_calls_itself(tmp_path: Path) -> None:
    """A table of languages in the vocabulary or the config doesn't make a model multilingual."""
    folder = tiny_whisper(tmp_path / "en", vocabulary="bytes", generation={"is_multilingual": False})
    with pytest.raises(AdapterError, match="no choice of language"):
        adapter(folder, language="fr")
    made = adapter(folder)
    with prompts(made.model) as seen:
        assert made.predict(made.encode([sample()]))[0].extras == {}
    assert seen == [[tokens(made, "<|startoftranscript|>", "<|notimestamps|>")]]


def test_language_that_the_authors_set_is_kept(tmp_path: Path) -> None:
    folder = tiny_whisper(tmp_path / "fr", generation={"language": "<|fr|>", "task": "transcribe"})
    made = adapter(folder)
    assert made.request(sample()) == {"language": "fr", "task": "transcribe"}
    assert made.predict(made.encode([sample()]))[0].extras == {}


def test_old_form_of_language_and_task_gives_way(tmp_path: Path) -> None:
    """Old checkpoints force tokens by position; a task's language goes before them."""
    ids = {"<|en|>": 258, "<|transcribe|>": 261}
    forced = [[1, ids["<|en|>"]], [2, ids["<|transcribe|>"]]]
    made = adapter(
        tiny_whisper(tmp_path / "old", generation={"forced_decoder_ids": forced}),
        language="fr",
        task="translate",
    )
    assert tokens(made, *ids) == list(ids.values())
    with prompts(made.model) as seen:
        made.predict(made.encode([sample()]))
    assert seen[0][0][1:3] == tokens(made, "<|fr|>", "<|translate|>")


@pytest.mark.parametrize(
    ("meta", "message"),
    [({"language": "klingon"}, "no language 'klingon'"), ({"task": "sing"}, "no speech task 'sing'")],
)
def test_a_wrong_column_is_the_rows_fault(checkpoints: Folders, meta: dict[str, str], message: str) -> None:
    made = adapter(checkpoints["bytes"])
    with pytest.raises(RowError, match=message):
        made.request(sample(0.5, 0, **meta))


@pytest.mark.parametrize("name", ALL)
def test_length_limit_is_reported(checkpoints: Folders, name: str) -> None:
    made = adapter(checkpoints[name], max_new_tokens=3)
    output = made.predict(made.encode([sample()]))[0]
    assert output.truncated
    assert output.tokens <= 3


@pytest.mark.parametrize("name", ALL)
def test_too_many_new_tokens_are_refused(checkpoints: Folders, name: str) -> None:
    with pytest.raises(AdapterError, match="max_new_tokens: 500"):
        adapter(checkpoints[name], max_new_tokens=500)
    with pytest.raises(AdapterError, match="min_new_tokens"):
        adapter(checkpoints[name], min_new_tokens=2)


def test_a_kind_that_asks_in_words_is_refused(checkpoints: Folders) -> None:
    made = adapter(checkpoints[ALL[0]])
    for kind in ("vqa", "captioning"):
        with pytest.raises(AdapterError, match=f"'{kind}' asks in words"):
            Whisper(made.weights, made.generate, kind)


@pytest.mark.parametrize("name", ALL)
def test_sampling_depends_on_seed_and_audio_alone(checkpoints: Folders, name: str) -> None:
    def say(seed: int, clip: Any) -> Output:
        made = adapter(checkpoints[name], temperature=1.0, seed=seed)
        return made.predict(made.encode([clip]))[0]

    first, second = sample(0.5, 0), sample(0.5, 1)
    assert say(0, first) == say(0, first)
    assert say(0, first) != say(1, first)
    made = adapter(checkpoints[name], temperature=1.0)
    assert made.bucket(first) != made.bucket(second)


@pytest.mark.parametrize("name", WHISPERS)
def test_suppression_is_cleared_for_this_run_only(checkpoints: Folders, name: str) -> None:
    import torch

    kept = adapter(checkpoints[name])
    cleared = Whisper(kept.weights, kept.generate.model_copy(update={"suppress_tokens": "none"}), "asr")
    before = kept.model.generation_config.to_dict()
    loud = int(kept.model.generation_config.suppress_tokens[0])
    tables = torch.zeros(kept.model.config.vocab_size)
    tables[loud] = 1000.0
    hook = kept.model.proj_out.register_forward_hook(lambda _, __, logits: logits + tables)
    try:
        silenced = kept.predict(kept.encode([sample()]))[0]
        spoken = cleared.predict(cleared.encode([sample()]))[0]
        again = kept.predict(kept.encode([sample()]))[0]
    finally:
        hook.remove()
    assert silenced == again
    assert silenced.tokens > 0
    assert spoken.tokens == 0, "the suppressed token is a special one, which isn't text"
    assert kept.model.generation_config.to_dict() == before


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_features_follow_the_models_precision(checkpoints: Folders, dtype: str) -> None:
    made = adapter(checkpoints["bytes"], dtype=dtype, language="en")
    assert made.encode([sample()]).tensors["input_features"].dtype.is_floating_point
    assert made.predict(made.encode([sample()]))[0].tokens > 0
    assert str(made.model.dtype) == f"torch.{dtype}"


def test_batch_without_audio_is_the_rows_fault(checkpoints: Folders) -> None:
    from harness.types import Sample

    made = adapter(checkpoints["bytes"])
    with pytest.raises(RowError, match="'7' has no audio"):
        made.encode([Sample("7", {}, "hello", "7")])
