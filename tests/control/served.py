"""All of control but its platform, served on a real socket: the API, the control loop, SQLite and the shipped fake backend.

`python -m tests.control.served FOLDER` prints its origin and serves until it is told to end; what goes wrong goes to
standard error as JSON lines. Used by `test_schemathesis.py`: a process of its own, which one that asks much of it does
not share.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from pathlib import Path

import uvicorn

from inlet import telemetry
from inlet.backends.fake import FakeBackend
from inlet.control.app import build_app
from inlet.control.bootstrap import ensure_namespace
from inlet.control.launch import Launcher
from inlet.control.link import RoutePublisher
from inlet.control.load import LoadBoard
from inlet.control.reconciler import Reconciler
from inlet.control.vault import Vault, generate_key
from inlet.core.endpoint import Source
from inlet.core.facts import Policy
from inlet.core.spec import Model
from inlet.settings import Settings
from inlet.store.sql import SqlStore, database_url

ADMIN = "preset-admin-token-for-tests"
TICK_S = 0.05  # in which a second passes for the fake platform


async def serve(folder: Path) -> None:
    """Serve the namespace `default` to the token `ADMIN`."""
    # The protocol is named because asyncio sets TCP_NODELAY only on such sockets: without it each answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = Settings(home=folder, token=ADMIN, public_url=origin)
    store, backend, vault = SqlStore(database_url(settings)), FakeBackend(), Vault([generate_key()])
    await store.open()
    namespace = await ensure_namespace(store, settings, time.time())
    loop = Reconciler(
        store=store,
        backend=backend,
        launcher=Launcher(vault=vault, server_token=None, first_namespace=namespace),
        board=LoadBoard(time.monotonic),
        publisher=RoutePublisher(),
        policy=Policy(startup_timeout=600.0, grace=5.0),
        lookup=_look_up,
        host_of=lambda _: None,
        preset_tokens=(),
        clock=time.time,
        steady=time.monotonic,
    )
    app = build_app(
        store=store, backend=backend, vault=vault, settings=settings, wake=loop.wake, clock=time.time
    )
    # A kept connection must not be closed in the moment in which a client, late by seconds, uses it again.
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_keep_alive=600))
    await backend.start(loop.wake)
    listener.listen()
    print(origin, flush=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(loop.run())
        tasks.create_task(_let_time_pass(backend))
        await server.serve(sockets=[listener])


async def _look_up(model: Model, *, token: str | None) -> Source:
    return Source(model.repository, local=False, commit="c" * 40, task="text-classification")


async def _let_time_pass(backend: FakeBackend) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        backend.tick()


if __name__ == "__main__":
    telemetry.configure(process="control", level="warning", format_="json")
    asyncio.run(serve(Path(sys.argv[1])))
