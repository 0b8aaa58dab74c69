"""What this machine has, what it lacks, and how to get it: for people, and for bug reports.

No check fails: what can't be found out is reported as such. No host, user or token is ever named.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import __version__
from harness.results.environment import LIBRARIES, installed

OLDEST_PYTHON = (3, 11)
GIB = 1024**3
LOW_DISK_BYTES = 5 * GIB
LOW_MEMORY_BYTES = 4 * GIB
NETWORK_SECONDS = 3.0
BAD_REQUEST = 400
OPTIONAL = {
    "bitsandbytes": ("loads checkpoints in 8 or 4 bits", "pip install 'mm-harness[quantisation]'"),
    "gradio": ("serves demos", "pip install 'mm-harness[demos]'"),
    "av": ("decodes m4a, webm and video", "pip install 'mm-harness[video]'"),
    "espeakng-loader": ("speaks the quickstart's digits", "pip install 'mm-harness[quickstart]'"),
    "torchvision": ("prepares images fast", "pip install torchvision"),
    "trackio": ("tracks training", "pip install 'mm-harness[tracking]'"),
}


@dataclass(frozen=True)
class Check:
    """One finding: `cure` is the command or the setting that changes it, empty when all is well."""

    name: str
    status: Literal["ok", "missing", "warn"]
    detail: str
    cure: str = ""


def checks() -> list[Check]:
    """Everything worth knowing before a run, the necessary first. Takes up to some seconds."""
    return [
        Check("mm-harness", "ok", __version__),
        _python(),
        Check("platform", "ok", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
        *_libraries(),
        *_devices(),
        _memory(),
        *_optional(),
        *_folders(),
        _network(),
        _token(),
    ]


def _python() -> Check:
    found = platform.python_version()
    if sys.version_info >= OLDEST_PYTHON:
        return Check("python", "ok", found)
    return Check("python", "warn", f"{found} is too old", "Install Python 3.11 or newer")


def _libraries() -> Iterator[Check]:
    for name in LIBRARIES:
        if name in OPTIONAL:
            continue
        found = installed(name)
        if found:
            yield Check(name, "ok", found)
        else:
            yield Check(name, "missing", "is needed", "pip install mm-harness")


def _devices() -> Iterator[Check]:
    if installed("torch") is None:
        return
    import torch

    for number in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(number)
        yield Check(f"cuda:{number}", "ok", f"{device.name}, {device.total_memory / GIB:.0f} GiB")
    if torch.backends.mps.is_available():
        yield Check("mps", "ok", "Apple GPU")
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        cure = (
            "Check the GPU's driver: nvidia-smi" if built else "See https://pytorch.org/get-started/locally"
        )
        why = "none is visible" if built else "this build of torch knows no GPU"
        yield Check("cuda", "missing", f"{why}; everything runs on the CPU", cure)
    yield Check("cpu", "ok", f"{torch.get_num_threads()} threads")


def _memory() -> Check:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return Check("memory", "warn", "can't be found out on this system")
    detail = f"{total / GIB:.1f} GiB"
    if total < LOW_MEMORY_BYTES:
        return Check("memory", "warn", f"{detail} is little", "Lower run.batch_size in the task file")
    return Check("memory", "ok", detail)


def _optional() -> Iterator[Check]:
    for name, (purpose, cure) in OPTIONAL.items():
        found = installed(name)
        if found:
            yield Check(name, "ok", f"{found} ({purpose})")
        else:
            yield Check(name, "missing", f"optional: {purpose}", cure)


def _folders() -> Iterator[Check]:
    yield _room("working folder", Path.cwd(), "Free some space, or run elsewhere")
    if installed("huggingface_hub"):
        from huggingface_hub.constants import HF_HUB_CACHE

        yield _room(
            "hub cache", Path(HF_HUB_CACHE), "Free some space, or set HF_HOME to a folder on another disk"
        )
    if installed("datasets"):
        from datasets.config import HF_DATASETS_CACHE

        cure = "Free some space, or set HF_DATASETS_CACHE to a folder on another disk"
        yield _room("datasets cache", Path(HF_DATASETS_CACHE), cure)


def _room(name: str, folder: Path, cure: str) -> Check:
    """Free space where a folder is or will be."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{_without_home(folder)}, {free / GIB:.0f} GiB free"
    if free < LOW_DISK_BYTES:
        return Check(name, "warn", detail, cure)
    if not os.access(existing, os.W_OK):
        return Check(name, "warn", f"{detail}, but it can't be written to", "Take another folder")
    return Check(name, "ok", detail)


def _without_home(folder: Path) -> str:
    home = Path.home()
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)


def _network() -> Check:
    if installed("huggingface_hub") is None:
        return Check("network", "warn", "not tried", "pip install mm-harness")
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return Check("network", "warn", "off: HF_HUB_OFFLINE is set", "Unset HF_HUB_OFFLINE")
    try:
        status = get_session().head(constants.ENDPOINT, timeout=NETWORK_SECONDS).status_code
    except Exception as error:  # noqa: BLE001 -- whatever goes wrong is the finding, and it is shown
        detail = f"{constants.ENDPOINT} can't be reached: {type(error).__name__}"
        return Check(
            "network", "warn", detail, "quickstart/ tasks need no network; behind a proxy set HTTPS_PROXY"
        )
    if status >= BAD_REQUEST:
        return Check(
            "network",
            "warn",
            f"{constants.ENDPOINT} refuses with {status}",
            "Ask who runs the proxy or mirror",
        )
    return Check("network", "ok", f"{constants.ENDPOINT} answers")


def _token() -> Check:
    if installed("huggingface_hub") is None:
        return Check("token", "warn", "not looked for", "pip install mm-harness")
    from huggingface_hub import get_token

    if get_token():
        return Check("token", "ok", "there is one (not checked)")
    return Check(
        "token", "missing", "optional: for gated data, private models and publishing", "hf auth login"
    )
