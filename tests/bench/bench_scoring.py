"""Scoring 1,000,000 utterance pairs with 1,000 bootstrap draws: seconds and peak memory, both limited.

Run: python -m tests.bench.bench_scoring

The pairs go through the scorer that runs use: normalised, counted, made into sample rows; then the interval
over a million clusters. Beside it: how fast Whisper's English normalizer is, which can take longer.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator

from harness.evaluation.memory import peak_bytes
from harness.evaluation.score import Scorer
from harness.metrics.normalizers import whisper_english
from harness.spec.schema import Task
from harness.types import Prediction, Sample

PAIRS = 1_000_000
DRAWS = 1_000
LIMIT_SECONDS = 60.0
LIMIT_GIB = 2.0
DISTINCT = 20_000
WORDS = """
the a of and to in it's Mr. colour twenty one seven hundred said was not very quickly centre walked into house
before they could have gone $5 per cent of all people who we've met since 1960 uh
"""


def texts(count: int) -> list[tuple[str, str]]:
    """References of about ten words, and hypotheses in which about one word in ten is wrong."""
    rng, words = random.Random(0), WORDS.split()
    made = []
    for _ in range(count):
        spoken = rng.choices(words, k=rng.randint(4, 16))
        heard = [word if rng.random() > 0.1 else rng.choice(words) for word in spoken]
        made.append((" ".join(spoken), " ".join(heard)))
    return made


def outcomes(made: list[tuple[str, str]], count: int) -> Iterator[tuple[Sample, str, Prediction]]:
    """Samples with their predictions, each its own cluster; the texts come round again."""
    for number in range(count):
        target, output = made[number % len(made)]
        id_ = f"utterance-{number}"
        yield Sample(id_, {}, target, id_), id_, Prediction(id_, output)


def task() -> Task:
    """A speech recognition task scored by WER in lower case."""
    return Task.model_validate(
        {
            "name": "bench",
            "kind": "asr",
            "data": {"path": "synthetic:dummy", "columns": {"audio": "audio", "target": "target"}},
            "model": {"checkpoint": "none"},
            "metrics": [{"wer": {"normalizer": "lower"}}],
            "statistics": {"draws": DRAWS},
        }
    )


def main() -> int:
    """Print what was measured; 1 when a limit is passed."""
    made = texts(DISTINCT)
    scorer = Scorer(task())
    started, started_cpu = time.perf_counter(), time.process_time()
    rows = sum(batch.num_rows for batch in scorer.rows(outcomes(made, PAIRS)))
    counted = time.perf_counter() - started
    part = scorer.parts()["wer"]
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    peak_gib = peak_bytes() / (1 << 30)
    assert rows == part.n == part.clusters == PAIRS
    print(f"WER {part.value:.3f} %, interval {part.ci95}: {PAIRS:,} pairs, {DRAWS:,} draws")
    print(f"{seconds:.1f} s (limit {LIMIT_SECONDS:.0f}; {cpu_seconds:.1f} s of CPU):", end=" ")
    print(f"{counted:.1f} s for counts and rows, {seconds - counted:.1f} s for the interval")
    print(f"{peak_gib:.2f} GiB peak (limit {LIMIT_GIB:.0f})")
    print(f"whisper-english: {english_per_second([target for target, _ in made]):,.0f} texts/s")
    return int(seconds > LIMIT_SECONDS or peak_gib > LIMIT_GIB)


def english_per_second(references: list[str]) -> float:
    """Texts that Whisper's English normalizer does in a second, once it is loaded."""
    whisper_english(references[0])
    started = time.perf_counter()
    for text in references:
        whisper_english(text)
    return len(references) / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
