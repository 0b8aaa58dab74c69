"""What a run happened in: versions and the state of the repository, but no names of hosts or users."""

from __future__ import annotations

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness import __version__
from harness.results.record import EnvironmentPart, GitPart

LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "accelerate",
    "datasets",
    "evaluate",
    "huggingface_hub",
    "numpy",
    "pillow",
    "scikit-learn",
    "torchvision",
    "pyarrow",
    "soundfile",
    "soxr",
    "av",
    "jiwer",
    "rapidfuzz",
    "sacrebleu",
    "espeakng-loader",
    "bitsandbytes",
)
GIT_SECONDS = 10


def environment(folder: Path | None = None) -> EnvironmentPart:
    """Versions of the libraries that can change a score, and git's state of `folder` (the working folder)."""
    return EnvironmentPart(
        versions={"mm-harness": __version__}
        | {name: found for name in LIBRARIES if (found := installed(name))},
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        git=_git_state(folder or Path.cwd()),
    )


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _git_state(folder: Path) -> GitPart | None:
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return GitPart(commit=commit, dirty=changes != "")


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command; None without git or outside of a repository."""
    program = shutil.which("git")
    if program is None:
        return None
    command = [program, "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)  # noqa: S603 -- fixed arguments
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
