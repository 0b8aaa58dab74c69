"""From a task file's data section to a dataset: find the split, check the columns, add the steps."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from harness.data.class_files import local_names_file, read_names
from harness.data.columns import named, require_columns
from harness.data.dataset import Dataset, make_dataset
from harness.data.join import load_join
from harness.data.labels import labels
from harness.data.local_source import SUFFIXES, open_local
from harness.data.rows import Opened, Request, Rows, Step, SteppedRows, Stream
from harness.data.samples import SampleMaker
from harness.data.synthetic import PREFIX, open_synthetic
from harness.data.targets import Choices, Targets, open_targets
from harness.data.transform import load_transform
from harness.data.where import kept_rows
from harness.errors import DataError, RemoteError, RowError
from harness.spec.classes import Classes
from harness.spec.find import existing
from harness.spec.kinds import KINDS
from harness.spec.schema import Data, Join

if TYPE_CHECKING:
    from harness.data.hub_source import Fetched

Purpose: TypeAlias = Literal["train", "validation", "test"]
HUB_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?", re.ASCII)
_TRIED_ROWS = 10


def load(
    data: Data,
    *,
    base: Path,
    inputs: tuple[str, ...],
    kind: str | None = None,
    classes: Classes | None = None,
    split: Purpose | None = None,
    limit: int | None = None,
    seed: int = 0,
    offline: bool = False,
) -> Dataset:
    """The samples of one split of the task's data.

    `inputs` are the columns that the task's kind gives to the model; every mapped column is checked
    before anything else. `kind` says what targets are: names of `classes`, a list of captions, else texts.
    `split` is a purpose, the task's own (`data.split`) when not given. `limit` takes a seeded subset: the
    same seed's subset of 10 lies within its subset of 100. `data.corrupt` is done to media, whatever the
    split: the data of a training has none (`harness.spec.training_data`).

    Raises DataError when the dataset, split or a column isn't there, ids are not unique, or the classes
    aren't those of the dataset; RemoteError when a hub can't be reached; UsageError for an unknown synthetic
    dataset.
    """
    if limit is not None and limit < 1:
        raise DataError(f"the limit is {limit}: it must be at least 1")
    request = _request(data, base, split, offline)
    opened = open_split(request)
    if data.transform is None:  # else the columns are the transform's, and it may want the join's
        joined = data.join.take if data.join else {}
        require_columns(data.columns, [*opened.rows.columns, *joined], "data.columns", str(request))
    rows = _with_steps(kept_rows(opened.rows, data.where, request), data, request)
    if data.transform is not None:
        present = _columns_after_steps(rows, data.transform)
        require_columns(data.columns, present, "data.columns", f"{request}, after the transform,")
    root = opened.rows.media_root if isinstance(opened.rows, Rows) else None
    own = rows.class_names.get(str(data.columns.get("target")))
    targets = _targets(kind, classes, own, replace(request, revision=opened.revision))
    maker = SampleMaker(data.columns, inputs, root, targets, data.corrupt)
    return make_dataset(rows, maker, request, revision=opened.revision, limit=limit, seed=seed)


def fetch(
    data: Data, *, base: Path, classes: Classes | None = None, split: Purpose | None = None
) -> list[Fetched]:
    """Download what an offline run needs: the files of the one split, of its join, of its classes.

    Empty for data that is on this machine already. Raises DataError, RemoteError.
    """
    from harness.data.hub_source import fetch_hub

    request = _request(data, base, split, offline=False)
    requests = [request] + ([_join_request(data.join, data, request)] if data.join else [])
    on_hub = [one for one in requests if not one.path.startswith(PREFIX) and find_local(one) is None]
    named = _names_file(classes)
    beside = [named] if named else []
    return [file for one in on_hub for file in fetch_hub(one, beside if one is request else [])]


def _targets(
    kind: str | None, classes: Classes | None, own: tuple[str, ...] | None, request: Request
) -> Targets:
    """How the column is read that is the target; `own` are the dataset's names of its classes.

    `request` has the commit that the rows stand at.
    """
    if kind is not None and KINDS[kind].options:
        return Choices()
    if kind is None or not KINDS[kind].classes:
        return open_targets(kind, own)
    given = classes.names if classes else None
    if (named := _names_file(classes)) is not None:
        given = read_names(_found_names_file(request, named))
    return labels(given, own, str(request), multilabel=classes is not None and classes.multilabel)


def _names_file(classes: Classes | None) -> str | None:
    """The file to read the classes' names from, None where the task lists them, or names no file."""
    return classes.names_file if classes is not None and classes.names is None else None


def _found_names_file(request: Request, name: str) -> Path:
    if request.path.startswith(PREFIX):
        raise DataError(f"{request.path} has no files, but classes.names_file is '{name}'")
    local = find_local(request)
    if local is not None:
        return local_names_file(local if local.is_dir() else local.parent, request.name, name)
    from harness.data.hub_source import hub_file

    return hub_file(request, name)


def open_split(request: Request) -> Opened:
    """The rows of a split, wherever they are. Raises DataError, RemoteError, UsageError."""
    if request.path.startswith(PREFIX):
        return open_synthetic(request)
    local = find_local(request)
    if local is not None:
        return open_local(request, local)
    from harness.data.hub_source import open_hub

    try:
        return open_hub(request)
    except RemoteError as error:
        error.hint = f"{_not_local(request)} {error.hint}".strip()
        raise


def _not_local(request: Request) -> str:
    """A mistyped folder would otherwise look like a network's fault."""
    return f"There is no local file or folder '{request.path}' either (./ is relative to the task file)."


def find_local(request: Request) -> Path | None:
    """The file or folder that the path names, None where it names a dataset of the Hub.

    ./ and ../ are relative to the task file, other paths to the working directory. Raises DataError for
    what is clearly a path and isn't there.
    """
    written = request.path
    path = existing(request.base / written if written.startswith(".") else written) if written else None
    if path is not None:
        return path
    looks_like_path = written.startswith(".") or Path(written).suffix.lower() in SUFFIXES
    if looks_like_path or not HUB_ID.fullmatch(written):
        raise DataError(f"there is no file or folder '{written}' (data.path)", _looked_in(request))
    return None


def _looked_in(request: Request) -> str:
    return f"Looked in {request.base.resolve()}." if request.path.startswith(".") else ""


def _request(data: Data, base: Path, purpose: Purpose | None, offline: bool) -> Request:
    purpose = purpose or data.split
    split = getattr(data.splits, purpose)
    if split is None:
        raise DataError(
            f"the task names no {purpose} split",
            f"Add data.splits.{purpose}: the split's name in {data.path}.",
        )
    return Request(
        path=data.path,
        split=split,
        name=data.name,
        revision=data.revision,
        options=data.options,
        streaming=data.streaming,
        offline=offline,
        base=base,
    )


def _with_steps(rows: Rows | Stream, data: Data, request: Request) -> Rows | Stream:
    """The rows with the task's join and transform, in this order, applied on access."""
    steps: list[Step] = []
    class_names = dict(rows.class_names)
    if data.join is not None:
        require_columns({"on": data.join.on}, rows.columns, "data.join", str(request))
        other = _join_request(data.join, data, request)
        joined = open_split(other).rows
        steps.append(load_join(joined, data.join.on, data.join.take, other, data.join.key))
        own = {new: joined.class_names.get(column) for new, column in data.join.take.items()}
        class_names |= {new: names for new, names in own.items() if names}
    if data.transform is not None:
        steps.append(load_transform(data.transform, request.base))
        class_names = {}  # whatever it does to a number, the old names would be given to the new one
    elif isinstance(rows, Rows):
        wanted = set(named(data.columns)) | ({data.join.on} if data.join else set())
        rows = rows.only(wanted & set(rows.columns))
    if not steps:
        return rows
    if isinstance(rows, Stream):
        return Stream(rows.rows, rows.columns, tuple(steps), class_names)
    return SteppedRows(rows, steps, class_names)


def _join_request(join: Join, data: Data, request: Request) -> Request:
    same = join.path in (None, data.path)
    return replace(
        request,
        path=join.path or data.path,
        name=join.name,
        revision=data.revision if same else None,
        options=data.options if same else {},
        streaming=False,
    )


def _columns_after_steps(rows: Rows | Stream, transform: str) -> list[str]:
    """The keys of the first row that can be read and transformed. Raises DataError when none can."""
    if isinstance(rows, Stream):
        rows = rows.window(list(islice(rows, _TRIED_ROWS)))
    reason = "there are no rows"
    for position in range(min(_TRIED_ROWS, len(rows))):
        try:
            return list(rows[position])
        except RowError as error:
            reason = str(error)
    raise DataError(f"data.transform: '{transform}' could transform none of the first rows: {reason}")
