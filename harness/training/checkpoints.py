"""Where a training can go on from: whole checkpoints and the best weights so far.

    checkpoint-00000400/   weights, optimizer, schedule, random numbers, curve; complete.json is written last
    best-00000320.safetensors     as long as a checkpoint speaks of them
    writing/               under way; removed at the next start

A checkpoint is written aside, synced and renamed, so a kill or a full disk leaves the one before. Its files'
digests, those of its best weights included, are checked before anybody goes on from it; a damaged one is
passed over for the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import RunError

COMPLETE = "complete.json"
KEPT = 2


class Checkpoints:
    """The checkpoints of one training, in its work folder. Only the main process changes anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[str] = []
        """What was passed over, and why."""
        self._best_digests: dict[str, str] = {}

    @property
    def writing(self) -> Path:
        """Where the next checkpoint is written."""
        return self.folder / "writing"

    def sweep(self) -> None:
        """Remove what a killed process was writing."""
        shutil.rmtree(self.writing, ignore_errors=True)
        for path in self.folder.glob("*.tmp"):
            path.unlink(missing_ok=True)

    def latest(self) -> Path | None:
        """The newest checkpoint whose files are as they were written, None when there is none."""
        self.damaged.clear()
        for path in reversed(self._all()):
            fault = _fault(path)
            if fault is None:
                return path
            self.damaged.append(f"{path.name}: {fault}")
        return None

    def publish(self, step: int, best: int | None = None) -> Path:
        """Make what is in `writing` the checkpoint of `step`, then drop all but the one before.

        `best` is the step whose weights were the best by then.
        """
        final = self.folder / f"checkpoint-{step:08d}"
        files = sorted(path for path in self.writing.rglob("*") if path.is_file())
        digests = {str(path.relative_to(self.writing)): _synced_digest(path) for path in files}
        if best is not None:
            digests[f"../{self._best(best).name}"] = self._best_digest(best)
        marker = self.writing / COMPLETE
        marker.write_text(json.dumps(digests, indent=1), encoding="utf-8")
        _sync(marker)
        if final.exists():  # of this very step, from before a resume
            shutil.rmtree(final)
        self.writing.rename(final)
        _sync(self.folder)
        self._drop_others(final)
        return final

    def keep_best(self, step: int, state: Mapping[str, Any]) -> None:
        """Write the trained weights of the best step so far."""
        from safetensors.torch import save_file

        final = self._best(step)
        temporary = final.with_suffix(".tmp")
        with no_room(f"the best weights (step {step})", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(dict(state), temporary)
            self._best_digests[final.name] = _synced_digest(temporary)
            temporary.replace(final)

    def best(self, step: int) -> dict[str, Any]:
        """The trained weights of the best step. Raises RunError when they can't be read."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._best(step)
        try:
            if _digest(path) != self._best_digest(step):
                raise OSError("it is damaged")
            return dict(load_file(path))
        except (OSError, SafetensorError) as error:
            raise RunError(
                f"the best weights ({path}) can't be read: {error}",
                "Run the same command again: it goes on from before they were written.",
            ) from error

    def _best(self, step: int) -> Path:
        return self.folder / f"best-{step:08d}.safetensors"

    def _best_digest(self, step: int) -> str:
        """Digest of best weights; hashed once, because every checkpoint names it."""
        name = self._best(step).name
        if name not in self._best_digests:  # from before a resume
            self._best_digests[name] = _digest(self._best(step))
        return self._best_digests[name]

    def _drop_others(self, newest: Path) -> None:
        """Remove checkpoints that are too old, damaged ones that were passed over, which have later steps,
        and best weights that no checkpoint speaks of any more."""
        kept = [path for path in self._all() if path.name <= newest.name][-KEPT:]
        for path in self._all():
            if path not in kept:
                shutil.rmtree(path)
        needed = set().union(*map(_named, kept))
        for path in self.folder.glob("best-*.safetensors"):
            if f"../{path.name}" not in needed:
                path.unlink(missing_ok=True)

    def _all(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("checkpoint-*") if path.is_dir())


@contextmanager
def no_room(what: str, folder: Path) -> Iterator[None]:
    """Raises RunError for what keeps `what` from being written (torch hides the reason in a RuntimeError)."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        room = shutil.disk_usage(folder).free / 1e9 if folder.exists() else 0.0
        raise RunError(
            f"{what} can't be written to {folder} ({room:.1f} GB free): {error}",
            "Make room there and run the same command again: it goes on from the last checkpoint.",
        ) from error


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint's folder is named after."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def _fault(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, None when it is whole."""
    try:
        for name, digest in _digests(checkpoint).items():
            if _digest(checkpoint / name) != digest:
                return f"{name} is damaged"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _digests(checkpoint: Path) -> dict[str, str]:
    """Digest of each of its files. Raises OSError or ValueError when the list can't be read."""
    found = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{COMPLETE} is damaged")
    return found


def _named(checkpoint: Path) -> set[str]:
    """Names of its files; none for a damaged one, which nobody goes on from."""
    try:
        return set(_digests(checkpoint))
    except (OSError, ValueError):
        return set()


def _synced_digest(path: Path) -> str:
    _sync(path)
    return _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
