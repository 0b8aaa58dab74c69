"""A README that doesn't run is a red build: every command block is marked, and what can run here does.

The comment on the line before a ```console or ```bash block says what becomes of it:

    <!-- run -->            runs here, in an empty folder that the blocks share, and must exit with 0
    <!-- needs: hub -->     needs something that isn't here: one of NEEDS
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
NEEDS = ("hub", "gpu", "clone", "pypi")
FENCE = re.compile(r"^```(?:console|bash|sh|shell)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- (?:(run)|needs: (\w+)) -->\n\Z")


@dataclass(frozen=True)
class Block:
    """Commands of a README: `need` is None when they run here."""

    line: int
    script: str
    need: str | None


def blocks(text: str) -> list[Block]:
    """The command blocks of a Markdown text. Raises ValueError naming the line of one with no known mark."""
    return [_block(text, fence) for fence in FENCE.finditer(text)]


def _block(text: str, fence: re.Match[str]) -> Block:
    line = text.count("\n", 0, fence.start()) + 1
    mark = MARK.search(text, 0, fence.start())
    if mark is None or (mark[2] and mark[2] not in NEEDS):
        raise ValueError(
            f"line {line}: no <!-- run --> and no <!-- needs: {'|'.join(NEEDS)} --> stands before it"
        )
    return Block(line, commands(fence[1]), mark[2])


def commands(content: str) -> str:
    """The commands of a block: what follows "$ " at prompts (the rest is output), or all of it."""
    prompted = re.findall(r"^\$ ((?:[^\\\n]|\\[\s\S])*)", content, re.MULTILINE)
    return "\n".join(prompted) if prompted else content.strip()


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run in bash, in a folder, with this environment's commands, empty caches and no hub."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))
    }
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(folder / ".hub"),
        "HARNESS_CACHE": str(folder / ".cache"),
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def runnable() -> list[Block]:
    """The blocks to run; none when a mark is missing, which a test of its own reports."""
    try:
        return [block for block in blocks(README.read_text(encoding="utf-8")) if block.need is None]
    except (OSError, ValueError):
        return []


def test_every_block_of_the_readme_is_marked():
    assert blocks(README.read_text(encoding="utf-8"))
    assert runnable()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


@pytest.mark.heavy
@pytest.mark.parametrize("block", runnable(), ids=lambda block: f"line-{block.line}")
def test_the_readme_runs(block: Block, folder: Path):
    done = run(block.script, folder)
    assert done.returncode == 0, f"README.md:{block.line}\n{block.script}\n{done.stdout}{done.stderr}"


EXAMPLE = """\
# A tool

<!-- run -->
```console
$ printf '%s\\n' \\
    one
one
$ cat missing || true
```

<!-- needs: hub -->
```bash
harness run tasks/fleurs_asr.yaml
```

```python
not_a_command()
```
"""


def test_blocks_are_found_with_their_marks():
    first, second = blocks(EXAMPLE)
    assert (first.line, first.need) == (4, None)
    assert first.script == "printf '%s\\n' \\\n    one\ncat missing || true"
    assert (second.line, second.need) == (12, "hub")
    assert second.script == "harness run tasks/fleurs_asr.yaml"


@pytest.mark.parametrize("before", ["", "<!-- needs: luck -->\n", "<!-- run -->\n\n", "<!-- runs -->\n"])
def test_a_block_without_a_known_mark_is_a_fault(before: str):
    with pytest.raises(ValueError, match="no <!-- run -->"):
        blocks(f"# A tool\n\n{before}```bash\nls\n```\n")


def test_commands_run_in_the_folder_and_fail_at_the_first_fault(tmp_path: Path):
    (tmp_path / "here").touch()
    assert run("ls", tmp_path).stdout == "here\n"
    assert run("false\ntrue", tmp_path).returncode == 1
    assert run("python -c 'import sys; print(sys.prefix)'", tmp_path).stdout.strip() == sys.prefix
