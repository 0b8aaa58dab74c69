"""Datasets of the Hugging Face Hub: the files of one split, at one commit, through the Hub's cache."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data.arrow_rows import ParquetRows, read_files, stream_files
from harness.data.hub_plan import Plan, make_plan, recall, remember
from harness.data.media_folder import media_folder
from harness.data.rows import Opened, Request, Rows, Stream
from harness.errors import DataError
from harness.remote import is_offline, remote_errors

_DOWNLOADS_AT_ONCE = 8
_MEDIA_FOLDERS = (
    "audiofolder",
    "imagefolder",
)  # the library's own reader encodes clips anew, with torchcodec


@dataclass(frozen=True)
class Fetched:
    """A file that is on this machine now: its path in the repository and its size."""

    path: str
    bytes: int


def open_hub(request: Request) -> Opened:
    """The rows of a split, downloaded first unless streamed. Raises RemoteError, DataError."""
    offline = request.offline or is_offline()
    with remote_errors(f"the dataset {request.path}"):
        plan = recall(request) if offline else make_plan(request)
        streaming = request.streaming and plan.module not in _MEDIA_FOLDERS
        if streaming and not offline:
            repository = f"hf://datasets/{request.path}@{plan.commit}"
            return Opened(
                _stream(request, plan, [f"{repository}/{file}" for file in plan.files]), plan.commit
            )
        files = _download(request, plan, offline)
    if streaming:
        return Opened(_stream(request, plan, files), plan.commit)
    return Opened(_rows(request, plan, files), plan.commit)


def fetch_hub(request: Request, beside: Sequence[str] = ()) -> list[Fetched]:
    """Download what an offline run of this split needs, and `beside` it. Raises RemoteError, DataError."""
    with remote_errors(f"the dataset {request.path}"):
        plan = make_plan(request)
        files = _download(request, plan, offline=False)
    at_commit = replace(request, revision=plan.commit)
    names = [*plan.files, *beside]
    files += [hub_file(at_commit, name) for name in beside]
    return [
        Fetched(f"{request.path}/{name}", file.stat().st_size)
        for name, file in zip(names, files, strict=True)
    ]


def hub_file(request: Request, name: str) -> Path:
    """A file that the dataset has beside its rows, at the commit that the request names.

    Raises RemoteError, and DataError when there is no such file.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    offline = request.offline or is_offline()
    with remote_errors(f"the file {name} of the dataset {request.path}"):
        try:
            return Path(
                hf_hub_download(
                    request.path,
                    name,
                    repo_type="dataset",
                    revision=request.revision,
                    local_files_only=offline,
                )
            )
        except RemoteEntryNotFoundError as error:
            raise DataError(f"{request.path} has no file '{name}' (classes.names_file)") from error


def _download(request: Request, plan: Plan, offline: bool) -> list[Path]:
    from huggingface_hub import hf_hub_download

    def one(file: str) -> Path:
        return Path(
            hf_hub_download(
                request.path, file, repo_type="dataset", revision=plan.commit, local_files_only=offline
            )
        )

    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        files = list(pool.map(one, plan.files))
    if not offline:
        remember(request, plan)
    return files


def _rows(request: Request, plan: Plan, files: list[Path]) -> Rows:
    if plan.module == "parquet":
        return ParquetRows(files)
    if plan.module in _MEDIA_FOLDERS:
        return media_folder(files, str(request))
    return read_files(plan.module, files, plan.settings)


def _stream(request: Request, plan: Plan, files: Sequence[str | Path]) -> Stream:
    return stream_files(plan.module, files, plan.settings, f"the dataset {request.path}")
