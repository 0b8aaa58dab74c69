"""The environment of a run: versions and git's state, and no names of machines."""

import platform
import subprocess
from pathlib import Path

from harness import __version__
from harness.results.environment import environment


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_versions_of_what_computes_the_score(tmp_path: Path):
    found = environment(tmp_path)
    assert found.versions["torch"].startswith("2.")
    assert {"transformers", "datasets", "numpy"} <= set(found.versions)
    assert found.versions["mm-harness"] == __version__
    assert (found.python, found.platform) == (
        platform.python_version(),
        f"{platform.system()} {platform.machine()}",
    )


def test_no_repository_is_no_commit(tmp_path: Path):
    assert environment(tmp_path).git is None


def test_a_changed_file_makes_the_repository_dirty(tmp_path: Path):
    git(tmp_path, "init")
    (tmp_path / "task.yaml").write_text("name: a")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "a")
    clean = environment(tmp_path).git
    (tmp_path / "task.yaml").write_text("name: b")
    dirty = environment(tmp_path).git
    assert clean is not None
    assert dirty is not None
    assert len(clean.commit) == 40
    assert (clean.dirty, dirty.dirty) == (False, True)
    assert clean.commit == dirty.commit
