"""Which languages and tasks a speech checkpoint lets one choose, and the tokens that choose them."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from harness.errors import AdapterError
from harness.registry import near

# Codes of data sets (ISO 639-1 and 639-3, old and new) that Whisper spells differently.
RESPELLED = {
    "cmn": "zh",
    "zho": "zh",
    "fil": "tl",
    "tgl": "tl",
    "iw": "he",
    "jv": "jw",
    "jav": "jw",
    "nb": "no",
    "nob": "no",
    "nno": "nn",
    "ji": "yi",
    "in": "id",
    "mo": "ro",
    "kmr": "ku",
    "swa": "sw",
    "swh": "sw",
}


# Languages that are written without spaces between words.
UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})


def language_code(name: str) -> str | None:
    """Whisper's code for a language: "en" for en, en_us, en-US and english, "zh" for cmn_hans_cn.

    None when nothing of the name is known; whether a checkpoint has the language is another question.
    """
    codes, names = _known()
    word = name.strip().lower().replace("-", "_").replace(" ", "_")
    if word in names:
        return names[word]
    code = word.split("_")[0]
    code = RESPELLED.get(code, code)
    return code if code in codes else None


def language_name(code: str) -> str:
    """The English name of a code: "fr" to "french"."""
    return _known()[0][code]


@cache
def _known() -> tuple[dict[str, str], dict[str, str]]:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

    return dict(LANGUAGES), {name.replace(" ", "_"): code for name, code in TO_LANGUAGE_CODE.items()}


def complete(generation: Any, config: Mapping[str, Any], tokenizer: Any, name: str) -> None:
    """Give a Whisper generation config of the first year the tables it lacks, from the tokenizer.

    Whether the model is multilingual shows in the tokens that such checkpoints force at position 1: a
    language (null to detect it), or no timestamps. Raises AdapterError when nothing tells.
    """
    vocabulary = tokenizer.get_vocab()
    if "<|notimestamps|>" not in vocabulary or hasattr(generation, "is_multilingual"):
        return
    generation.no_timestamps_token_id = vocabulary["<|notimestamps|>"]
    if hasattr(generation, "lang_to_id"):
        return
    listed = getattr(generation, "forced_decoder_ids", None) or config.get("forced_decoder_ids") or []
    try:
        forced = dict(listed)
    except (TypeError, ValueError) as error:
        raise _wrong("forced_decoder_ids", listed, name, "a list of pairs of a place and a token") from error
    if 1 not in forced:
        raise AdapterError(
            f"{name} doesn't say whether it is multilingual: its generation config is too old",
            "Copy generation_config.json from the checkpoint that it was fine-tuned from.",
        )
    generation.is_multilingual = forced[1] != generation.no_timestamps_token_id
    if generation.is_multilingual:
        tokens = [f"<|{code}|>" for code in _known()[0]]
        generation.lang_to_id = {token: vocabulary[token] for token in tokens if token in vocabulary}
        generation.task_to_id = {task: vocabulary[f"<|{task}|>"] for task in ("transcribe", "translate")}


@dataclass(frozen=True)
class Controls:
    """The tokens that tell a checkpoint what to do, as it declares them; empty for one that has none.

    `languages` and `tasks` map codes to token ids; `no_timestamps` is the token that turns timestamps off.
    `own_language` is what the checkpoint was set to by its authors.
    """

    name: str
    languages: Mapping[str, int] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)
    no_timestamps: int | None = None
    own_language: str | None = None

    @classmethod
    def of(cls, name: str, generation: Any, tokenizer: Any) -> Controls:
        """What the generation config declares (Whisper), or else the tokenizer (multilingual Speech2Text).

        A Whisper checkpoint that calls itself English-only has no languages here, whatever its
        vocabulary holds. Raises AdapterError when the generation config is malformed.
        """
        languages = {
            token.strip("<|>"): number for token, number in _table(generation, "lang_to_id", name).items()
        }
        tasks = _table(generation, "task_to_id", name)
        if not languages and not hasattr(generation, "is_multilingual"):
            languages = _undeclared(tokenizer)
        if getattr(generation, "is_multilingual", True) is False:
            languages, tasks = {}, {}
        own = getattr(generation, "language", None)
        return cls(
            name,
            languages,
            tasks,
            _number(generation, "no_timestamps_token_id", name),
            language_code(own.strip("<|>")) if isinstance(own, str) else None,
        )

    def language(self, wanted: str | None) -> str | None:
        """The checkpoint's code for a language; None means that it is detected, or needs no choice.

        Raises AdapterError, with the near name, for one that is unknown or that the checkpoint lacks.
        """
        if wanted is None:
            return self.own_language if self.own_language in self.languages else None
        code = language_code(wanted)
        if code is None:
            codes, names = _known()
            raise AdapterError(
                f"there is no language '{wanted}'",
                near(wanted.lower(), [*codes, *names]) or "Use a code (en, en_us) or a name (english).",
            )
        if not self.languages:
            if code != "en":
                raise AdapterError(
                    f"{self.name} has no choice of language, so it can't be asked for '{wanted}'",
                    "Use a multilingual checkpoint, or leave the language out.",
                )
            return None
        if code not in self.languages:
            raise AdapterError(
                f"{self.name} doesn't know the language '{wanted}' ({language_name(code)})",
                near(code, self.languages) or f"It knows: {', '.join(sorted(self.languages))}.",
            )
        return code

    def check_task(self, task: str) -> None:
        """Raises AdapterError when the checkpoint can't do the task (transcribe, translate)."""
        if task not in ("transcribe", "translate"):
            raise AdapterError(
                f"there is no speech task '{task}'",
                near(task, ("transcribe", "translate")) or "Use transcribe or translate.",
            )
        if task == "translate" and task not in self.tasks:
            raise AdapterError(
                f"{self.name} can't translate: it has no token for that",
                "Use a multilingual Whisper checkpoint.",
            )

    def check_timestamps(self, wanted: str) -> None:
        """Raises AdapterError when timestamps are wanted from a checkpoint that has none."""
        if wanted != "none" and self.no_timestamps is None:
            raise AdapterError(
                f"{self.name} has no timestamps", "Remove generate.timestamps, or use Whisper."
            )

    @property
    def first_timestamp(self) -> int | None:
        """The id of <|0.00|>, which follows the token that turns timestamps off."""
        return None if self.no_timestamps is None else self.no_timestamps + 1

    def prefix(self, language: str | None, task: str) -> list[int]:
        """Token ids between the decoder's start and the text: language, task, no timestamps."""
        ids = [self.languages[language]] if language is not None else []
        ids += [self.tasks[task]] if task in self.tasks else []
        return ids if self.no_timestamps is None else [*ids, self.no_timestamps]

    def prefix_length(self) -> int:
        """Number of tokens of a full prefix."""
        return bool(self.languages) + bool(self.tasks) + (self.no_timestamps is not None)


def _table(generation: Any, key: str, name: str) -> dict[str, int]:
    """A table of token ids in the generation config, empty when it isn't there. Raises AdapterError."""
    table = getattr(generation, key, None)
    if table is None:
        return {}
    if not isinstance(table, dict) or not all(type(number) is int for number in table.values()):
        raise _wrong(key, table, name, "a table of names and token numbers")
    return dict(table)


def _number(generation: Any, key: str, name: str) -> int | None:
    """A token id in the generation config, None when it isn't there. Raises AdapterError."""
    number = getattr(generation, key, None)
    if number is not None and type(number) is not int:
        raise _wrong(key, number, name, "a token number")
    return number


def _wrong(key: str, value: Any, name: str, expected: str) -> AdapterError:
    shown = reprlib.repr(value)
    return AdapterError(
        f"generation_config.json of {name}: {key} is {shown}, not {expected}",
        "Copy generation_config.json from the checkpoint that it was fine-tuned from.",
    )


def _undeclared(tokenizer: Any) -> dict[str, int]:
    """Languages of a checkpoint whose generation config doesn't list them."""
    return {code: int(number) for code, number in (getattr(tokenizer, "lang_code_to_id", None) or {}).items()}
