"""The task file's schema: frozen, unknown keys refused, every field documented with its unit.

Fields marked with `UNSCORED` don't change the score, so they are left out of the spec's digest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, FiniteFloat, field_validator, model_validator

from harness.registry import near
from harness.spec.api import Api
from harness.spec.classes import Classes, Probe
from harness.spec.corruption import Corrupt
from harness.spec.kinds import KINDS, MEDIA, MESSAGES, QUESTION
from harness.spec.prompting import Choice, unknown_columns
from harness.spec.section import UNSCORED, Section
from harness.spec.training import Train

SPECIAL_COLUMNS = ("id", "target", "group")
Temperature: TypeAlias = Annotated[FiniteFloat, Field(ge=0)]


class Splits(Section):
    """Names of the dataset's splits for each purpose."""

    train: str | None = None
    """Split that fine-tuning learns from."""
    validation: str | None = None
    """Split that checkpoints are chosen on."""
    test: str | None = None
    """Split that the reported score comes from."""


class Join(Section):
    """Columns taken from another configuration of the same dataset (or another dataset), matched on a key."""

    path: str | None = None
    """Dataset to join with; the task's own when not given."""
    name: str | None = None
    """Configuration to join with."""
    on: str
    """Column that both sides share; its first row on the other side is taken."""
    key: str | None = None
    """What the other side calls that column; the same when not given."""
    take: dict[str, str]
    """New column name to the other side's column."""


class Data(Section):
    """Where samples come from and how their columns are named."""

    path: str
    """Hub id, local folder or file (./ is relative to the task file), or synthetic:NAME."""
    name: str | None = None
    """Configuration of the dataset."""
    revision: str | None = None
    """Branch, tag or commit; the resolved commit goes into the record."""
    splits: Splits = Field(
        default=Splits(train="train", validation="validation", test="test"), json_schema_extra=UNSCORED
    )
    """Names of the splits. When some are named, the task has no others."""
    split: Literal["train", "validation", "test"] = "test"
    """Which of the splits is scored."""
    columns: dict[str, str | tuple[str, ...]]
    """What the task calls a column (audio, target, id, group, language) to what the dataset calls it; a list
    of columns is a list of what they hold, nulls left out (image: [image_1, image_2]). messages is a
    conversation, whose last answer is the target."""
    where: dict[str, str | int | tuple[str | int, ...]] = Field(default={})
    """Rows that count: the dataset's columns with the value, or one of the values, that they must hold."""
    join: Join | None = None
    """Columns from another configuration: targets in another language, images that questions share."""
    options: dict[str, Any] = Field(default={})
    """Settings of a synthetic builder."""
    transform: str | None = None
    """Python hook package.module:function, row to row; its source is part of the spec's digest."""
    corrupt: Corrupt | None = None
    """Damage done to what is scored: {kind: blur, severity: 3}; nothing that is learned from has it."""
    streaming: bool = Field(default=False, json_schema_extra=UNSCORED)
    """Read the dataset as it arrives instead of downloading it first."""

    @field_validator("columns")
    @classmethod
    def _needs_target(cls, columns: dict[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
        if "target" not in columns and MESSAGES not in columns:
            raise ValueError("no column is mapped to 'target'")
        for name, given in columns.items():
            if not isinstance(given, str) and (name in ("id", "group") or not given):
                raise ValueError(f"'{name}' is one column, not a list of {len(given)}")
        return columns

    @field_validator("transform")
    @classmethod
    def _is_reference(cls, transform: str | None) -> str | None:
        if transform is not None and not re.fullmatch(r"[\w.]+:[\w.]+", transform):
            raise ValueError(f"'{transform}' is not of the form package.module:function")
        return transform

    @model_validator(mode="after")
    def _synthetic_is_one(self) -> Data:
        for key in ("name", "revision"):
            if self.path.startswith("synthetic:") and getattr(self, key) is not None:
                raise ValueError(f"{key}: a synthetic dataset has no configurations and no revisions")
        return self


class Model(Section):
    """Which checkpoint runs, and how it is loaded."""

    checkpoint: str
    """Hub id or local folder (./ is relative to the task file)."""
    revision: str | None = None
    """Branch, tag or commit of the checkpoint."""
    family: str | None = None
    """Model family; inferred from the checkpoint's config when not given."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the weights; auto is the checkpoint's own on a GPU and float32 on a CPU."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """Attention kernel; the library's choice when not given."""
    api: Api | None = None
    """How a model on a server is reached, with `family: openai`; its checkpoint is the name that the server
    knows it by."""

    @model_validator(mode="after")
    def _api_has_a_family(self) -> Model:
        if self.api is not None and self.family is None:
            raise ValueError("api: a model on a server has no config to tell its family: say family: openai")
        return self

    @property
    def currency(self) -> str | None:
        """What its tokens are paid in; None where no price is named."""
        return self.api.price.currency if self.api and self.api.price else None


class Generate(Section):
    """How text is generated."""

    language: str | None = None
    """Language of the input (en, en_us, english); a column `language` goes before it; detected if neither."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """Transcribe in the spoken language, or translate into English."""
    num_beams: int = Field(default=1, ge=1)
    """Beams of the search; 1 is greedy."""
    length_penalty: FiniteFloat = 1.0
    """Exponent of the length in the beam's score."""
    temperature: Temperature | Annotated[tuple[Temperature, ...], Field(min_length=1)] = 0.0
    """Sampling temperature; 0 is greedy; a list is the fallback schedule of Whisper's long-form algorithm."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Limit in tokens; the checkpoint's own when not given."""
    min_new_tokens: int | None = Field(default=None, ge=1)
    """Fewest tokens of an answer, its end left out; none when not given."""
    timestamps: Literal["none", "segment", "word"] = "none"
    """Timestamps to predict; audio longer than the model's window always uses segments."""
    suppress_tokens: Literal["checkpoint", "none"] = "checkpoint"
    """Keep or clear the checkpoint's lists of suppressed tokens (the Open ASR leaderboard clears them)."""
    seed: int = Field(default=0, ge=0)
    """Seed of sampling."""

    @model_validator(mode="after")
    def _beams_or_sampling(self) -> Generate:
        if self.num_beams > 1 and self.temperature != 0.0:
            raise ValueError(
                f"num_beams: {self.num_beams} searches, temperature: {self.temperature} samples: choose one"
            )
        return self

    @model_validator(mode="after")
    def _room_for_the_shortest(self) -> Generate:
        least, most = self.min_new_tokens, self.max_new_tokens
        if least is not None and most is not None and least > most:
            raise ValueError(f"min_new_tokens: {least} is more than max_new_tokens: {most}")
        return self


class MetricSpec(Section):
    """One metric: `wer`, `{wer: {normalizer: whisper}}`, `accuracy@5` (its `k`), or `{evaluate: meteor}`."""

    name: str
    """Name of the metric."""
    options: dict[str, Any] = Field(default={})
    """Its settings."""

    @model_validator(mode="before")
    @classmethod
    def _from_shorthand(cls, value: Any) -> Any:
        if isinstance(value, str):
            return _with_k(value, {})
        if isinstance(value, dict) and len(value) == 1 and "name" not in value:
            [(name, options)] = value.items()
            if name == "evaluate" and isinstance(options, str):
                options = {"path": options}
            return _with_k(name, options or {})
        return value


def _with_k(name: Any, options: Any) -> dict[str, Any]:
    """`accuracy@5` is `accuracy` with `k: 5`."""
    stem, _, k = name.partition("@") if isinstance(name, str) else (name, "", "")
    if k.isdecimal() and isinstance(options, dict):
        return {"name": stem, "options": {"k": int(k), **options}}
    return {"name": name, "options": options}


def metric_keys(specs: Iterable[MetricSpec]) -> Iterator[tuple[str, MetricSpec]]:
    """Each metric under the name that records give it; one that comes again is told apart by a number."""
    seen: Counter[str] = Counter()
    for spec in specs:
        name = str(spec.options.get("path", spec.name)).rsplit("/", 1)[-1].removesuffix(".py")
        name = f"{name}@{spec.options['k']}" if "k" in spec.options else name
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), spec


class Statistics(Section):
    """How intervals are made: the clustered percentile bootstrap."""

    draws: int = Field(default=1000, ge=100, le=1_000_000)
    """Bootstrap draws."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draws."""


class Run(Section):
    """How the work is done; nothing here changes a score."""

    batch_size: int = Field(default=16, ge=1)
    """Samples per batch; halved when memory runs out."""
    workers: int = Field(default=4, ge=1)
    """Threads that read and decode media while the model works."""
    max_failures: float = Field(default=0.01, ge=0, le=1)
    """Share of samples that may fail before the run ends with exit code 4."""


class Baseline(Section):
    """Something else that is scored on the same samples, to stand beside the model in the table."""

    name: str
    """What the table calls it."""
    task: dict[str, Any] = Field(min_length=1)
    """Keys of the task that differ for it: {kind: linear_probe}, {model: {checkpoint: ...}}."""


class Task(Section):
    """A task file, resolved."""

    name: str = Field(json_schema_extra=UNSCORED)
    """Name of the task, unique among tasks."""
    description: str = Field(default="", json_schema_extra=UNSCORED)
    """One sentence for lists and cards."""
    kind: str
    """What is asked: asr, speech_translation, classification, zero_shot_classification, linear_probe,
    retrieval, vqa, yes_no, captioning, explanation, multiple_choice, conversation."""
    params: dict[str, Any] = Field(default={}, json_schema_extra=UNSCORED)
    """Named values that {name} in other fields stands for; changed by --set NAME=VALUE."""
    matrix: dict[str, list[Any]] | tuple[dict[str, Any], ...] = Field(default={}, json_schema_extra=UNSCORED)
    """Parameters with lists of values: the task runs once per combination; or a list of mappings of
    parameters to values: it runs once for each."""
    data: Data
    """Dataset, split and columns."""
    model: Model = Field(json_schema_extra=UNSCORED)
    """Checkpoint to run."""
    generate: Generate = Generate()
    """Generation settings."""
    prompt: str | None = None
    """What a chat model is asked, with {question} and other columns in braces; <image> where an image goes,
    before the words when it isn't there. The kind's own words when not given."""
    choice: Choice | None = None
    """How one of several options is chosen."""
    classes: Classes | None = None
    """What there is to tell apart, for kinds whose targets are classes."""
    probe: Probe | None = None
    """Settings of a linear probe."""
    metrics: tuple[MetricSpec, ...] = Field(min_length=1)
    """Metrics; the first one decides."""
    statistics: Statistics = Field(default=Statistics(), json_schema_extra=UNSCORED)
    """Intervals."""
    run: Run = Field(default=Run(), json_schema_extra=UNSCORED)
    """Batches, workers, tolerance of failures."""
    train: Train | None = Field(default=None, json_schema_extra=UNSCORED)
    """Fine-tuning; without it the checkpoint is only scored."""
    baselines: tuple[Baseline, ...] = Field(default=(), json_schema_extra=UNSCORED)
    """What the score is to be read beside."""
    leaderboard: str | None = Field(default=None, json_schema_extra=UNSCORED)
    """Board that the task's records appear on."""

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(
                f"there is no kind '{kind}'. {near(kind, KINDS) or 'Known: ' + ', '.join(KINDS)}"
            )
        return kind

    @model_validator(mode="after")
    def _columns_of_kind(self) -> Task:
        kind, mapped = KINDS[self.kind], self.data.columns
        chats = kind.takes_messages(mapped)
        needed = [name for name in kind.inputs if name != QUESTION or f"{{{QUESTION}}}" in self.words]
        missing = [] if chats else [column for column in needed if column not in mapped]
        if missing:
            raise ValueError(f"kind '{self.kind}' needs data.columns to map {', '.join(map(repr, missing))}")
        media = [column for column in kind.media if column in mapped]
        if len(media) > 1 or (kind.media and not media and not kind.optional and not chats):
            names = " or ".join(map(repr, kind.media))
            raise ValueError(f"kind '{self.kind}' needs data.columns to map one of {names}")
        return self

    @model_validator(mode="after")
    def _words_of_kind(self) -> Task:
        kind = KINDS[self.kind]
        if kind.prompt is None and self.prompt is not None:
            raise ValueError(f"prompt: kind '{self.kind}' asks in no words")
        if not kind.options and self.choice is not None:
            raise ValueError(f"choice: kind '{self.kind}' has no options to choose from")
        words = "" if kind.takes_messages(self.data.columns) else self.words
        for name in unknown_columns(words, self.data.columns):
            raise ValueError(f"prompt: {{{name}}} is neither a parameter nor a column of data.columns")
        for name in ("target", *MEDIA):
            if f"{{{name}}}" in words:
                why = "is the answer" if name == "target" else "isn't text; <image> is an image's place"
                raise ValueError(f"prompt: {{{name}}} {why}")
        return self

    @property
    def words(self) -> str:
        """What a chat model is asked, columns in braces: the task's own words or the kind's."""
        return self.prompt if self.prompt is not None else KINDS[self.kind].prompt or ""

    @property
    def chooses(self) -> Choice:
        """How an option is chosen, defaults filled in."""
        return self.choice or Choice()

    @property
    def mode(self) -> str:
        """How the model must answer: the kind's mode, but letters are generated."""
        kind = KINDS[self.kind]
        return "generate" if kind.options and self.chooses.by == "letter" else kind.mode

    @property
    def head(self) -> str | None:
        """What turns what the model says into answers; letters have to be found in what it wrote."""
        kind = KINDS[self.kind]
        return "letters" if kind.options and self.chooses.by == "letter" else kind.head

    @property
    def form(self) -> str:
        """What its answers are: "text", one "class", several "labels", or the "ranks" of retrieval."""
        return KINDS[self.kind].form(multilabel=self.classes is not None and self.classes.multilabel)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the model is given."""
        return KINDS[self.kind].columns(self.data.columns)
