"""A Hub on the loopback interface: models and datasets from folders, with the real one's reading endpoints.

    with HubServer({("dataset", "google/fleurs"): {"main": folder, "refs/convert/parquet": other}}) as hub:
        environment = hub.environment(cache)     # for a subprocess: huggingface_hub reads it at import
        ...
        hub.downloaded()                         # ["en_us/test/0000.parquet"]
        hub.fail(r"resolve/.*parquet", status=503, times=2)

A revision is a folder; its commit is a digest of its contents, so changing a file makes another commit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

RepoKey: TypeAlias = tuple[Literal["model", "dataset"], str]
LFS_SUFFIXES = frozenset({".parquet", ".safetensors", ".bin", ".wav", ".flac", ".mp3"})


@dataclass
class Failure:
    """How requests whose path matches are answered: with a status, or not at all (`hang_up`)."""

    pattern: str
    status: int = 500
    error_code: str = ""
    hang_up: bool = False
    times: int | None = None


@dataclass(frozen=True)
class Blob:
    """One file of a commit."""

    path: str
    file: Path

    @cached_property
    def content(self) -> bytes:
        return self.file.read_bytes()

    @property
    def is_lfs(self) -> bool:
        return self.file.suffix in LFS_SUFFIXES

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def git_oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    def entry(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "type": "file",
            "path": self.path,
            "size": len(self.content),
            "oid": self.git_oid,
        }
        if self.is_lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 130}
        return entry


@dataclass(frozen=True)
class Commit:
    """A folder as a commit."""

    folder: Path

    @property
    def blobs(self) -> dict[str, Blob]:
        files = sorted(file for file in self.folder.rglob("*") if file.is_file())
        paths = [file.relative_to(self.folder).as_posix() for file in files]
        return {path: Blob(path, file) for path, file in zip(paths, files, strict=True)}

    @property
    def sha(self) -> str:
        listing = "".join(f"{path} {blob.sha256}\n" for path, blob in self.blobs.items())
        return hashlib.sha1(listing.encode()).hexdigest()

    def tree(self, folder: str, recursive: bool) -> list[dict[str, Any]]:
        """Entries of one folder, or of all below it. Raises KeyError when there is no such folder."""
        prefix = f"{folder}/" if folder else ""
        below = {path: blob for path, blob in self.blobs.items() if path.startswith(prefix)}
        if folder and not below:
            raise KeyError(folder)
        entries: dict[str, dict[str, Any]] = {}
        for path, blob in below.items():
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts) if recursive else min(2, len(parts))):
                name = prefix + "/".join(parts[:depth])
                oid = hashlib.sha1(name.encode()).hexdigest()
                entries[name] = {"type": "directory", "path": name, "size": 0, "oid": oid}
            if recursive or len(parts) == 1:
                entries[path] = blob.entry()
        return list(entries.values())


@dataclass
class Repo:
    """A repository: revision (branch, tag or ref) to folder."""

    kind: str
    name: str
    revisions: Mapping[str, Path]

    def commit(self, revision: str) -> Commit | None:
        for name, folder in self.revisions.items():
            if revision == name or revision == Commit(folder).sha:
                return Commit(folder)
        return None


@dataclass
class HubServer:
    """A running server; `url` is its address. Use as a context manager."""

    repos: Mapping[RepoKey, Mapping[str, Path]]
    requests: list[tuple[str, str]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def __enter__(self) -> HubServer:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the hub down; connections are refused from now on. Calling it twice is fine."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def environment(self, home: Path) -> dict[str, str]:
        """Variables for a subprocess whose hub is this one and whose caches are below `home`."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))
        }
        return inherited | {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }

    def fail(
        self,
        pattern: str,
        *,
        status: int = 500,
        error_code: str = "",
        hang_up: bool = False,
        times: int | None = None,
    ) -> None:
        """Fail requests whose path matches; `times` of them, or all from now on."""
        self.failures.append(Failure(pattern, status, error_code, hang_up, times))

    def recover(self) -> None:
        self.failures.clear()

    def downloaded(self) -> list[str]:
        """Paths in their repositories whose contents were sent, README and absent files aside."""
        found = [re.search(r"/resolve/[^/]+/(.+)", path) for method, path in self.requests if method == "GET"]
        return [unquote(match[1]) for match in found if match]

    def find(self, kind: str, parts: list[str]) -> tuple[Repo, list[str]] | None:
        """The repository that a path names, and what follows its name."""
        for length in (2, 1):
            name = "/".join(parts[:length])
            for (repo_kind, repo_name), revisions in self.repos.items():
                if (repo_kind, repo_name) == (kind, name):
                    return Repo(kind, name, revisions), parts[length:]
        return None


class _RefusedError(Exception):
    """Ends a request with an error status."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(status, code, message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[HubServer]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        pass

    def _handle(self) -> None:
        target = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        self._body = self.rfile.read(length)
        self._query = target.query
        self.hub.requests.append((self.command, target.path))
        try:
            self._inject_failure(target.path)
            self._route([unquote(part) for part in target.path.strip("/").split("/")])
        except _RefusedError as fault:
            self._send(
                fault.status,
                json.dumps({"error": fault.message}).encode(),
                {"X-Error-Code": fault.code, "X-Error-Message": fault.message},
            )

    def _inject_failure(self, path: str) -> None:
        for failure in self.hub.failures:
            if failure.times != 0 and re.search(failure.pattern, unquote(path)):
                if failure.times is not None:
                    failure.times -= 1
                if failure.hang_up:
                    self.close_connection = True
                    self.connection.close()
                    raise ConnectionAbortedError
                raise _RefusedError(failure.status, failure.error_code, "injected")

    def _route(self, parts: list[str]) -> None:
        kinds: dict[str, Literal["model", "dataset"]] = {"models": "model", "datasets": "dataset"}
        match parts:
            case ["api", "whoami-v2"]:
                self._send_json({"type": "user", "name": "tester", "orgs": []})
            case ["api", kind, *rest] if kind in kinds:
                self._api(*self._repo(kinds[kind], rest))
            case ["datasets", *rest]:
                self._resolve(*self._repo("dataset", rest))
            case _:
                self._resolve(*self._repo("model", parts))

    def _repo(self, kind: str, parts: list[str]) -> tuple[Repo, list[str]]:
        found = self.hub.find(kind, parts)
        if found is None:
            raise _RefusedError(404, "RepoNotFound", "Repository not found")
        return found

    def _commit(self, repo: Repo, revision: str) -> Commit:
        commit = repo.commit(revision)
        if commit is None:
            raise _RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    def _api(self, repo: Repo, rest: list[str]) -> None:
        match rest:
            case []:
                self._send_json(self._info(repo, self._commit(repo, "main")))
            case ["revision", revision]:
                self._send_json(self._info(repo, self._commit(repo, revision)))
            case ["tree", revision, *folder]:
                self._send_tree(self._commit(repo, revision), "/".join(folder))
            case ["paths-info", revision]:
                wanted = self._json_body()["paths"]
                blobs = self._commit(repo, revision).blobs
                self._send_json([blobs[path].entry() for path in wanted if path in blobs])
            case ["refs"]:
                self._send_json(self._refs(repo))
            case _:
                raise _RefusedError(404, "", "no such endpoint")

    def _json_body(self) -> Any:
        return json.loads(self._body)

    def _send_tree(self, commit: Commit, folder: str) -> None:
        try:
            self._send_json(commit.tree(folder, "recursive=true" in self._query.lower()))
        except KeyError as error:
            raise _RefusedError(404, "EntryNotFound", f"{folder} does not exist") from error

    def _info(self, repo: Repo, commit: Commit) -> dict[str, Any]:
        return {
            "_id": hashlib.sha1(repo.name.encode()).hexdigest()[:24],
            "id": repo.name,
            "sha": commit.sha,
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": path} for path in commit.blobs],
        }

    def _refs(self, repo: Repo) -> dict[str, Any]:
        def listed(prefix: str) -> Iterator[dict[str, str]]:
            for name, folder in repo.revisions.items():
                ref = name if name.startswith("refs/") else f"refs/heads/{name}"
                if ref.startswith(prefix):
                    yield {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": Commit(folder).sha}

        branches, converts = list(listed("refs/heads/")), list(listed("refs/convert/"))
        return {"branches": branches, "converts": converts, "tags": [], "pullRequests": []}

    def _resolve(self, repo: Repo, rest: list[str]) -> None:
        if len(rest) < 3 or rest[0] != "resolve":
            raise _RefusedError(404, "", "no such page")
        commit = self._commit(repo, rest[1])
        blob = commit.blobs.get("/".join(rest[2:]))
        if blob is None:
            raise _RefusedError(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{blob.git_oid}"', "Accept-Ranges": "bytes"}
        if blob.is_lfs:
            linked = {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.content))}
            headers |= {"ETag": f'"{blob.sha256}"'} | linked
        self._send_range(blob.content, headers)

    def _send_range(self, content: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            self._send(200, content, headers)
            return
        start, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        if start >= len(content):
            self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        headers = headers | {"Content-Range": f"bytes {start}-{last}/{len(content)}"}
        self._send(206, content[start : last + 1], headers)

    def _send_json(self, answer: Any) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
