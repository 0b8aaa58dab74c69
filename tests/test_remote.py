"""What a hub can answer, as errors: each names the thing, what is wrong and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants, errors

from harness.errors import DataError, RemoteError
from harness.remote import NotThereError, go_offline, is_offline, remote_errors

Response = errors.Response  # type: ignore[attr-defined]
Request = sys.modules[Response.__module__.split(".")[0]].Request


def response(status: int) -> object:
    return Response(status, request=Request("GET", "https://hub/api/models/a/b"))


def raised(error: BaseException, cause: BaseException | None = None) -> RemoteError:
    """What `remote_errors` makes of an error."""
    with pytest.raises(RemoteError) as caught, remote_errors("the checkpoint a/b"):
        raise error from cause
    assert caught.value.__cause__ is error
    return caught.value


def http_error(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    return kind("what the server said\nand more", response=response(status))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "status", "expected", "message"),
    [
        (errors.RepositoryNotFoundError, 404, NotThereError, "the checkpoint a/b doesn't exist on"),
        (errors.RevisionNotFoundError, 404, NotThereError, "has no such revision"),
        (errors.RemoteEntryNotFoundError, 404, NotThereError, "lacks a file: what the server said"),
        (errors.GatedRepoError, 403, RemoteError, "is gated"),
        (errors.DisabledRepoError, 403, RemoteError, "was disabled"),
        (errors.HfHubHTTPError, 401, RemoteError, "refused access to the checkpoint a/b (status 401)"),
        (errors.HfHubHTTPError, 429, RemoteError, "could not serve the checkpoint a/b (status 429)"),
        (errors.HfHubHTTPError, 503, RemoteError, "could not serve the checkpoint a/b (status 503)"),
        (errors.HfHubHTTPError, 418, RemoteError, "didn't give the checkpoint a/b: what the server said"),
    ],
)
def test_answers_of_a_hub(
    kind: type[errors.HfHubHTTPError], status: int, expected: type[RemoteError], message: str
) -> None:
    error = raised(http_error(kind, status))
    assert type(error) is expected
    assert error.exit_code == (2 if expected is NotThereError else 3)
    assert message in error.message


def test_a_lost_connection_behind_a_missing_file() -> None:
    error = raised(errors.LocalEntryNotFoundError("not in the cache"), ConnectionError("no route"))
    assert "could not be reached" in error.message
    assert "no route" in error.message
    assert "quickstart/spoken_digits" in error.hint


def test_a_request_that_got_no_answer() -> None:
    error = raised(errors.HTTPError("timed out"))  # type: ignore[attr-defined]
    assert "could not be reached" in error.message


def test_a_missing_file_alone_means_offline() -> None:
    error = raised(errors.LocalEntryNotFoundError("not in the cache"))
    assert "not on this machine" in error.message
    assert "harness fetch" in error.hint


def test_an_answer_is_found_behind_a_library_s_own_error() -> None:
    error = raised(FileNotFoundError("dataset"), http_error(errors.HfHubHTTPError, 503))
    assert "status 503" in error.message


def test_other_errors_pass_unchanged() -> None:
    for error in (DataError("ours"), KeyError("a bug")):
        with pytest.raises(type(error)), remote_errors("it"):
            raise error


def test_offline_reaches_a_hub_library_that_is_imported_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert not is_offline()
    go_offline()
    assert is_offline()
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_offline_before_the_import(tmp_path: Path) -> None:
    code = "from harness.remote import go_offline, is_offline; go_offline(); assert is_offline()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    environment.pop("HF_HUB_OFFLINE", None)
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True, timeout=60)
