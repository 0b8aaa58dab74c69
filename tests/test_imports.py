"""Imports point one way only, and the command line starts without the heavy libraries."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[1] / "harness"

# From the bottom up. A layer imports the ones below it. What stands in one set may import each other;
# the sets of a layer are siblings, which may not.
LAYERS: tuple[tuple[frozenset[str], ...], ...] = (
    (
        frozenset(
            {
                "__init__",
                "errors",
                "types",
                "registry",
                "shipped",
                "processes",
                "progress",
                "progress_bar",
                "remote",
            }
        ),
    ),
    (frozenset({"spec"}),),
    tuple(frozenset({name}) for name in ("data", "metrics", "models", "results")),
    tuple(frozenset({name}) for name in ("training", "evaluation")),
    tuple(
        frozenset(names.split())
        for names in (
            "leaderboard",
            "space",
            "hub",
            "doctor",
            "listing",
            "plots",
            "report outcome tuning tuning_report plan_report",
        )
    ),
    (frozenset({"pipeline"}),),
    (frozenset({"cli", "commands", "__main__"}),),
)
PLACE = {unit: (height, group) for height, layer in enumerate(LAYERS) for group in layer for unit in group}
HEAVY = ("torch", "transformers", "datasets", "pyarrow", "numpy", "pydantic")


def faults(package: Path) -> list[str]:
    """What is wrong with the imports of a package called harness, as file:line and reason."""
    found = []
    for file in sorted(package.rglob("*.py")):
        own = file.relative_to(package).with_suffix("").parts[0]
        if own not in PLACE:
            found.append(f"{file}:1 '{own}' has no layer: add it to LAYERS in {Path(__file__).name}")
            continue
        for line, other in imported(file, package):
            if why := forbidden(own, other):
                found.append(f"{file}:{line} {own} imports {other}: {why}")
    return found


def forbidden(own: str, other: str) -> str:
    """Why `own` may not import `other`, or an empty string."""
    if other not in PLACE:
        return "it has no layer"
    (height, group), (other_height, other_group) = PLACE[own], PLACE[other]
    if other_height > height:
        return "imports point down only"
    return "siblings don't know each other" if other_height == height and group != other_group else ""


def imported(file: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Line and unit of every import from the package, those inside of functions included."""
    folder = ["harness", *file.relative_to(package).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, *rest = name.split(".")
            if top == "harness":
                yield node.lineno, unit(rest, package)


def unit(path: list[str], package: Path) -> str:
    """The module or subpackage of harness that a dotted path leads to, or harness's own __init__."""
    if path and ((package / path[0]).is_dir() or (package / f"{path[0]}.py").is_file()):
        return path[0]
    return "__init__"


def test_imports_point_one_way():
    assert faults(HARNESS) == []


@pytest.mark.parametrize(
    ("module", "line", "why"),
    [
        (
            "data/rows.py",
            "from harness.pipeline import run",
            "data imports pipeline: imports point down only",
        ),
        ("data/rows.py", "def f():\n    import harness.cli", "data imports cli: imports point down only"),
        ("data/rows.py", "from harness import evaluation", "data imports evaluation"),
        ("data/rows.py", "from harness.models.base import Adapter", "siblings don't know each other"),
        ("data/rows.py", "from ..metrics import base", "siblings don't know each other"),
        ("data/rows.py", "if TYPE_CHECKING:\n    from harness.results import store", "siblings"),
        ("errors.py", "from harness.spec import load", "errors imports spec: imports point down only"),
        ("gadgets.py", "x = 1", "'gadgets' has no layer"),
    ],
)
def test_a_wrong_import_is_seen(tmp_path: Path, module: str, line: str, why: str):
    package = fabricated(tmp_path)
    (package / module).write_text(line)
    [fault] = faults(package)
    assert f"{module}:" in fault
    assert why in fault


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (
            "data/rows.py",
            "from harness.errors import DataError\nfrom . import audio\nfrom harness import __version__",
        ),
        ("pipeline.py", "from harness.data.rows import rows\nimport harness.models.base"),
        ("registry.py", "from harness.errors import UsageError"),
        ("data/rows.py", "import numpy\nfrom os import path"),
    ],
)
def test_a_right_import_is_not(tmp_path: Path, module: str, line: str):
    package = fabricated(tmp_path)
    (package / module).write_text(line)
    assert faults(package) == []


def fabricated(folder: Path) -> Path:
    """An empty package with the harness's layout."""
    package = folder / "harness"
    for name in ("spec", "data", "metrics", "models", "results", "evaluation"):
        (package / name).mkdir(parents=True)
    for name in ("__init__", "errors", "pipeline", "cli", "data/audio"):
        (package / f"{name}.py").touch()
    return package


def test_the_command_line_starts_without_heavy_libraries():
    show = "import sys, json, harness.cli; print(json.dumps(sorted({*sys.argv[1:]} & {*sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", show, *HEAVY], capture_output=True, text=True, check=True, cwd=HARNESS.parent
    )
    assert json.loads(done.stdout) == []
