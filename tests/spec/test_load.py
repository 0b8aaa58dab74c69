"""What a user meets first: task files that say what they mean, and exact complaints when they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SpecError, UsageError
from harness.spec.document import Origin
from harness.spec.find import find, shipped_tasks
from harness.spec.load import ResolvedTask, load
from harness.spec.resolve import parse_setting

MINIMAL = """\
name: mine
kind: asr
data:
  path: owner/name
  columns: {audio: audio, target: text}
model: {checkpoint: openai/whisper-tiny}
metrics: [wer]
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "task.yaml") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def only(file: Path, *settings: str) -> ResolvedTask:
    [resolved] = load(file, [parse_setting(text) for text in settings])
    return resolved


def complaints(file: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(file)
    return [str(fault).replace(f"{file.parent}/", "") for fault in caught.value.faults]


def test_every_shipped_task_loads():
    names = dict(shipped_tasks())
    assert {"fleurs_asr", "librispeech_clean", "quickstart/spoken_digits"} <= set(names)
    for file in names.values():
        assert load(file)


def test_all_faults_at_once_with_line_key_reason_and_suggestion(write):
    file = write(
        """\
name: mine
kind: ars
data:
  path: owner/name
  colums: {audio: audio}
  columns: {audio: audio, target: text}
model: {checkpoint: x, dtype: float31}
generate:
  num_beams: many
metrics:
  - wer: {normaliser: whisper}
  - blue
  - cer: {normalizer: wisper}
run: {batch_size: 0}
"""
    )
    assert complaints(file) == [
        "task.yaml:2  kind: there is no kind 'ars'. Did you mean 'asr'?",
        "task.yaml:5  data.colums: unknown key. Did you mean 'columns'?",
        "task.yaml:7  model.dtype: should be 'auto', 'float32', 'bfloat16' or 'float16', not 'float31'."
        " Did you mean 'float32'?",
        "task.yaml:9  generate.num_beams: should be a valid integer, unable to parse string as an integer,"
        " not 'many'.",
        "task.yaml:11  metrics[0].wer.normaliser: unknown option. Did you mean 'normalizer'?",
        "task.yaml:12  metrics[1]: there is no metric 'blue'. Did you mean 'bleu'?",
        "task.yaml:13  metrics[2].cer.normalizer: there is no normalizer 'wisper'. Did you mean 'whisper'?",
        "task.yaml:14  run.batch_size: should be greater than or equal to 1, not 0.",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: [\n", "task.yaml:2  not valid YAML"),
        ("- a\n", "task.yaml:1  a task file is a mapping"),
        ("name: a\nname: b\n", "task.yaml:2  not valid YAML: found duplicate key"),
        ("extends: kinds/nothing\n", "task.yaml:1  extends: there is no file 'kinds/nothing'"),
        ("extends: task\n", "task.yaml:1  extends: 'task' extends this file in turn"),
        (MINIMAL + "generate: {num_beams: 2, temperature: 0.5}\n", "task.yaml:8  generate: num_beams: 2"),
        (
            MINIMAL + "generate: {min_new_tokens: 5, max_new_tokens: 4}\n",
            "task.yaml:8  generate: min_new_tokens: 5",
        ),
        (MINIMAL + "generate: {min_new_tokens: 0}\n", "task.yaml:8  generate.min_new_tokens"),
        (
            MINIMAL + "description: ok\nleaderboard: '{bord}'\n",
            "task.yaml:9  leaderboard: '{bord}' is not a par",
        ),
        (MINIMAL + "matrix: {lang: [a]}\n", "task.yaml:8  matrix.lang: is not a parameter"),
        (MINIMAL.replace("audio: audio, ", ""), "kind 'asr' needs data.columns to map 'audio'"),
        (MINIMAL.replace("owner/name", "synthetic:spoken"), "there is no synthetic dataset 'spoken'"),
        (MINIMAL.replace("metrics: [wer]", "metrics: []"), "metrics: needs at least 1 entry."),
    ],
)
def test_each_broken_file_says_where_and_why(write, text, complaint):
    assert any(complaint in line for line in complaints(write(text)))


def test_extends_merges_mappings_deep_and_replaces_lists(write):
    write(MINIMAL + "generate: {language: en, num_beams: 5}\n", "kinds/base.yaml")
    file = write("extends: kinds/base\nname: over\ngenerate: {num_beams: 1}\nmetrics: [cer, wer]\n")
    task = only(file).task
    assert (task.name, task.generate.language, task.generate.num_beams) == ("over", "en", 1)
    assert [metric.name for metric in task.metrics] == ["cer", "wer"]


def test_a_path_that_is_inherited_leads_where_it_was_written(tmp_path, write):
    (tmp_path / "shared" / "clips").mkdir(parents=True)
    (tmp_path / "shared" / "base.yaml").write_text(
        "kind: asr\nname: base\nmodel: {checkpoint: ./model}\nmetrics: [wer]\n"
        "data: {path: ./clips, columns: {audio: audio, target: text}}\n"
    )
    [resolved] = load(write("extends: shared/base\nname: over\n"))
    assert resolved.task.model.checkpoint == "./shared/model"
    assert (resolved.base / resolved.task.data.path).resolve() == tmp_path / "shared" / "clips"
    [own] = load(write("extends: shared/base\nname: over\nmodel: {checkpoint: ./mine}\n"))
    assert own.task.model.checkpoint == "./mine"


def test_extends_finds_shipped_kinds_from_a_users_folder(write):
    text = "extends: kinds/asr\nname: mine\ndata: {path: ./clips, columns: {audio: audio, target: text}}\n"
    assert only(write(text)).task.kind == "asr"


def test_params_fill_placeholders_and_keep_their_type(write):
    text = MINIMAL + 'params: {lang: "no", beams: 3}\ngenerate: {language: "{lang}", num_beams: "{beams}"}\n'
    task = only(write(text)).task
    assert (task.generate.language, task.generate.num_beams) == ("no", 3)


def test_norwegian_is_not_false(write):
    assert only(write(MINIMAL + "generate: {language: no}\n")).task.generate.language == "no"


def test_set_changes_a_parameter_or_any_key(write):
    file = write(MINIMAL + 'params: {lang: en}\ngenerate: {language: "{lang}"}\n')
    task = only(file, "lang=fr", "generate.num_beams=4", "metrics=[{cer: {normalizer: lower}}]").task
    assert (task.generate.language, task.generate.num_beams) == ("fr", 4)
    assert task.metrics[0].options == {"normalizer": "lower"}


def test_set_suggests_the_near_name(write):
    with pytest.raises(UsageError, match="langg") as caught:
        load(write(MINIMAL + "params: {lang: en}\n"), [("langg", "fr")])
    assert "Did you mean 'lang'?" in caught.value.hint


def test_a_wrong_set_is_reported_as_such(write):
    with pytest.raises(SpecError) as caught:
        load(write(MINIMAL), [parse_setting("run.batch_size=many")])
    assert str(caught.value).startswith(
        "--set run.batch_size=many  run.batch_size: should be a valid integer"
    )


def test_a_set_of_text_in_braces_says_how_to_quote_it():
    with pytest.raises(UsageError, match="is not valid YAML") as caught:
        parse_setting("classes.templates=[a photo of {}]")
    assert parse_setting(caught.value.hint.partition("'")[2].rstrip("'.")) == ("KEY", ["a photo of {}"])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("[cat]", ["classes.names: needs at least 2 entries."]),
        ("cat", ["classes.names: should be a list, not 'cat'."]),
        ("[cat, 1]", ["classes.names[1]: should be text (in quotation marks), not 1."]),
    ],
)
def test_lists_are_spoken_of_in_the_files_words(write, names, said):
    found = complaints(write(MINIMAL + f"classes: {{names: {names}}}\n"))
    assert [line.partition("  ")[2] for line in found] == said


def test_matrix_makes_one_cell_per_combination(write):
    text = MINIMAL + (
        "params: {lang: en, beams: 1}\nmatrix: {lang: [en, fr], beams: [1, 5]}\n"
        'generate: {language: "{lang}", num_beams: "{beams}"}\n'
    )
    file = write(text)
    cells = [(cell.task.generate.language, cell.task.generate.num_beams) for cell in load(file)]
    assert cells == [("en", 1), ("en", 5), ("fr", 1), ("fr", 5)]
    assert [cell.cell for cell in load(file, [("lang", "de")])] == [{"beams": 1}, {"beams": 5}]


def test_values_know_where_they_were_written(write):
    write(MINIMAL, "kinds/base.yaml")
    file = write("extends: kinds/base\n\nname: over\ngenerate: {num_beams: 2}\n")
    resolved = only(file, "generate.length_penalty=0.5")
    assert resolved.origin(("name",)) == Origin(file, 3)
    assert str(resolved.origin(("kind",))).endswith("kinds/base.yaml:2")
    assert str(resolved.origin(("generate", "length_penalty"))) == "--set generate.length_penalty=0.5"
    assert resolved.origin(("generate", "seed")) is None


def test_a_task_is_found_by_file_by_name_and_by_shipped_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = find("fleurs_asr")
    assert find("tasks/fleurs_asr.yaml") == shipped
    Path("fleurs_asr.yaml").write_text(MINIMAL)
    assert find("fleurs_asr") == Path("fleurs_asr.yaml")
    with pytest.raises(UsageError) as caught:
        find("fleurs_ars")
    assert caught.value.hint == "Did you mean 'fleurs_asr'?"


ODD_NAMES = ["", ".", "..", "/", "n" * 300, "a\0b", "~nosuchuser/x", "\ud800", "/dev/null"]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_no_name_of_a_task_breaks_the_search(name):
    with pytest.raises(UsageError, match="there is no task file"):
        find(name)


@pytest.mark.parametrize("name", ["", "..", "n" * 300, "a\\0b", "~nosuchuser/x"])
def test_no_name_in_extends_breaks_the_search(write, name):
    file = write(f'extends: "{name}"\n{MINIMAL}')
    [complaint] = complaints(file)
    assert complaint.startswith("task.yaml:1  extends: there is no file")


@pytest.mark.parametrize(
    "text",
    ["params: !!omap [a: 1]", "params: !!pairs [a: 1]", "params: !!set {a}", "params: !own {a: 1}",
     "params: {a: !!pairs [b: 1]}", "params: {a: !!binary aGk=}",
     "params: " + "[" * 2000 + "]" * 2000, "params: " + "{a: " * 60 + "1" + "}" * 60],
    ids=lambda text: text[:25],
)  # fmt: skip
def test_yaml_beyond_plain_values_is_a_fault(write, text):
    [complaint] = complaints(write(f"{MINIMAL}{text}\n"))
    assert "nested too deep" in complaint or "plain mappings" in complaint


def test_an_ordered_map_for_a_file_is_a_fault(write):
    [complaint] = complaints(write("!!omap\n- name: mine\n"))
    assert "plain mappings" in complaint


@pytest.mark.parametrize("value", ["!!omap [a: 1]", "!!pairs [a: 1]", "!!set {a}", "[" * 2000, "!!int x"])
def test_set_takes_plain_values(value):
    with pytest.raises(UsageError, match="--set beams="):
        parse_setting(f"beams={value}")


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        *(("statistics.seed=-1", "statistics.seed"), ("statistics.draws=1000001", "statistics.draws")),
        *(("generate.seed=-1", "generate.seed"), ("generate.length_penalty=.inf", "generate.length_penalty")),
        *(
            (f"generate.temperature={value}", "generate.temperature")
            for value in ("-1", ".nan", ".inf", "[]")
        ),
        ("generate.temperature=[0, -1]", "generate.temperature"),
        *(("data.name=en", "data"), ("data.revision=main", "data")),
        *((f"data.options.seconds={value}", "data.options.seconds") for value in ("[2, 1]", "[0, .inf]")),
        ("data.options.seed=-1", "data.options.seed"),
    ],
)
def test_numbers_that_mean_nothing_are_faults(write, setting, key):
    file = write(MINIMAL.replace("owner/name", "synthetic:dummy"))
    with pytest.raises(SpecError) as caught:
        only(file, setting)
    assert any(fault.key.startswith(key) for fault in caught.value.faults), str(caught.value)
