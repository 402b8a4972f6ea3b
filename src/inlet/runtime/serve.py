"""The life of one replica process: bind, load, warm up, serve, drain. Called by `__main__`.

The socket is bound and `/health` answers before anything heavy is imported; files, graph and engine come in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from uvicorn.config import Config
from uvicorn.server import Server

from inlet.core.errors import InletError, Invalid, Refused
from inlet.process import EX_CONFIG
from inlet.runtime import apart
from inlet.runtime.app import App
from inlet.runtime.many import serving as many
from inlet.runtime.metrics import Metrics
from inlet.runtime.notify import Notifier, write_termination_log
from inlet.runtime.options import Options
from inlet.runtime.reasons import without_folders
from inlet.runtime.replica import Phase, Replica
from inlet.runtime.starting import improve, start

_KEEP_ALIVE_S = 600  # longer than any router keeps an idle connection: the closing side must not be this one
_log = logging.getLogger(__name__)


async def serve(options: Options) -> int:
    """Serve until told to end; the exit code."""
    begin = perf_counter()
    replica, metrics, notifier = Replica(), Metrics(), Notifier(os.environ)
    listener = _bind(options)
    config = Config(
        App(options, replica, metrics),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on who calls
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    _log.info("listening on %s", options.socket or ":".join(map(str, listener.getsockname()[:2])))
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    code = await _live(options, replica, metrics, notifier, ended, begin)
    server.should_exit = True
    await serving
    if replica.served is not None:
        replica.served.close()
    if options.socket is not None:
        options.socket.unlink(missing_ok=True)
    return code


async def _live(
    options: Options,
    replica: Replica,
    metrics: Metrics,
    notifier: Notifier,
    ended: asyncio.Event,
    begin: float,
) -> int:
    """From loading to the end of the drain; the exit code."""
    starting = asyncio.create_task(_start(options, replica, metrics, notifier, begin))
    waits = {
        asyncio.create_task(ended.wait()),
        asyncio.create_task(replica.out_of_memory.wait()),
    }
    await asyncio.wait({starting, *waits}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done() and (code := starting.result()) != 0:
        return code
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    replica.drain()
    cancelled = apart.cancel()
    notifier.stopping()
    _log.info("ending: finishing what is in flight")
    await replica.quiet()
    if cancelled:  # it writes down that it did not fail
        await starting
    if replica.out_of_memory.is_set():
        return _fail(options, _OUT_OF_MEMORY, 1)
    return 0


async def _start(
    options: Options, replica: Replica, metrics: Metrics, notifier: Notifier, begin: float
) -> int:
    """Load, warm up and improve; 0 when that is done, else the exit code, when nothing can be served any more."""
    loop = asyncio.get_running_loop()

    def report(phase: Phase, progress: str) -> None:
        loop.call_soon_threadsafe(replica.report, phase, progress)
        notifier.status(progress)

    try:
        replica.become_ready(await (many.start if options.models else start)(options, metrics, report))
        notifier.ready()
        _log.info("ready after %.2f s", perf_counter() - begin)
        await improve(options, replica, metrics)
    except MemoryError:
        return _fail(options, _OUT_OF_MEMORY, 1)
    except apart.Cancelled:
        return 0
    except InletError as error:
        return _fail(options, str(error), EX_CONFIG if isinstance(error, Refused | Invalid) else 1)
    except Exception as error:  # noqa: BLE001 - whatever else: the process ends, and its reason must be where people look
        _log.exception("the start failed")
        return _fail(options, f"the start failed: {type(error).__name__}: {error}", 1)
    return 0


_OUT_OF_MEMORY = "out of memory: the model does not fit; choose a larger instance"


def _fail(options: Options, reason: str, code: int) -> int:
    _log.error("%s", reason)
    write_termination_log(options.termination_log, without_folders(reason, options))
    return code


def _bind(options: Options) -> socket.socket:
    """A bound socket; a Unix socket is for its owner only, and replaces what an earlier process left."""
    try:
        if options.socket is None:
            return socket.create_server((options.host, options.port), backlog=2048)
        options.socket.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(options.socket))
        finally:
            os.umask(before)
        return listener
    except OSError as error:
        where = options.socket or f"{options.host}:{options.port}"
        raise Refused(f"cannot listen on {where}: {error.strerror or error}") from error


class _Server(Server):
    """uvicorn without its signal handlers: a drain accepts requests, its own shutdown does not."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
