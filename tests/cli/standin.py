"""A real HTTP server for the command line: the real control application, and a stand-in for what lies behind it.

Instead of a control loop and replicas, an endpoint that was made or resumed goes through `pending`, `initializing`
(one replica downloading) and `running`, one step each time that somebody looks at it; then it answers every request
with one label. A repository named `org/bad` fails instead.
"""

import asyncio
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from inlet.backends.base import LogLine
from inlet.control.app import build_app
from inlet.control.vault import Vault, generate_key
from inlet.core.endpoint import Cause, Endpoint, Failure, Source, State, replica_set_id
from inlet.core.seen import Hold, Limits, Phase, SeenReplica, SeenReplicaSet
from inlet.settings import Settings
from inlet.store.memory import MemoryStore
from tests.control.quiet import QuietBackend

TOKEN = "inl_a-preset-admin-token"
NOW = 1_700_000_000.0  # long ago: what expires has expired
LIMITS = Limits(
    2, 2**31, Hold(False, "affinity"), Hold(True, "cgroup v2"), instance_vcpus=2, instance_memory=2**31
)
ANSWER = [{"label": "POSITIVE", "score": 0.98765432}]


class Refusal:
    """What everything is answered with while it is set."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        self.status, self.message, self.headers = status, message, headers


class Api:
    """The server as a test sees it; `seen` are the requests so far, as (method, path with query, body)."""

    def __init__(self, home: Path) -> None:
        self.url = ""
        self.store = MemoryStore()
        self.backend = QuietBackend()
        self.seen: list[tuple[str, str, Any]] = []
        self.stuck = False  # endpoints get nowhere
        self.refusal: Refusal | None = None
        self._home = home

    async def start(self, url: str) -> None:
        self.url = url
        await self.store.open()
        for number, name in enumerate(("default", "acme")):
            await self.store.add_namespace(name, float(number))
        ticks = itertools.count()
        settings = Settings(home=self._home / "inlet", token=TOKEN, public_url=url, models=str(self._home))
        self._app = build_app(
            store=self.store,
            backend=self.backend,
            vault=Vault([generate_key()]),
            settings=settings,
            wake=lambda _endpoint_id: None,
            clock=lambda: NOW + next(ticks),
        )

    def log(self, *lines: str) -> None:
        self.backend.lines = [LogLine(NOW, "r-1", "stdout", line) for line in lines]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        query = scope["query_string"].decode()
        path = scope["raw_path"].decode() + (f"?{query}" if query else "")
        self.seen.append((scope["method"], path, json.loads(body) if body else None))
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body}

        if self.refusal is not None:
            headers = {"X-Request-Id": "req-7", **self.refusal.headers}
            response = JSONResponse({"error": self.refusal.message}, self.refusal.status, headers)
            await response(scope, replay, send)
            return
        _, first, second, *rest = [*scope["path"].split("/"), "", ""]
        served = None if first in ("v2", "api") else await self.store.get_endpoint(first, second)
        if served is not None:
            ready = served.state is State.RUNNING
            await JSONResponse(ANSWER if ready else {"error": "not ready"}, 200 if ready else 503)(
                scope, replay, send
            )
            return
        await self._app(scope, replay, send)
        if (
            (first, second, scope["method"]) == ("v2", "endpoint", "GET")
            and len(rest) == 4
            and not self.stuck
        ):
            await self._go_on(rest[0], rest[1])

    async def _go_on(self, namespace: str, name: str) -> None:
        endpoint = await self.store.get_endpoint(namespace, name)
        if endpoint is None:
            return
        if endpoint.state is State.PENDING:
            self._show(endpoint, SeenReplica("r-1", Phase.DOWNLOADING, detail="downloading 43 %"))
            source = Source("org/model", local=False, commit="c" * 40, task="text-classification")
            target = replace(endpoint.target, source=source)
            await self.store.commit(replace(endpoint, state=State.INITIALIZING, target=target))
        elif endpoint.state is State.INITIALIZING and endpoint.spec.workload.model.repository == "org/bad":
            failure = Failure(Cause.CONFIGURATION, "org/bad has no config.json")
            await self.store.commit(replace(endpoint, state=State.FAILED, failure=failure))
        elif endpoint.state in (State.INITIALIZING, State.UPDATING):
            self._show(endpoint, SeenReplica("r-1", Phase.RUNNING))
            await self.store.commit(replace(endpoint, state=State.RUNNING, ready=1, deployed=True))

    def _show(self, endpoint: Endpoint, replica: SeenReplica) -> None:
        revision = endpoint.target.number
        id_ = replica_set_id(endpoint, endpoint.target)
        self.backend.sets = [SeenReplicaSet(id_, endpoint.id, revision, 1, (replica,), limits=LIMITS)]


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


@contextmanager
def serving(home: Path) -> Iterator[Api]:
    """The server on a free port, in a thread of its own."""
    api = Api(home)
    started = threading.Event()
    ending: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        # A kept connection must not be closed in the moment in which the client, late by seconds, uses it again.
        server = uvicorn.Server(
            uvicorn.Config(
                api, port=0, lifespan="off", log_config=None, access_log=False,
                timeout_graceful_shutdown=1, timeout_keep_alive=600,
            )
        )  # fmt: skip
        listener = server.config.bind_socket()
        await api.start(f"http://127.0.0.1:{listener.getsockname()[1]}")
        end = asyncio.Event()
        ending.append((asyncio.get_running_loop(), end))
        serving = asyncio.ensure_future(server.serve([listener]))
        started.set()  # connections queue at the socket until the server takes them
        await end.wait()
        server.should_exit = True
        await serving

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert started.wait(30)
    try:
        yield api
    finally:
        loop, end = ending[0]
        loop.call_soon_threadsafe(end.set)
        thread.join()
