"""What a hub can answer, as errors that say what to do: offline, not found, gated, refused, down.

`huggingface_hub` reads HF_HUB_OFFLINE and HF_ENDPOINT when it is imported, so `go_offline` is called
before that; whoever downloads passes `local_files_only=offline` as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import EXIT_USER, HarnessError, RemoteError

OFFLINE_VARIABLE = "HF_HUB_OFFLINE"
WORKS_OFFLINE = (
    "Without a connection these work: `harness run quickstart/spoken_digits`, local files and folders, "
    "and with --offline what `harness fetch TASK` has downloaded."
)
_LOG_IN = "If it is private or gated, log in with `hf auth login` or set HF_TOKEN."


class NotThereError(RemoteError):
    """A hub was reached and doesn't have what the task names: the task is wrong, not the connection."""

    exit_code = EXIT_USER


def go_offline() -> None:
    """Forbid every download in this process and its children; call it before heavy imports."""
    os.environ[OFFLINE_VARIABLE] = "1"
    if "huggingface_hub" in sys.modules:
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = True


def is_offline() -> bool:
    """Whether downloads are forbidden, by `go_offline` or by the user's environment."""
    from huggingface_hub import constants

    return constants.is_offline_mode()


@contextmanager
def remote_errors(what: str) -> Iterator[None]:
    """Turns a hub's errors into RemoteError or NotThereError. `what` names what was asked for.

    It stands at the start of a sentence: "the dataset google/fleurs". Other errors pass unchanged.
    """
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        causes = list(_causes(error))
        known = next(filter(None, (_explain(what, cause) for cause in causes)), None)
        if known is not None:
            raise known from error
        # Last, since the libraries also wrap a lost connection as a file that isn't in the cache.
        if any(isinstance(cause, LocalEntryNotFoundError) for cause in causes):
            raise not_cached(what) from error
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _explain(what: str, error: BaseException) -> RemoteError | None:
    from huggingface_hub import errors

    match error:
        case errors.OfflineModeIsEnabled():
            return not_cached(what)
        case errors.GatedRepoError():
            return RemoteError(
                f"{what} is gated: access has to be granted to your account",
                "Accept its conditions on its page, then log in with `hf auth login` or set HF_TOKEN.",
            )
        case errors.DisabledRepoError():
            return RemoteError(f"{what} was disabled by the hub")
        case errors.RevisionNotFoundError():
            return NotThereError(
                f"{what} has no such revision", "Check `revision`: a branch, a tag or a commit."
            )
        case errors.RepositoryNotFoundError():
            return NotThereError(f"{what} doesn't exist on {_endpoint()}", f"Check the name. {_LOG_IN}")
        case errors.HFValidationError():
            return NotThereError(
                f"{what}: that is neither a local path nor a name on the hub",
                "A name is owner/name; a path starts with ./",
            )
        case errors.RemoteEntryNotFoundError():
            return NotThereError(f"{what} lacks a file: {_first_line(error)}")
        case errors.HfHubHTTPError():
            return _refused(what, error)
        case errors.HTTPError() | errors.RevisionResolutionError() | ConnectionError() | TimeoutError():  # type: ignore[attr-defined]
            return _unreachable(what, error)
    return None


def _refused(what: str, error: object) -> RemoteError:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    if status in (401, 403):
        return RemoteError(f"{_endpoint()} refused access to {what} (status {status})", _LOG_IN)
    if status == 429 or status >= 500:
        return RemoteError(
            f"{_endpoint()} could not serve {what} (status {status})", f"Try again later. {WORKS_OFFLINE}"
        )
    return RemoteError(f"{_endpoint()} didn't give {what}: {_first_line(error)}")


def _unreachable(what: str, error: object) -> RemoteError:
    return RemoteError(
        f"{what} could not be reached at {_endpoint()}: {_first_line(error)}",
        f"Check the connection (and HF_ENDPOINT, if it is set). {WORKS_OFFLINE}",
    )


def not_cached(what: str) -> RemoteError:
    """The error of a thing that an offline run needs and that hasn't been downloaded."""
    return RemoteError(
        f"{what} is not on this machine, and downloads are off (--offline or {OFFLINE_VARIABLE})",
        f"Run `harness fetch TASK` once with a connection. {WORKS_OFFLINE}",
    )


def _first_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
