"""Pictures of stored runs, each with its numbers beside it as a table. They are derived, never the truth.

results/plots/ab/<run_id>/confusion.png       which classes are taken for which
results/plots/ab/<run_id>/reliability.png     how sure the answers are, and how right
results/plots/<task>-<parameter>-<digest>.png  a score over a parameter of a matrix
"""

from harness.plots.matrix import Point
from harness.plots.results import draw_results, drawn_text
from harness.plots.run import draw_run, plots_folder

__all__ = ["Point", "draw_results", "draw_run", "drawn_text", "plots_folder"]
