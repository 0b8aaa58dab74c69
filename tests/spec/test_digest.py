"""spec_id changes with everything that changes the score, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.spec.load import load

TASK = """\
name: mine
kind: asr
data:
  path: owner/name
  columns: {audio: audio, target: text}
model: {checkpoint: openai/whisper-tiny}
generate: {language: en}
metrics: [{wer: {normalizer: lower}}]
"""


def spec_id(folder: Path, text: str) -> str:
    file = folder / "task.yaml"
    file.write_text(text)
    [resolved] = load(file)
    return resolved.spec_id


@pytest.mark.parametrize(
    "changed",
    [
        "# a comment\n" + TASK,
        TASK + "description: other words\n",
        TASK + "run: {workers: 7, batch_size: 3, max_failures: 0.5}\n",
        TASK + "leaderboard: speech\n",
        TASK + "params: {unused: 1}\n",
        TASK.replace("whisper-tiny", "whisper-small"),
        TASK.replace("name: mine", "name: yours"),
        TASK.replace("language: en", "language: en, num_beams: 1, temperature: 0"),
        TASK.replace("normalizer: lower", "normalizer: lower, skip_references: []"),
        TASK.replace("  path: owner/name", "  path: owner/name\n  splits: {train: all, test: test}"),
        TASK.replace("  path: owner/name", "  streaming: true\n  path: owner/name"),
        TASK.replace("language: en}", 'language: "{lang}"}\nparams: {lang: en}'),
    ],
)
def test_what_leaves_the_score_alone_leaves_the_digest_alone(tmp_path, changed):
    assert spec_id(tmp_path, changed) == spec_id(tmp_path, TASK)


@pytest.mark.parametrize(
    "changed",
    [
        TASK.replace("language: en", "language: fr"),
        TASK.replace("language: en", "language: en, num_beams: 2"),
        TASK.replace("language: en", "language: en, max_new_tokens: 20"),
        TASK.replace("language: en", "language: en, min_new_tokens: 2"),
        TASK.replace("normalizer: lower", "normalizer: none"),
        TASK.replace("{wer:", "{cer:"),
        TASK.replace("owner/name", "owner/other"),
        TASK.replace("target: text", "target: sentence"),
        TASK.replace("target: text", "target: text, group: speaker"),
        TASK.replace("  path: owner/name", "  path: owner/name\n  revision: v2"),
        TASK.replace("  path: owner/name", "  path: owner/name\n  split: validation"),
        TASK.replace("  path: owner/name", "  path: owner/name\n  splits: {test: test.clean}"),
        TASK.replace("kind: asr", "kind: speech_translation"),
    ],
)
def test_what_changes_the_score_changes_the_digest(tmp_path, changed):
    assert spec_id(tmp_path, changed) != spec_id(tmp_path, TASK)


def test_the_source_of_a_hook_is_part_of_the_digest(tmp_path):
    text = TASK.replace("  path: owner/name", "  path: owner/name\n  transform: my_hook:clean")
    hook = tmp_path / "my_hook.py"
    hook.write_text("def clean(row):\n    return row\n")
    first = spec_id(tmp_path, text)
    assert spec_id(tmp_path, text) == first
    hook.write_text("def clean(row):\n    return {**row, 'text': row['text'].lower()}\n")
    assert spec_id(tmp_path, text) != first


def test_a_hook_that_is_not_there_is_a_fault(tmp_path):
    text = TASK.replace("  path: owner/name", "  path: owner/name\n  transform: no_such_module:clean")
    with pytest.raises(SpecError, match=r"data\.transform: 'no_such_module:clean' can't be imported"):
        spec_id(tmp_path, text)


def test_options_of_a_builder_count_with_their_defaults(tmp_path):
    text = TASK.replace("owner/name", "synthetic:dummy")
    spelled = text.replace("synthetic:dummy", "synthetic:dummy\n  options: {n: 5}")
    assert spec_id(tmp_path, spelled) != spec_id(tmp_path, text)


def test_a_metric_script_counts_by_what_it_says_and_not_by_where_it_lies(tmp_path):
    text = TASK.replace("metrics: [{wer: {normalizer: lower}}]", "metrics: [{evaluate: ./mine.py}]")
    ids = []
    for name, script in (("a", "one"), ("b", "one"), ("c", "two")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "mine.py").write_text(f"# {script}")
        ids.append(spec_id(folder, text))
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("source", ["def clean(:\n", "raise SystemExit(0)\n", "1 / 0\n"])
def test_a_hook_that_can_not_be_imported_is_a_fault_and_never_a_silent_exit(tmp_path, source):
    name = f"hook_{len(source)}"
    (tmp_path / f"{name}.py").write_text(source)
    text = TASK.replace("  path: owner/name", f"  path: owner/name\n  transform: {name}:clean")
    with pytest.raises(SpecError, match=r"data\.transform: .* can't be imported"):
        spec_id(tmp_path, text)
