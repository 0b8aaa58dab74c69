"""An adapter whose base is elsewhere now: found again by its name, or asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def moved(command, tuned_task, tmp_path) -> str:
    """A trained adapter that was moved away from where its base is relative to it."""
    tuned_task()
    folder = command("train", "task.yaml", "--json").json()["adapter"]
    shutil.move(tmp_path / folder, tmp_path / "deep" / "down" / "in" / "adapter")
    return "deep/down/in/adapter"


def test_the_base_is_found_by_its_name(command, tuned_task, tmp_path):
    adapter = moved(command, tuned_task, tmp_path)
    done = command("export", adapter, "--out", "merged")
    assert done.code == 0, done.err


def test_what_was_looked_for_is_said(command, tuned_task, tmp_path):
    adapter = moved(command, tuned_task, tmp_path)
    (tmp_path / "checkpoint").rename(tmp_path / "elsewhere")
    done = command("export", adapter, "--out", "merged")
    assert done.code == 2
    assert "trained on ./checkpoint, which isn't there" in done.err
    assert str(tmp_path / "checkpoint") in done.err
    assert str(tmp_path / "deep" / "checkpoint") in done.err
    assert "--model PATH_OF_THE_BASE" in done.err
    assert command("export", adapter, "--out", "merged", "--model", "elsewhere").code == 0


def test_other_weights_under_its_name_are_refused(command, tuned_task, tmp_path):
    from tests.models.tiny import tiny_whisper

    adapter = moved(command, tuned_task, tmp_path)
    shutil.rmtree(tmp_path / "checkpoint")
    tiny_whisper(tmp_path / "checkpoint", seed=5)
    done = command("export", adapter, "--out", "merged")
    assert done.code == 2
    assert "was not trained on" in done.err


def test_other_weights_where_it_was_give_way_to_its_own_under_its_name(command, tuned_task, tmp_path):
    from tests.models.tiny import tiny_whisper

    adapter = moved(command, tuned_task, tmp_path)
    tiny_whisper(tmp_path / "deep" / "checkpoint", seed=5)
    done = command("export", adapter, "--out", "merged")
    assert done.code == 0, done.err


def test_the_manifest_shows_no_absolute_path(command, tuned_task, tmp_path):
    tuned_task(model={"checkpoint": str(tmp_path / "checkpoint")})
    folder = Path(command("train", "task.yaml", "--json").json()["adapter"])
    text = (folder / "harness.json").read_text()
    assert str(tmp_path) not in text
    base = json.loads(text)["base"]
    assert (base["checkpoint"], base["path"]) == ("checkpoint", "../../../checkpoint")
    assert command("export", str(folder), "--out", "merged").code == 0
    assert "Already trained" in command("run", "task.yaml").err
