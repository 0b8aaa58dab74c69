"""Runs commands of the harness one after the other in one process; run where HF_ENDPOINT is set.

python run_commands.py '[["eval", "cifar10", "--json"], ...]' prints [{"code", "out", "err"}, ...]
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout

from harness.cli import main


def finished(arguments: list[str]) -> dict[str, object]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    print(json.dumps([finished(arguments) for arguments in json.loads(sys.argv[1])]))
