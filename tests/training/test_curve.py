"""The curve survives a checkpoint, holds every number in its table, and shows what matters in its picture."""

from __future__ import annotations

import csv
import json
import math
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.training.curve import Curve

WIDTH, HEIGHT = 800, 500


def curve(*, falls: float = 50.0) -> Curve:
    """A loss that falls `falls`-fold over 40 steps, and scores every 20."""
    made = Curve()
    for step in range(1, 41):
        made.add_loss(
            step, 2.0 * falls ** (-step / 40), 1e-3 * (1 - step / 40), math.nan if step < 3 else 0.1
        )
    for step, wer in ((0, 50.0), (20, 100 / 3), (40, 40.0)):
        made.add_scores(step, {"wer": wer, "cer": wer / 3})
    made.best_step = 20
    return made


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "curve.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def drawn(made: Curve, metric: str = "wer", unit: str = "%") -> Any:
    return made.figure("a task", metric, "lower", unit)


def test_curve_survives_a_checkpoint() -> None:
    before = curve()
    text = json.dumps(before.to_json(), allow_nan=False)
    after = Curve.from_json(json.loads(text))
    assert after.losses[2:] == before.losses[2:]
    assert after.losses[0][:3] == before.losses[0][:3]
    assert math.isnan(after.losses[0].grad_norm)
    assert after.scores == before.scores
    assert after.best_step == 20
    assert after.to_json() == before.to_json()


def test_table_has_a_row_per_step_and_every_digit(tmp_path: Path) -> None:
    made = curve()
    made.write(tmp_path, "a task", "wer", False, "%")
    rows = table(tmp_path)
    assert list(rows[0]) == ["step", "loss", "learning_rate", "grad_norm", "wer", "cer"]
    assert [int(row["step"]) for row in rows] == list(range(41))
    assert float(rows[20]["wer"]) == 100 / 3
    assert float(rows[7]["loss"]) == made.losses[6].loss
    assert rows[0] == dict.fromkeys(rows[0], "") | {"step": "0", "wer": "50.0", "cer": str(50 / 3)}
    assert (rows[1]["grad_norm"], rows[1]["wer"]) == ("", ""), "nothing was measured"


@pytest.mark.parametrize(
    "made", [curve(), Curve(), Curve([], [(0, {"wer": math.nan})]), Curve(curve().losses[:1])], ids=range(4)
)
def test_picture_is_drawn_of_any_curve(tmp_path: Path, made: Curve) -> None:
    made.write(tmp_path, "tâche 任务 $x_$", "wer", False)
    head = (tmp_path / "curve.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert struct.unpack(">II", head[16:]) == (WIDTH, HEIGHT)


def test_picture_names_what_is_drawn() -> None:
    figure = drawn(curve())
    loss, score = figure.axes
    assert loss.get_ylabel() == "training loss (nats)"
    assert score.get_ylabel() == "wer (%)\nlower is better"
    assert score.get_xlabel() == "optimiser step"
    [best] = [text.get_text() for text in score.get_legend().get_texts()]
    assert best == "best: 33.33 % after step 20"
    assert figure.get_suptitle() == "a task"


def test_best_step_is_marked_in_both_panels() -> None:
    for panel in drawn(curve()).axes:
        vertical = [line for line in panel.lines if list(line.get_xdata()) == [20, 20]]
        assert len(vertical) == 1


@pytest.mark.parametrize(("falls", "scale"), [(50.0, "log"), (5.0, "linear")])
def test_loss_over_more_than_a_decade_is_logarithmic(falls: float, scale: str) -> None:
    assert drawn(curve(falls=falls)).axes[0].get_yscale() == scale


def test_loss_that_reaches_zero_stays_linear() -> None:
    made = curve()
    made.add_loss(41, 0.0, 0.0, 0.0)
    assert drawn(made).axes[0].get_yscale() == "linear"


def test_training_without_scores_shows_its_loss_alone(tmp_path: Path) -> None:
    made = Curve(curve().losses)
    assert len(drawn(made).axes) == 1
    made.write(tmp_path, "a task", "wer", False)
    assert list(table(tmp_path)[0]) == ["step", "loss", "learning_rate", "grad_norm"]


def test_drawing_touches_no_global_state() -> None:
    """pyplot would keep every figure alive and choose a window system."""
    script = (
        "import sys, pathlib, tempfile; from harness.training.curve import Curve\n"
        "assert 'matplotlib' not in sys.modules\n"
        "Curve().write(pathlib.Path(tempfile.mkdtemp()), 't', 'wer', False)\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
