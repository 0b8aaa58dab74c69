"""What a person sees of long work: in terminals of several widths, and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.progress import Lines
from harness.progress_bar import Bar

NOTE = ("loss 1.234, lr 1.0e-03", "12.3 samples/s", "1.2 GB")


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [100.0]
    monkeypatch.setattr("harness.progress.time.monotonic", lambda: now[0])
    return now


def drawn(width: int, what: str = "Training", note: tuple[str, ...] = NOTE) -> str:
    """The bar as it stands after 60 of 300 steps."""
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    with Bar(what, 300, "steps", console) as bar:
        bar.advance(60)
        bar.note(*note)
    return file.getvalue().replace("\r", "\n").splitlines()[-3].replace("\x1b[2K", "")


def test_80_columns_show_count_time_left_loss_and_learning_rate():
    line = drawn(80)
    assert " 60/300 steps 0:00:00 left -:--:-- loss 1.234, lr 1.0e-03" in line
    assert "…" not in line
    assert len(line) <= 80


@pytest.mark.parametrize(
    ("width", "shown", "bar"),
    [(70, NOTE[:1], False), (85, NOTE[:2], False), (99, NOTE, False), (140, NOTE, True)],
)
def test_what_there_is_room_for_is_shown(width, shown, bar):
    line = drawn(width)
    assert line.rstrip().endswith(", ".join(shown))
    assert ("━" in line) == bar


@pytest.mark.parametrize("width", [50, 60])
def test_a_narrow_terminal_cuts_words_and_never_numbers(width):
    line = drawn(width, "Looking at samples for validation, step 100", ())
    assert " 60/300 steps 0:00:00 left -:--:--" in line
    assert line.startswith("Looking")


def test_what_is_said_stays_above_the_bar():
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system=None)
    with Bar("Training", 300, "steps", console) as bar:
        bar.say("step 60 of 300: wer [b]13.70")
        with bar.paused():
            bar.say("while it is paused")
    text = file.getvalue()
    assert "step 60 of 300: wer [b]13.70\n" in text
    assert "while it is paused\n" in text


def test_the_first_line_comes_after_five_seconds_and_then_every_twenty(clock, capsys):
    lines = Lines("Training", 100, "steps")
    for _ in range(50):
        clock[0] += 1
        lines.advance()
    assert capsys.readouterr().err.splitlines() == [
        "Training: 5 of 100 steps, about 95 s left",
        "Training: 25 of 100 steps, about 75 s left",
        "Training: 45 of 100 steps, about 55 s left",
    ]


def test_a_start_that_takes_long_prints_nothing_before_the_first_step(clock, capsys):
    lines = Lines("Training", 100, "steps")
    clock[0] += 6
    lines.advance(0)
    assert capsys.readouterr().err == ""
    lines.advance()
    assert "1 of 100" in capsys.readouterr().err


def test_lines_have_all_of_the_note_and_what_is_said(clock, capsys):
    lines = Lines("Training", 10, "steps")
    lines.note("loss 1", "2 GB")
    lines.say("step 2 of 10: wer 3.00")
    clock[0] += 5
    lines.advance()
    assert capsys.readouterr().err.splitlines() == [
        "step 2 of 10: wer 3.00",
        "Training: 1 of 10 steps (loss 1, 2 GB), about 45 s left",
    ]
