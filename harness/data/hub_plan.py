"""Which files of a Hub dataset hold one split: found online, remembered for offline runs.

A plan lists exactly the files of the split that is asked for, so evaluating on test never downloads
train. Once they all have been downloaded, the plan is kept beside the Hub's cache: an offline run reads
the same files of the same commit, and never half of a download that was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from harness.data.rows import Request
from harness.errors import DataError
from harness.registry import near
from harness.remote import not_cached

CONVERTED = "refs/convert/parquet"
_NAMED_AT_MOST = 20


@dataclass(frozen=True)
class Plan:
    """`files` of the repository at `commit`, and the module of the `datasets` library that reads them."""

    commit: str
    module: str
    files: tuple[str, ...]
    settings: Mapping[str, Any]


def make_plan(request: Request) -> Plan:
    """Asks the Hub. Raises DataError for an unknown configuration or split; Hub errors pass unchanged."""
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(request.path, revision=request.revision, expand=["sha"])
    assert info.sha is not None
    if request.revision == CONVERTED:
        return _plan_converted(request, info.sha)
    return _plan_shards(request, info.sha) or _plan_built(request, info.sha)


def _plan_converted(request: Request, commit: str) -> Plan:
    """The branch that the Hub makes for viewing: CONFIGURATION/SPLIT/0000.parquet, no builder involved."""
    from huggingface_hub import HfApi

    files = HfApi().list_repo_files(request.path, repo_type="dataset", revision=commit)
    found: dict[str, dict[str, list[str]]] = {}
    for file in sorted(files):
        match file.split("/"):
            case [config, split, _] if file.endswith(".parquet"):
                found.setdefault(config, {}).setdefault(split, []).append(file)
    only = next(iter(found)) if len(found) == 1 and request.name is None else request.name
    splits = _pick(found, only, f"{request.path} at {CONVERTED}", "configuration", "data.name")
    files_of_split = _pick(splits, request.split, f"{request.path} ({only})", "split", "data.splits")
    return Plan(commit, "parquet", tuple(files_of_split), {})


def _plan_shards(request: Request, commit: str) -> Plan | None:
    """A folder of WebDataset shards for each split, as clip-benchmark has them; None where there is none.

    They keep a count of the shards beside them (nshards.txt), by which `datasets` 5.2 may take a split of one
    shard for text.
    """
    from huggingface_hub import HfApi

    if request.name is not None:
        return None
    files = HfApi().list_repo_files(request.path, repo_type="dataset", revision=commit)
    shards = [file for file in sorted(files) if re.fullmatch(r"[^/]+/[^/]+\.tar", file)]
    found: dict[str, list[str]] = {}
    for file in shards:
        found.setdefault(file.split("/")[0], []).append(file)
    return Plan(commit, "webdataset", tuple(found[request.split]), {}) if request.split in found else None


def _plan_built(request: Request, commit: str) -> Plan:
    """As the `datasets` library reads the repository: its README's configurations, or its file names."""
    from datasets import load_dataset_builder

    with _builder_errors(request, commit):
        builder = load_dataset_builder(request.path, request.name, revision=commit)
    config = builder.config
    where = f"{request.path} ({request.name})" if request.name else request.path
    addresses = _pick(config.data_files or {}, request.split, where, "split", "data.splits")
    prefix = f"hf://datasets/{request.path}@{commit}/"
    files = tuple(str(address).removeprefix(prefix) for address in addresses)
    module = type(builder).__module__.split(".")[-2]  # datasets.packaged_modules.MODULE.MODULE
    return Plan(commit, module, files, _settings(config))


@contextmanager
def _builder_errors(request: Request, commit: str) -> Iterator[None]:
    from datasets import get_dataset_config_names
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError

    try:
        yield
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise DataError(
            f"{request.path} is a loading script, which `datasets` no longer runs",
            f"Set data.revision: {CONVERTED}, the branch where the Hub keeps its rows as parquet.",
        ) from error
    except (EmptyDatasetError, DataFilesNotFoundError) as error:
        raise DataError(f"{request.path} holds no data files that can be read: {error}") from error
    except ValueError:
        configs = get_dataset_config_names(request.path, revision=commit)
        if request.name in configs:
            raise
        _pick(dict.fromkeys(configs), request.name, request.path, "configuration", "data.name")


def _settings(config: Any) -> dict[str, Any]:
    """What the README says about reading the files (a csv's separator), as far as it isn't the default."""
    from datasets import BuilderConfig

    general = {field.name for field in fields(BuilderConfig)}
    own = [field for field in fields(config) if field.name not in general]
    changed = {field.name: getattr(config, field.name) for field in own}
    return {
        field.name: changed[field.name]
        for field in own
        if isinstance(changed[field.name], bool | int | float | str | list)
        and changed[field.name] != field.default
    }


def _pick(found: Mapping[str, Any], wanted: str | None, where: str, what: str, key: str) -> Any:
    """The thing of that name. Raises DataError with the near name and the list."""
    if wanted is not None and wanted in found:
        return found[wanted]
    names = _listed(found)
    if wanted is None:
        raise DataError(f"{where} has several {what}s, and {key} names none", f"Choose one of: {names}.")
    suggestion = near(wanted, found)
    raise DataError(
        f"{where} has no {what} '{wanted}' ({key}). {suggestion}".rstrip(), f"It has: {names or 'none'}."
    )


def _listed(names: Iterable[str]) -> str:
    known = sorted(names)
    more = f" and {len(known) - _NAMED_AT_MOST} more" if len(known) > _NAMED_AT_MOST else ""
    return ", ".join(known[:_NAMED_AT_MOST]) + more


def remember(request: Request, plan: Plan) -> None:
    """Keep the plan, now that all its files are on this machine; also under the commit's own name."""
    for revision in {request.revision, plan.commit}:
        file = _memory(request, revision)
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as temporary:
            json.dump(asdict(plan), temporary)
        Path(temporary.name).replace(file)


def recall(request: Request) -> Plan:
    """The plan that was kept. Raises RemoteError when this split has never been downloaded whole."""
    try:
        kept = json.loads(_memory(request, request.revision).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise not_cached(f"the dataset {request}") from error
    return Plan(kept["commit"], kept["module"], tuple(kept["files"]), kept["settings"])


def _memory(request: Request, revision: str | None) -> Path:
    from huggingface_hub import constants

    key = json.dumps([revision or "main", request.name, request.split])
    folder = Path(constants.HF_HOME) / "harness" / "datasets" / request.path.replace("/", "--")
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
