"""What `harness doctor` finds, and that it finds it without failing or telling too much."""

import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from harness import doctor
from harness.doctor import Check, checks


@pytest.fixture(autouse=True)
def closed_endpoint(monkeypatch: pytest.MonkeyPatch) -> str:
    """A hub on a port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    return endpoint


def found(name: str) -> Check:
    [check] = [check for check in checks() if check.name == name]
    return check


def test_whatever_is_not_well_names_its_cure():
    for check in checks():
        assert check.detail, check
        assert bool(check.cure) == (check.status != "ok"), check


def test_the_necessary_is_there():
    statuses = {check.name: check.status for check in checks()}
    assert statuses["python"] == statuses["torch"] == statuses["transformers"] == statuses["cpu"] == "ok"


def test_a_missing_part_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "installed", lambda name: None if name in ("av", "jiwer") else "1.0")
    assert found("av").status == found("jiwer").status == "missing"
    assert "mm-harness[video]" in found("av").cure


def test_without_the_libraries_it_still_reports(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "installed", lambda name: None)
    statuses = {check.name: check.status for check in checks()}
    assert statuses["torch"] == "missing"
    assert statuses["network"] == "warn"


@pytest.mark.parametrize(("version", "status"), [((3, 10, 9), "warn"), ((3, 11, 0), "ok")])
def test_an_old_python_is_a_warning(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], status: str):
    monkeypatch.setattr("sys.version_info", version)
    assert doctor._python().status == status


def test_a_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1024))
    assert found("working folder").status == "warn"


def test_a_hub_that_does_not_answer_is_a_warning(closed_endpoint: str):
    check = found("network")
    assert check.status == "warn"
    assert closed_endpoint in check.detail


@pytest.mark.network
@pytest.mark.parametrize(("answer", "status"), [(200, "ok"), (407, "warn")])
def test_a_hub_that_answers(monkeypatch: pytest.MonkeyPatch, hub: str, answer: int, status: str):
    monkeypatch.setattr(constants, "ENDPOINT", f"{hub}/{answer}")
    assert found("network").status == status


@pytest.fixture
def hub() -> Iterator[str]:
    """A server that answers with the status that its path names."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(int(self.path.strip("/")))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_offline_is_not_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in found("network").detail


def test_neither_token_nor_home_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    report = repr(checks())
    assert found("token").status == "ok"
    assert "hf_secret" not in report
    assert str(Path.home() / ".cache") not in report
