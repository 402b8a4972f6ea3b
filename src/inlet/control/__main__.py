"""The control process: `python -m inlet.control`. Builds every part once, joins them, and ends in order.

SIGTERM ends control and leaves the replicas running for its successor; `POST /link/stop` drains and stops them too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvicorn
import uvloop
from starlette.types import ASGIApp

from inlet import process, telemetry
from inlet.backends.local import LocalBackend
from inlet.control.app import build_app
from inlet.control.bootstrap import ensure_namespace, preset_token
from inlet.control.launch import Launcher
from inlet.control.link import RoutePublisher, build_link_app
from inlet.control.load import LoadBoard
from inlet.control.lookup import look_up
from inlet.control.reconciler import Reconciler
from inlet.control.vault import Vault
from inlet.core.endpoint import Endpoint
from inlet.core.errors import InletError
from inlet.core.facts import Policy
from inlet.settings import Settings
from inlet.store.sql import SqlStore, database_url

log = structlog.get_logger()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: two servers share this process, and `main` owns the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _serve_on(app: ASGIApp) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
            loop="none",
        )
    )


def _listen(path: Path) -> socket.socket:
    """A Unix socket that only this user can connect to, from the first moment of its life."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(512)
    return listener


async def _main(settings: Settings) -> None:
    store = SqlStore(database_url(settings))
    await store.open()
    first_namespace = await ensure_namespace(store, settings, time.time())
    await store.all_endpoints()  # a record that this version cannot read is a refusal to start
    vault = Vault.load(settings.home, settings.secret_key)
    backend = LocalBackend(
        home=settings.home,
        run_dir=settings.run_dir,
        cache=settings.home / "hub",
        drain_seconds=settings.drain_seconds,
        strict_instances=settings.strict_instances,
    )
    preset = preset_token(settings)
    board, publisher = LoadBoard(), RoutePublisher()

    def host_of(endpoint: Endpoint) -> str | None:
        return f"{endpoint.name}-{endpoint.id}.{settings.base_domain}" if settings.base_domain else None

    reconciler = Reconciler(
        store=store,
        backend=backend,
        launcher=Launcher(
            vault=vault, server_token=os.environ.get("HF_TOKEN"), first_namespace=first_namespace
        ),
        board=board,
        publisher=publisher,
        policy=Policy(startup_timeout=settings.startup_timeout, grace=settings.drain_seconds),
        lookup=look_up,
        host_of=host_of,
        preset_tokens=() if preset is None else (preset,),
        clock=time.time,
    )
    ending = asyncio.Event()
    keep_replicas = True

    def end(*, keep: bool) -> None:
        nonlocal keep_replicas
        keep_replicas = keep
        ending.set()

    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, lambda: end(keep=True))
    app = build_app(
        store=store,
        backend=backend,
        vault=vault,
        settings=settings,
        wake=reconciler.wake,
        clock=time.time,
    )
    link_app = build_link_app(
        publisher=publisher,
        board=board,
        wake=reconciler.wake,
        stop=lambda: end(keep=False),
        clock=time.time,
    )
    servers = [
        (_serve_on(app), _listen(settings.control_socket)),
        (_serve_on(link_app), _listen(settings.link_socket)),
    ]
    await backend.start(reconciler.wake)
    log.info("control_started", home=str(settings.home))
    async with asyncio.TaskGroup() as tasks:
        control_loop = tasks.create_task(reconciler.run())
        serving = [tasks.create_task(server.serve(sockets=[listener])) for server, listener in servers]
        await ending.wait()
        log.info("control_stopping", keep_replicas=keep_replicas)
        control_loop.cancel()
        await asyncio.wait([control_loop])
        publisher.close()
        await backend.stop(keep_replicas=keep_replicas)
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*serving)
    await store.close()


def main() -> int:
    """Run until told to end; 0, or `process.EX_CONFIG` with one line that says what to mend."""
    process.die_with_parent()
    try:
        settings = Settings.from_env()
        telemetry.configure(process="control", level=settings.log_level, format_=settings.log_format)
        process.private_folder(settings.home)
        process.private_folder(settings.run_dir)
        # The successor of a control that was killed waits here until the kernel has let go of the first.
        process.lock_file(settings.run_dir / "control.lock", within=None)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_main(settings))
    except InletError as error:
        sys.stderr.write(f"control: {error}\n")
        return process.EX_CONFIG
    return 0


if __name__ == "__main__":
    sys.exit(main())
