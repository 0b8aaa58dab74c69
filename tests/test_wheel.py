"""The wheel alone is enough: installed elsewhere, in an empty folder, the quickstart runs."""

import json
import os
import site
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    [built] = folder.glob("mm_harness-*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel and, beside it, the libraries installed here.

    A .pth file lends the libraries, so nothing is downloaded; an editable install here isn't lent with them.
    """
    environment = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    install = [
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run([sys.executable, *install], check=True)
    scheme = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
    (packages / "lent.pth").write_text("\n".join([*site.getsitepackages()]))
    return python.parent


@pytest.fixture
def installed(elsewhere: Path, tmp_path: Path):
    """Runs the installed command in an empty folder, with empty caches and no hub."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))
    }
    environment |= {
        "PATH": f"{elsewhere}{os.pathsep}{os.environ['PATH']}",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "hub"),
        "HARNESS_CACHE": str(tmp_path / "cache"),
    }
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*arguments: str) -> str:
        command = [str(elsewhere / "harness"), *arguments]
        done = subprocess.run(
            command, cwd=empty, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_it_carries_what_is_shipped_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    for file in (
        "tasks/fleurs_asr.yaml",
        "tasks/kinds/asr.yaml",
        "leaderboards/asr.yaml",
        "spaces/README.md",
    ):
        assert f"harness/_shipped/{file}" in names
    checkpoints = "harness/_shipped/tasks/quickstart/checkpoints/"
    assert any(name.startswith(checkpoints) and name.endswith(".safetensors") for name in names)
    assert {"harness/py.typed", "harness/results/store.py"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"harness"}
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_it_is_the_installed_one_that_runs(elsewhere: Path, tmp_path: Path):
    where = [str(elsewhere / "python"), "-c", "import harness; print(harness.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert Path(found).is_relative_to(elsewhere.parent)


def test_the_shipped_tasks_are_listed(installed):
    listed = installed("list", "tasks")
    assert "fleurs_asr" in listed
    assert "quickstart/spoken_digits" in listed


def test_the_quickstart_runs_in_an_empty_folder(installed, tmp_path: Path):
    answer = json.loads(installed("eval", "quickstart/spoken_digits", "--limit", "5", "--json"))
    stored = {path.stem for path in (tmp_path / "empty" / "results" / "runs").glob("*/*.json")}
    assert {run["run_id"] for run in answer["runs"]} == stored
    assert all(run["data"]["limit"] == 5 for run in answer["runs"])
    assert stored
