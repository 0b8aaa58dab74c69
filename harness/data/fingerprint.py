"""What a dataset holds, as a digest: the same one stands for the same samples in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from harness.data.dataset import Dataset, Window
from harness.errors import SampleError
from harness.progress import Progress
from harness.spec.digest import digest_of
from harness.types import Audio, Media, Sample

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
    texts = {name: value for name, value in sample.inputs.items() if isinstance(value, str)}
    return digest_of([sample.id, sample.group, sample.target, texts, media_digests(sample)])


def extended(fingerprint: str, content: str) -> str:
    """The fingerprint of a dataset with one more row."""
    return sha256(f"{fingerprint}{content}".encode()).hexdigest()


def media_digests(sample: Sample) -> dict[str, str]:
    """Content digest of each piece of media. Raises MediaError."""
    return {name: value.digest() for name, value in sample.inputs.items() if isinstance(value, Media)}


def media_seconds(sample: Sample) -> float:
    """Length of the sample's audio in seconds. Raises MediaError."""
    return sum(value.seconds() for value in sample.inputs.values() if isinstance(value, Audio))


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
