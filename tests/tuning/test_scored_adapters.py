"""Adapters by their folder: scored, exported, refused."""

from __future__ import annotations

from pathlib import Path

RUN = ("run", "task.yaml")


def folders(results: Path) -> list[Path]:
    return sorted((results / "adapters").glob("*")) if (results / "adapters").exists() else []


def test_an_adapter_is_scored_by_its_folder(command, tuned_task, tmp_path):
    tuned_task()
    tuned = command(*RUN, "--json").json()["runs"][1]
    for arguments in (("eval", "task.yaml"), RUN):
        [run] = command(*arguments, "--adapter", tuned["model"]["adapter"], "--json").json()["runs"]
        assert run["metrics"] == tuned["metrics"]
        assert run["model"] == tuned["model"]
        assert run["train"] == tuned["train"]
        assert run["parent"] == tuned["parent"]
    other = ("--set", "data.split=validation")
    [run] = command("eval", "task.yaml", "--adapter", tuned["model"]["adapter"], *other, "--json").json()[
        "runs"
    ]
    assert run["parent"] is None, "its base was not scored on these samples"  # fmt: skip


def test_an_adapter_of_other_weights_is_refused(command, tuned_task, tmp_path):
    from tests.models.tiny import tiny_whisper

    tuned_task()
    folder = command("train", "task.yaml", "--json").json()["adapter"]
    tiny_whisper(tmp_path / "other", seed=5)
    done = command("eval", "task.yaml", "--model", str(tmp_path / "other"), "--adapter", folder)
    assert done.code == 2
    assert "was not trained on" in done.err


def test_an_exported_checkpoint_says_what_the_adapter_said(command, tuned_task, tmp_path):
    tuned_task()
    tuned = command(*RUN, "--json").json()["runs"][1]
    done = command("export", tuned["model"]["adapter"], "--out", "merged", "--json")
    assert done.code == 0, done.err
    assert max(done.json()["parity"][name] for name in ("merged", "reloaded")) <= 1e-5
    [run] = command("eval", "task.yaml", "--model", "merged", "--json").json()["runs"]
    assert run["metrics"] == tuned["metrics"]
    assert command("export", tuned["model"]["adapter"], "--out", "half", "--dtype", "bfloat16").code == 2


def test_an_adapter_from_elsewhere_needs_its_base_named(command, tuned_task, tmp_path):
    tuned_task()
    folder = Path(command("train", "task.yaml", "--json").json()["adapter"])
    (folder / "harness.json").unlink()
    refused = command("export", str(folder), "--out", "merged")
    assert refused.code == 2
    assert "Name that with --model." in refused.err
    done = command("export", str(folder), "--out", "merged", "--model", "checkpoint")
    assert done.code == 0, done.err
    [run] = command("eval", "task.yaml", "--adapter", str(folder), "--json").json()["runs"]
    assert run["model"]["adapter"] == str(folder)
    assert run["train"] is None


def test_a_scored_adapter_is_named_and_tells_its_own_settings_not_those_of_the_task(command, tuned_task):
    tuned_task({"keep": [], "select_by": "last"})
    adapter = command("train", "task.yaml", "--set", "train.lora.alpha=9").out.strip()
    scored = command("eval", "task.yaml", "--adapter", adapter)
    assert f"checkpoint + {adapter}" in " ".join(scored.out.split("┏")[0].split())
    shown = command("show", "latest").out
    assert f"checkpoint + {adapter}" in " ".join(shown.split("┏")[0].split())
    assert "lora.r 2, lora.alpha 9" in " ".join(shown.split())
