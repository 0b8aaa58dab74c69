"""Decoder rows computed over tokens needed, with batches of 16: a count, the same on every machine.

A batch runs until its longest text ends, so rows are wasted where texts of a batch differ in length. The
engine sorts by cost: at most 1.15. Shuffled batches are printed beside it, and both with a speaking rate that
varies from clip to clip.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.bench.speech import BATCH, Clips, ForcedEnds, clips, load, predicted, whisper_shape

CLIPS = 256
LIMIT = 1.15


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        adapter = load(whisper_shape(folder / "checkpoint", width=64, layers=1, vocabulary=2_000))
        files = clips(folder / "clips", CLIPS)
        hooks = ForcedEnds(adapter.weights.processor.tokenizer).attach(adapter.model)
        for spread in (0.0, 0.1):
            hooks.spread = spread
            by_cost = ratio(hooks, lambda: predicted(adapter, files, folder))
            shuffled = ratio(hooks, lambda: in_order(adapter, files))
            print(f"rate varies by {spread:.0%}: engine {by_cost:.3f}, shuffled batches {shuffled:.3f}")
            assert by_cost < shuffled
            assert spread or by_cost <= LIMIT


def ratio(hooks: ForcedEnds, run: Any) -> float:
    hooks.rows = hooks.needed = 0
    run()
    return hooks.rows / hooks.needed


def in_order(adapter: Any, files: list[Path]) -> None:
    """The clips in the order they come."""
    window = Clips(files)
    for start in range(0, len(files), BATCH):
        adapter.predict(adapter.encode([window[at] for at in range(start, min(start + BATCH, len(files)))]))


if __name__ == "__main__":
    main()
