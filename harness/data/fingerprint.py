"""What a dataset holds, as a digest: the same one stands for the same samples in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

from harness.data.dataset import Dataset, Window
from harness.errors import SampleError
from harness.progress import Progress
from harness.spec.digest import digest_of
from harness.types import Audio, Input, Media, Sample, Turn, media_in

ROWS_PER_JOB = 64


def fingerprint(dataset: Dataset, workers: int, progress: Progress) -> str:
    """All that could be learned from a dataset: the commit it stands at, else a SHA-256 (hex) over its rows.

    Without a commit every row is read, media included, in `workers` threads. A row that can't be read counts
    by its id. Raises DataError or RemoteError when the dataset itself can't be read.
    """
    if dataset.revision is not None:
        return dataset.revision
    found = ""
    with ThreadPoolExecutor(workers, thread_name_prefix="fingerprint") as pool:
        for window in dataset.windows():
            for content in _contents(window, pool):
                found = extended(found, content)
                progress.advance()
    return found


def content_digest(sample: Sample) -> str:
    """SHA-256 over what a sample is, whoever is asked: id, group, target, inputs. Raises MediaError."""
    texts = {name: _words(value) for name, value in sample.inputs.items() if not isinstance(value, Media)}
    texts = {name: words for name, words in texts.items() if words}
    return digest_of([sample.id, sample.group, sample.target, texts, media_digests(sample)])


def extended(fingerprint: str, content: str) -> str:
    """The fingerprint of a dataset with one more row."""
    return sha256(f"{fingerprint}{content}".encode()).hexdigest()


def media_digests(sample: Sample) -> dict[str, str | list[str]]:
    """Content digest of each piece of media; a list where an input has several. Raises MediaError."""
    found: dict[str, str | list[str]] = {}
    for name, value in sample.inputs.items():
        digests = [media.digest() for media in media_in(value)]
        if digests:
            found[name] = digests[0] if isinstance(value, Media) else digests
    return found


def media_seconds(sample: Sample) -> float:
    """Length of the sample's audio in seconds. Raises MediaError."""
    media = (one for value in sample.inputs.values() for one in media_in(value))
    return sum(one.seconds() for one in media if isinstance(one, Audio))


def _words(value: Input) -> Any:
    """The texts of an input as JSON, null where a conversation has media; empty for media alone."""
    if isinstance(value, str):
        return value
    parts: tuple[Any, ...] = value if isinstance(value, tuple) else ()
    if any(isinstance(part, Turn) for part in parts):
        return [
            [turn.role, [part if isinstance(part, str) else None for part in turn.parts]] for turn in parts
        ]
    return [part for part in parts if isinstance(part, str)]


def _contents(window: Window, pool: ThreadPoolExecutor) -> Iterator[str]:
    def job(start: int) -> list[str]:
        return [_content(window, at) for at in range(start, min(start + ROWS_PER_JOB, len(window)))]

    for contents in pool.map(job, range(0, len(window), ROWS_PER_JOB)):
        yield from contents


def _content(window: Window, at: int) -> str:
    """A sample with its other columns: labels may depend on them, as on a column of languages."""
    try:
        sample = window[at]
        meta = {name: str(value) for name, value in sample.meta.items()}
        return digest_of([content_digest(sample), meta])
    except SampleError:
        return window.ids[at]
