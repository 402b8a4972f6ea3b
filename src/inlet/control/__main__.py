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
from collections.abc import Callable, Iterator, Sequence
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
from inlet.control.several import Several
from inlet.control.standing import Standing
from inlet.control.vault import Vault
from inlet.core.endpoint import Endpoint
from inlet.core.errors import InletError, Unavailable
from inlet.core.facts import Policy
from inlet.settings import Settings
from inlet.store.sql import SqlStore, database_url

log = structlog.get_logger()

SOCKETS_EVERY_S = 2.0  # how often we look whether our sockets are still there


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


async def _watch(sockets: Sequence[Path], end: Callable[[], None]) -> None:
    """Call `end` once a socket that we bound is not there any more: nobody can reach us, but a successor makes new ones."""
    bound = _numbers(sockets)
    while True:
        await asyncio.sleep(SOCKETS_EVERY_S)
        if _numbers(sockets) != bound:
            log.error("sockets_gone", reason="somebody removed them")
            end()
            return


def _numbers(paths: Sequence[Path]) -> list[int]:
    """Of the files there; 0 for none."""
    found = []
    for path in paths:
        try:
            found.append(path.stat().st_ino)
        except OSError:
            found.append(0)
    return found


async def _main(settings: Settings) -> None:
    store = SqlStore(database_url(settings))
    await store.open()
    first_namespace = await ensure_namespace(store, settings, time.time())
    await store.all_endpoints()  # a record that this version cannot read is a refusal to start
    vault = await Vault.load(settings.home, settings.secret_key, store)
    backend = LocalBackend(
        home=settings.home,
        run_dir=settings.run_dir,
        cache=settings.downloads,
        artifacts=settings.artifact_folder,
        drain_seconds=settings.drain_seconds,
        strict_instances=settings.strict_instances,
        warm_pool=settings.warm_pool,
    )
    preset = preset_token(settings)
    preset_tokens = () if preset is None else (preset,)
    board, publisher = LoadBoard(time.monotonic), RoutePublisher()

    def host_of(endpoint: Endpoint) -> str | None:
        return f"{endpoint.name}-{endpoint.id}.{settings.base_domain}" if settings.base_domain else None

    several: Several | None = None
    if settings.database_url:  # else the database is in the home, which this installation has for itself
        several = Several(
            store,
            settings=settings,
            backend=backend,
            board=board,
            publisher=publisher,
            host_of=host_of,
            preset_tokens=preset_tokens,
            clock=time.time,
        )
    reconciler = Reconciler(
        store=store,
        backend=backend,
        launcher=Launcher(
            vault=vault,
            server_token=os.environ.get("HF_TOKEN"),
            first_namespace=first_namespace,
            allow_commands=settings.allow_commands,
        ),
        board=board,
        publisher=publisher,
        policy=Policy(startup_timeout=settings.startup_timeout, grace=settings.drain_seconds),
        lookup=look_up,
        host_of=host_of,
        preset_tokens=preset_tokens,
        clock=time.time,
        steady=time.monotonic,
        leads=None if several is None else several.leads,
        show=None if several is None else several.show,
    )

    def wake(_endpoint_id: str | None = None) -> None:
        reconciler.wake()
        if several is not None:
            several.wake()

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
        backend=several or backend,
        vault=vault,
        settings=settings,
        wake=wake,
        clock=time.time,
        standing=Standing if several is None else several.standing,
    )
    link_app = build_link_app(
        publisher=publisher,
        board=board,
        wake=wake,
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
        work = reconciler.run() if several is None else several.run(reconciler)
        control_loop = tasks.create_task(work)
        serving = [tasks.create_task(server.serve(sockets=[listener])) for server, listener in servers]
        sockets = (settings.control_socket, settings.link_socket)
        watch = tasks.create_task(_watch(sockets, lambda: end(keep=True)))
        await ending.wait()
        watch.cancel()
        log.info("control_stopping", keep_replicas=keep_replicas)
        control_loop.cancel()
        await asyncio.wait([control_loop])
        publisher.close()
        if several is not None and not keep_replicas:
            await several.leave()
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
    except Unavailable as error:
        sys.stderr.write(f"control: {error}\n")
        return 1  # the database is away: the parent tries again
    except InletError as error:
        sys.stderr.write(f"control: {error}\n")
        return process.EX_CONFIG
    return 0


if __name__ == "__main__":
    sys.exit(main())
