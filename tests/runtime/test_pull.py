"""Taking over artifacts from a server that lies: nothing outside the folder, nothing visible that was not checked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inlet.client import Client
from inlet.core.errors import InletError, Refused
from inlet.runtime.artifact import identity
from inlet.runtime.artifact.manifest import FORMAT, Manifest
from inlet.runtime.artifact.pull import MAX_OFFERED, pull
from inlet.runtime.artifact.store import GRAPH, Store
from tests.reference import Reference
from tests.runtime.artifacts import published


@contextmanager
def serving(items: Any, body: bytes, *, endless: bool = False) -> Iterator[Client]:
    """A client of a server that offers these items, and answers every file with that."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listing = self.path == "/api/inlet/artifacts"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"items": items}).encode() if listing else body)
            try:
                while endless and not listing:
                    self.wfile.write(body)
            except OSError:  # they hung up
                asked.hung_up.set()

        def log_message(self, *_: object) -> None:
            pass

    asked = Asked()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with Client(f"http://127.0.0.1:{server.server_port}", "inl_token") as client:
            yield client
        assert not endless or asked.hung_up.wait(60)
    finally:
        server.shutdown()
        server.server_close()


class Asked:
    def __init__(self) -> None:
        self.hung_up = threading.Event()


@pytest.fixture
def offered(made: Reference, tmp_path: Path) -> Manifest:
    """Of an artifact that fits this machine, and whose graph is `a graph`."""
    key = identity.key_of(made.model("topics"), revision="a/b@c", head="sequence", precision="auto")
    return published(Store(tmp_path / "there"), key=key)


def item(manifest: Manifest, **changes: Any) -> dict[str, Any]:
    return {"id": manifest.digest, "manifest": {"format": FORMAT, **asdict(manifest)}, **changes}


def test_what_is_as_it_is_said_to_be_is_taken_once(offered: Manifest, tmp_path: Path) -> None:
    store = Store(tmp_path / "here")
    other_cpu = replace(offered, key={**offered.key, "cpu": "another"})
    items = [item(offered), item(other_cpu), {"id": "x", "manifest": {"format": 99}}]
    with serving(items, b"a graph") as client:
        first, second = (pull(client, store, print) for _ in range(2))
    assert [artifact.manifest for artifact in first.taken] == [offered]
    assert (first.unfit, second.taken) == (2, [])
    (artifact,) = store.all()
    assert (artifact.folder / GRAPH).read_bytes() == b"a graph"


def files(manifest: Manifest, **entries: Any) -> Manifest:
    return replace(manifest, files={name.replace("_", "."): entry for name, entry in entries.items()})


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (lambda made: item(made, id="f" * 64), "not the hash of its manifest"),
        (lambda made: item(made, id="../../../evil"), "not the hash of its manifest"),
        (lambda made: item(replace(made, files={"../../evil": made.files[GRAPH]})), "which none has"),
        (lambda made: item(files(made, graph_xml={**made.files[GRAPH], "sha256": "0" * 64})), "arrived damaged"),
        (lambda made: item(files(made, graph_xml={**made.files[GRAPH], "size": 6})), "arrived damaged"),
        (lambda made: item(files(made, graph_xml={**made.files[GRAPH], "size": 8})), "arrived damaged"),
        (lambda made: item(files(made, graph_xml={**made.files[GRAPH], "size": 10**18})), "make room"),
        (lambda _: {"id": "f" * 64}, "cannot be read"),
        (lambda _: 3, "cannot be read"),
    ],
)  # fmt: skip
def test_a_lie_is_refused_and_leaves_nothing(
    offered: Manifest, tmp_path: Path, lie: Callable[[Manifest], Any], reason: str
) -> None:
    store, before = Store(tmp_path / "here"), set(tmp_path.rglob("*"))
    with serving([lie(offered)], b"a graph") as client, pytest.raises(Refused, match=reason):
        pull(client, store, print)
    assert store.all() == []
    added = {path.relative_to(store.folder) for path in set(tmp_path.rglob("*")) - before}
    assert {path.parts[0] for path in added if path.parts} <= {"locks", "building"}
    assert not any(path.parts[1:] for path in added if path.parts and path.parts[0] == "building")


def test_a_file_without_an_end_is_not_read_on(offered: Manifest, tmp_path: Path) -> None:
    with (
        serving([item(offered)], b"x" * 65_536, endless=True) as client,
        pytest.raises(Refused, match="arrived damaged"),
    ):
        pull(client, Store(tmp_path / "here"), print)


def test_a_list_without_an_end_is_not_walked(tmp_path: Path) -> None:
    with serving([{}] * (MAX_OFFERED + 1), b"") as client, pytest.raises(Refused, match="not looked at"):
        pull(client, Store(tmp_path), print)


@pytest.mark.parametrize("size", [-1, "x", None])
def test_a_size_that_is_none_makes_the_manifest_unfit(offered: Manifest, tmp_path: Path, size: Any) -> None:
    lie = item(files(offered, graph_xml={"sha256": "0" * 64, "size": size}))
    with serving([lie], b"a graph") as client:
        assert pull(client, Store(tmp_path / "here"), print).unfit == 1


def test_what_is_no_list_is_no_inlet(tmp_path: Path) -> None:
    with serving(3, b"") as client, pytest.raises(InletError, match="is it the address of an Inlet"):
        pull(client, Store(tmp_path), print)
