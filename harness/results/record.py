"""The record of one run: what ran on what, how it scored, and everything needed to say why.

A record is immutable and named by its content: `run_id` is the SHA-256 of its canonical JSON, so a
changed byte shows when the record is read, and two result folders merge by copying files.
Fields that this version doesn't know are kept as they are (`extra="allow"`).
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from harness.errors import ResultError
from harness.types import Json

SCHEMA_VERSION = 1


class NewerSchemaWarning(UserWarning):
    """A record was written by a newer harness; what this version doesn't know of it is kept, unread."""


class Part(BaseModel):
    """A mapping of the record."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)


class ModelPart(Part):
    """What ran."""

    checkpoint: str
    """Hub id or folder, as the task or the command line names it."""
    revision: str | None = None
    """Commit that the checkpoint resolved to."""
    digest: str | None = None
    """SHA-256 over the weights of checkpoint and adapter: tells a checkpoint overwritten in place."""
    adapter: str | None = None
    """Folder or id of the fine-tuned adapter."""
    parameters: int | None = None
    """Number of parameters, adapter included."""
    dtype: str | None = None
    """Precision of the weights while running."""
    quantize: str | None = None
    """Quantisation of the weights."""


class DataPart(Part):
    """What it ran on."""

    path: str
    """Hub id, folder, file or synthetic:NAME."""
    name: str | None = None
    """Configuration of the dataset."""
    split: str
    """Name of the split that was scored."""
    revision: str | None = None
    """Commit that the dataset resolved to."""
    n: int
    """Samples that the run covered."""
    limit: int | None = None
    """Size of the seeded subset; None for the whole split."""
    fingerprint: str | None = None
    """SHA-256 over the samples' ids, targets and media: equal only for the same data."""


class MetricIdentity(Part):
    """Which metric, so that it can be computed again from the sample rows."""

    name: str
    """Name in the registry."""
    options: dict[str, Any] = {}
    """Its settings."""


class MetricPart(Part):
    """One score."""

    value: float | None
    """The score; None where it is undefined (nothing to score)."""
    ci95: tuple[float, float] | None = None
    """Bounds of the 95% interval; None where it can't be computed."""
    n: int
    """Samples that were scored."""
    clusters: int
    """Groups that the bootstrap drew from."""
    unit: str
    """"%" for rates times 100, or empty."""
    higher_is_better: bool
    """Direction."""
    signature: str
    """Everything that tells this score from another of the same name."""
    columns: tuple[str, ...] = ()
    """Columns of the sample rows that hold this metric's sufficient statistics."""
    metric: MetricIdentity
    """The metric and its settings."""

    @field_validator("ci95", mode="before")
    @classmethod
    def _finite_or_none(cls, bounds: Any) -> Any:
        """An interval with an undefined bound is no interval."""
        return bounds if bounds is None or all(math.isfinite(bound) for bound in bounds) else None


class SpeedPart(Part):
    """How fast it ran, over freshly predicted samples only."""

    samples_per_second: float | None = None
    """Samples over prediction time."""
    rtfx: float | None = None
    """Seconds of audio per second of transcription: a ratio of sums."""
    tokens_per_second: float | None = None
    """Generated tokens per second."""
    peak_memory_bytes: int | None = None
    """Peak memory: the accelerator's, or the process's on a CPU."""
    device: str | None = None
    """Device's name."""
    measured_samples: int | None = None
    """Samples that were predicted now and not taken from the cache."""


class UsagePart(Part):
    """What was asked of a server, over freshly predicted samples only."""

    requests: int = 0
    """Requests for the samples that have an answer, those that failed before it included."""
    retries: int = 0
    """How many of these failed on the server's side and were made again."""
    input_tokens: int = 0
    """Tokens that were read, as the server counted them."""
    output_tokens: int = 0
    """Tokens that were written, those of hidden reasoning included."""
    cost: float | None = None
    """Their price; None when the task names none."""
    currency: str | None = None
    """What the cost is in."""
    cached: int = 0
    """Answers that came from the cache and cost nothing."""
    served: tuple[str, ...] = ()
    """Models, with their fingerprints, that the server said it had answered with."""


class FailurePart(Part):
    """Samples without a prediction."""

    n: int = 0
    """How many."""
    by_type: dict[str, int] = {}
    """Error's name to how many."""
    threshold: float | None = None
    """Share of failures that the task tolerates."""


class TrainedOnPart(Part):
    """What a fine-tune learned from."""

    path: str
    """Hub id, folder, file or synthetic:NAME."""
    name: str | None = None
    """Configuration of the dataset."""
    split: str | None = None
    """Name of the split."""
    revision: str | None = None
    """Commit that the dataset resolved to."""
    n: int | None = None
    """Samples, after a limit; None for a stream."""


class TrainStagePart(Part):
    """One of several trainings of the same network, one after the other."""

    name: str
    """What the task calls it."""
    steps: int
    """Optimiser steps."""
    batch: int
    """Samples that each step learned from."""
    learning_rate: float
    """Peak learning rate."""
    parts: dict[str, str]
    """Part of the network to what became of it: frozen, lora, full."""
    trainable_parameters: int
    """Parameters that it trained."""
    data: TrainedOnPart | None = None
    """What it learned from."""


class TrainPart(Part):
    """How the adapter was made. Of a training in stages, steps are counted over all of them; batch, learning
    rate and data are the last one's."""

    method: str
    """lora, full, ..."""
    train_id: str | None = None
    """Digest of everything that decides the trained weights."""
    steps: int | None = None
    """Optimiser steps taken."""
    seconds: float | None = None
    """Wall time of the training."""
    best_step: int | None = None
    """Step whose weights were kept."""
    trainable_parameters: int | None = None
    """Parameters that were trained."""
    total_parameters: int | None = None
    """Parameters of the network in training, the adapter's included."""
    batch: int | None = None
    """Samples that each step learned from."""
    learning_rate: float | None = None
    """Peak learning rate."""
    curve: tuple[dict[str, int | float], ...] = ()
    """Evaluations on the validation split during training: the step, and each metric's value."""
    left_out: int | None = None
    """Training samples that could not be used."""
    data: TrainedOnPart | None = None
    """What it learned from."""
    stages: tuple[TrainStagePart, ...] = ()
    """Its stages in order; empty where there were none."""
    settings: dict[str, Any] = {}
    """The train section that it was made with. The record's own spec may say otherwise: that is the task
    which the fine-tune is scored by."""


class GitPart(Part):
    """The state of the repository that the command ran in."""

    commit: str
    """Commit (hex)."""
    dirty: bool
    """Whether tracked files differ from it."""


class EnvironmentPart(Part):
    """What it ran in. Names of hosts and users are left out on purpose."""

    versions: dict[str, str] = {}
    """Distribution to version, for the libraries that can change a score."""
    python: str | None = None
    """Version of Python."""
    platform: str | None = None
    """Operating system and architecture."""
    git: GitPart | None = None
    """The repository of the working folder, if it is in one."""


class Draft(Part):
    """A finished run that isn't stored yet, so it has no id."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format."""
    spec_id: str
    """Digest of everything in the task that changes the score."""
    task: str
    """Name of the task."""
    kind: str
    """Kind of the task."""
    family: str
    """Model family that ran the checkpoint."""
    model: ModelPart
    """What ran."""
    data: DataPart
    """What it ran on."""
    primary: str
    """Name of the metric that decides: the task's first."""
    metrics: dict[str, MetricPart]
    """Scores by name, in the task's order."""
    speed: SpeedPart = SpeedPart()
    """How fast it ran."""
    usage: UsagePart | None = None
    """What was asked of a server; None for a model that runs here."""
    failures: FailurePart = FailurePart()
    """Samples without a prediction."""
    parent: str | None = None
    """Run id of the base of a fine-tune."""
    train: TrainPart | None = None
    """How the adapter was made; None for a base."""
    environment: EnvironmentPart = EnvironmentPart()
    """What it ran in."""
    params: dict[str, Any] = {}
    """The task's parameters in this run."""
    spec: dict[str, Any] = {}
    """The resolved task: every setting, as `harness show TASK --json` prints it."""
    seed: int = 0
    """Seed of everything random in the run."""
    started: AwareDatetime
    """When the run began."""
    ended: AwareDatetime
    """When its last sample was scored."""
    samples_sha256: str | None = None
    """SHA-256 of the file of sample rows; set by the store."""


class Record(Draft):
    """A stored run."""

    run_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the canonical JSON of everything else."""


def plain(value: Any) -> Json:
    """`value` as strict JSON: NaN and infinities become null, text becomes valid Unicode."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {str(plain(str(key))): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return value  # type: ignore[no-any-return]


def canonical(payload: Mapping[str, Any]) -> bytes:
    """Canonical JSON: keys sorted, no spaces, UTF-8, null for NaN."""
    return json.dumps(plain(payload), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def seal(draft: Draft) -> Record:
    """The draft with its id: from here on nothing of it changes."""
    payload: Any = plain(draft.model_dump(mode="json"))
    return Record.model_validate({"run_id": _content_id(payload), **payload})


def to_json(record: Record) -> str:
    """The record as the text of its file: fields in the order of this module, metrics in the task's."""
    return json.dumps(plain(record.model_dump(mode="json")), indent=2, ensure_ascii=False) + "\n"


def from_json(text: str, source: Path) -> Record:
    """Read and verify a record. Raises ResultError naming `source` when it isn't what was written."""
    try:
        payload = json.loads(text, parse_constant=_refuse_constant)
        if not isinstance(payload, dict):
            raise ValueError("not a JSON object")
    except ValueError as error:
        raise _damaged(source, f"it isn't JSON: {error}") from error
    newer = _is_newer(payload, source)
    if payload.get("run_id") != _content_id(payload):
        raise _damaged(source, "its content doesn't match its run_id")
    try:
        return Record.model_validate(payload)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        if newer:
            hint = "Update the harness: pip install --upgrade mm-harness"
            raise ResultError(f"{source}: this version can't read the fields {fields}", hint) from error
        raise _damaged(source, f"these fields are missing or wrong: {fields}") from error


def _content_id(payload: Mapping[str, Any]) -> str:
    content = {key: value for key, value in payload.items() if key != "run_id"}
    return hashlib.sha256(canonical(content)).hexdigest()


def _is_newer(payload: Mapping[str, Any], source: Path) -> bool:
    version = payload.get("schema_version")
    if not isinstance(version, int):
        raise _damaged(source, "it has no schema_version")
    if version > SCHEMA_VERSION:
        message = f"{source}: written by a newer harness (schema {version}, this one reads {SCHEMA_VERSION})"
        warnings.warn(message, NewerSchemaWarning, stacklevel=3)
    return version > SCHEMA_VERSION


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _damaged(source: Path, why: str) -> ResultError:
    hint = "Records never change: restore the file from a copy, or move it out of the results folder."
    return ResultError(f"{source}: the record is damaged: {why}", hint)
