"""A stand-in for the Hugging Face Hub: a real HTTP server with the routes that huggingface_hub's real client uses.

    with StandinHub(folder) as hub:          # folder/org/name/ is the repository org/name
        env = {"HF_ENDPOINT": hub.url}
        hub.commit("org/name")               # its commit: a hash of its files
        hub.settings["org/name"] = Repository(gated=True, tokens={"hf_yes"}, pipeline_tag="text-classification")
        hub.cut("org/name", "model.safetensors", after=10_000)   # the next download of it breaks off there, once
    hub.trouble = Trouble(stalls_after=0)                    # accepts, and never answers, until `trouble` is another
    hub.trouble = Trouble(status=429, headers={"Retry-After": "1"})
    hub.trouble = Trouble(damages="model.safetensors")       # that file has a wrong byte
        hub.requests                         # what was asked: method, path, Range header, status

Or by itself, printing its URL: `python -m tests.standins.hub FOLDER [PORT]`; then a file `.hub.json` in a repository
may hold the fields of `Repository`.

Weights (`.safetensors`) are kept as large files: their metadata carries the SHA-256, as on the Hub.

Routes: `/api/models/{id}[/revision/{rev}]`, `/api/models/{id}/tree/{rev}`, `/{id}/resolve/{rev}/{file}` (GET, HEAD,
Range). Revisions: `main` or the full commit. Errors carry the Hub's own `X-Error-Code`.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

SETTINGS_FILE = ".hub.json"
LARGE = ".safetensors"
_INFO = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)")
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """What the Hub knows of a repository beside its files. `tokens`: those with access when gated or private."""

    gated: bool = False
    private: bool = False
    tokens: set[str] = field(default_factory=set)
    pipeline_tag: str | None = None
    tags: list[str] = field(default_factory=list)
    library_name: str | None = "transformers"


@dataclass(frozen=True)
class Trouble:
    """What the Hub does instead of its work: answers `status`, or stalls after so many bytes of a file (0: at once)."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    stalls_after: int | None = None
    damages: str | None = None


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    range: str | None
    status: int


class StandinHub:
    """See the module. Files are read at each request, so a test may add a repository at any time."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = Path(folder)
        self.settings: dict[str, Repository] = {}
        self.requests: list[Asked] = []
        self._cuts: dict[tuple[str, str], int] = {}
        self._trouble: Trouble | None = None
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    @property
    def trouble(self) -> Trouble | None:
        return self._trouble

    @trouble.setter
    def trouble(self, trouble: Trouble | None) -> None:
        """Whoever was left stalling is let go: their connections are closed."""
        self._trouble = trouble
        self._over.set()
        self._over = threading.Event()

    def stall(self, trouble: Trouble) -> None:
        """Until this trouble is over; it may be already."""
        over = self._over  # before the look at the trouble: whoever ends it changes the trouble first
        if self._trouble is trouble:
            over.wait()

    def __exit__(self, *_: object) -> None:
        self.trouble = None
        self._server.shutdown()
        self._server.server_close()

    def serve_forever(self) -> None:
        self._server.serve_forever()

    def commit(self, repository: str) -> str:
        """The present commit of a repository: 40 hex digits, another one when any file changes."""
        digest = hashlib.sha1()
        for name, path in self.files(repository).items():
            digest.update(f"{name}\0{etag(path)}\0".encode())
        return digest.hexdigest()

    def cut(self, repository: str, file: str, *, after: int) -> None:
        """Break off the next download of that file after so many bytes."""
        self._cuts[repository, file] = after

    def take_cut(self, repository: str, file: str) -> int | None:
        return self._cuts.pop((repository, file), None)

    def repository(self, repository: str) -> Repository | None:
        folder = self.folder / repository
        if ".." in repository or not folder.is_dir():
            return None
        if repository not in self.settings and (folder / SETTINGS_FILE).is_file():
            given = json.loads((folder / SETTINGS_FILE).read_bytes())
            return Repository(**{**given, "tokens": set(given.get("tokens", ()))})
        return self.settings.get(repository, Repository())

    def files(self, repository: str) -> dict[str, Path]:
        folder = self.folder / repository
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != SETTINGS_FILE)
        return {path.relative_to(folder).as_posix(): path for path in paths}


def etag(path: Path) -> str:
    """The hash that the Hub gives a file: SHA-256 of a large one."""
    stat = path.stat()
    return _hash(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1000)
def _hash(path: Path, _changed: int, _size: int) -> str:
    return hashlib.new("sha256" if path.suffix == LARGE else "sha1", path.read_bytes()).hexdigest()


class _Failure(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    hub: StandinHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Tests read `requests` instead."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        trouble = self.hub.trouble
        if trouble is not None and trouble.stalls_after == 0:
            self._stall(trouble)
            return
        try:
            if trouble is not None and trouble.status is not None:
                self._json(trouble.status, {"error": "the Hub has trouble"}, trouble.headers)
            elif match := _TREE.fullmatch(path):
                self._tree(*match.groups())
            elif match := _INFO.fullmatch(path):
                self._info(*match.groups())
            elif match := _RESOLVE.fullmatch(path):
                self._resolve(*match.groups())
            else:
                raise _Failure(404, "NotFound", "no such page")
        except _Failure as failure:
            headers = {"X-Error-Code": failure.code, "X-Error-Message": str(failure)}
            self._json(failure.status, {"error": str(failure)}, headers)

    def _stall(self, trouble: Trouble) -> None:
        self.hub.requests.append(Asked(self.command, self.path, self.headers.get("Range"), 0))
        self.close_connection = True
        self.hub.stall(trouble)

    def _token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def _open(self, name: str, revision: str | None, *, files: bool) -> tuple[Repository, str]:
        """The repository and its commit, if this caller may see it (its files, too, with `files`)."""
        repository, token = self.hub.repository(name), self._token()
        if repository is None or (repository.private and token not in repository.tokens):
            raise _Failure(404 if token else 401, "RepoNotFound", "Repository not found")
        if files and repository.gated and token not in repository.tokens:
            raise _Failure(403 if token else 401, "GatedRepo", f"Access to model {name} is restricted.")
        commit = self.hub.commit(name)
        if revision not in (None, "main", commit):
            raise _Failure(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository, commit

    def _info(self, name: str, revision: str | None) -> None:
        repository, commit = self._open(name, revision, files=False)
        siblings = [
            {"rfilename": file, "size": path.stat().st_size, "blobId": etag(path), **_large(path)}
            for file, path in self.hub.files(name).items()
        ]
        config = self.hub.files(name).get("config.json")
        info: dict[str, Any] = {
            "_id": commit[:24], "id": name, "modelId": name, "sha": commit, "private": repository.private,
            "gated": "manual" if repository.gated else False, "disabled": False, "tags": repository.tags,
            "pipeline_tag": repository.pipeline_tag, "library_name": repository.library_name,
            "siblings": siblings, "downloads": 0, "likes": 0,
            "config": _summary(config) if config else None,
        }  # fmt: skip
        self._json(200, {key: value for key, value in info.items() if value is not None})

    def _tree(self, name: str, revision: str) -> None:
        self._open(name, revision, files=False)
        files = self.hub.files(name).items()
        rows = [{"type": "file", "path": f, "size": p.stat().st_size, "oid": etag(p)} for f, p in files]
        self._json(200, rows)

    def _resolve(self, name: str, revision: str, file: str) -> None:
        _, commit = self._open(name, revision, files=True)
        path = self.hub.files(name).get(file)
        if path is None:
            raise _Failure(404, "EntryNotFound", "Entry not found")
        content = path.read_bytes()
        trouble = self.hub.trouble
        if trouble is not None and trouble.damages == file:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": f'"{etag(path)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        asked, status, begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")), 200, 0
        if asked:
            status, begin = 206, int(asked[1])
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        cut = self.hub.take_cut(name, file) if self.command == "GET" else None
        self._send(status, content[begin:], "application/octet-stream", headers, cut=cut)

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), "application/json", headers or {})

    def _send(
        self, status: int, content: bytes, kind: str, headers: dict[str, str], *, cut: int | None = None
    ) -> None:
        self.hub.requests.append(Asked(self.command, self.path, self.headers.get("Range"), status))
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut is not None:
            self.close_connection = True
            content = content[:cut]
        trouble = self.hub.trouble
        if trouble is not None and trouble.stalls_after is not None and len(content) > trouble.stalls_after:
            self.wfile.write(content[: trouble.stalls_after])
            self._stall(trouble)
            return
        self.wfile.write(content)


def _large(path: Path) -> dict[str, Any]:
    """What the Hub says of a file that it keeps beside its git repository."""
    if path.suffix != LARGE:
        return {}
    return {"lfs": {"size": path.stat().st_size, "sha256": etag(path), "pointerSize": 134}}


def _summary(path: Path) -> dict[str, Any]:
    """The part of config.json that the Hub's API repeats."""
    config = json.loads(path.read_bytes())
    return {key: config[key] for key in ("architectures", "model_type") if key in config}


if __name__ == "__main__":
    server = StandinHub(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(server.url, flush=True)
    server.serve_forever()
