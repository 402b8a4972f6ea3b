"""The life of one replica process: bind, load, warm up, serve, drain. Called by `__main__`.

The socket is bound and `/health` answers before anything heavy is imported; files, graph and engine come in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from uvicorn.config import Config
from uvicorn.server import Server

from inlet.core.errors import InletError, Invalid, Refused
from inlet.process import EX_CONFIG
from inlet.runtime import apart
from inlet.runtime.app import App
from inlet.runtime.calls import Calls, Predictor
from inlet.runtime.encoding import Encoding
from inlet.runtime.metrics import Metrics
from inlet.runtime.notify import Notifier, write_termination_log
from inlet.runtime.options import Options
from inlet.runtime.reasons import without_folders
from inlet.runtime.replica import Phase, Replica

if TYPE_CHECKING:
    from inlet.runtime.loader import Loaded

MAX_WAIT_S = 10.0  # more work than this in front of a request, and it is refused at once
_PAUSES_S = (60.0, 300.0, 1500.0)  # before changing over is tried again; then the next start's turn has come
_KEEP_ALIVE_S = 600  # longer than any router keeps an idle connection: the closing side must not be this one
Reporter = Callable[[Phase, str], None]
T = TypeVar("T")
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
    """Load and warm up; 0 when ready, else the exit code."""
    loop = asyncio.get_running_loop()

    def report(phase: Phase, progress: str) -> None:
        loop.call_soon_threadsafe(replica.report, phase, progress)
        notifier.status(progress)

    try:
        loaded = await _in_daemon_thread(lambda: _load(options, report))
        report(Phase.INITIALIZING, "warming up")
        served: Calls | Encoding
        if isinstance(loaded, Predictor):
            served = Calls(loaded, max_wait=MAX_WAIT_S, metrics=metrics)
            await served.warm_up()
        else:
            served = await _warm(_presentable(loaded, options), options, metrics)
    except MemoryError:
        return _fail(options, _OUT_OF_MEMORY, 1)
    except apart.Cancelled:
        return 0
    except InletError as error:
        return _fail(options, str(error), EX_CONFIG if isinstance(error, Refused | Invalid) else 1)
    except Exception as error:  # noqa: BLE001 - whatever else: the process ends, and its reason must be where people look
        _log.exception("the start failed")
        return _fail(options, f"the start failed: {type(error).__name__}: {error}", 1)
    replica.become_ready(served)
    notifier.ready()
    _log.info("ready after %.2f s", perf_counter() - begin)
    if isinstance(served, Encoding):
        _warm_the_rest(served)
        await _improve(options, replica, metrics)
    return 0


async def _improve(
    options: Options, replica: Replica, metrics: Metrics, pauses: Sequence[float] = _PAUSES_S
) -> None:
    """Let the variant take over that is to stay, when there is one. Until it can, what is served goes on and says why."""
    for pause in (*pauses, None):
        served = replica.served
        assert isinstance(served, Encoding)  # noqa: S101 - this comes after the start of one
        loaded = served.loaded
        try:
            await _change_over(served, options, replica, metrics)
        except apart.Cancelled:
            return
        except MemoryError:  # the next start has room: it takes the choice at once
            replica.out_of_memory.set()
            return
        except Exception as error:  # noqa: BLE001 - requests are answered as before, and the cause must be where people look
            precision = loaded.choice.engine.variant.precision
            again = "the next start tries again" if pause is None else f"tried again in {pause:.0f} s"
            _log.exception("the choice could not take over: %s goes on, not checked; %s", precision, again)
            reason = f"{precision}, not checked, since the choice could not take over ({type(error).__name__}: {error}); {again}"
            better = loaded.choice.better if pause is not None else None
            choice = replace(loaded.choice, reason=reason, better=better)
            served.loaded = _presentable(replace(loaded, choice=choice), options)
        else:
            return
        if pause is not None:
            await asyncio.sleep(pause)


async def _change_over(served: Encoding, options: Options, replica: Replica, metrics: Metrics) -> None:
    """Make the choice and take it; raises whatever comes in between, and nothing has changed then."""
    loaded = served.loaded
    better = await _in_daemon_thread(
        lambda: loaded.improved(lambda progress: _log.info("beside serving: %s", progress))
    )
    if better is loaded:
        return
    better = _presentable(better, options)
    if better.choice.engine is loaded.choice.engine:
        served.loaded = better
        _log.info("%s stays: %s", better.choice.engine.variant.precision, better.choice.reason)
        return
    following = await _warm(better, options, metrics)
    replica.become_ready(following)
    _log.info("from now on in %s: %s", better.choice.engine.variant.precision, better.choice.reason)
    _warm_the_rest(following)


_OUT_OF_MEMORY = "out of memory: the model does not fit; choose a larger instance"


def _load(options: Options, report: Reporter) -> Loaded | Predictor:
    from inlet.runtime.loader import load

    return load(options, report)


def _presentable(loaded: Loaded, options: Options) -> Loaded:
    """The same, with a reason that callers may read."""
    reason = without_folders(loaded.choice.reason, options)
    return replace(loaded, choice=replace(loaded.choice, reason=reason))


async def _warm(loaded: Loaded, options: Options, metrics: Metrics) -> Encoding:
    """One request of the task's own, through everything that a request goes through."""
    from inlet.runtime.batcher import Batcher
    from inlet.runtime.dialect import Dialect, Request

    batcher = Batcher(
        loaded.choice.engine,
        positions=loaded.model.positions,
        pad_id=loaded.model.shape.pad_id,
        max_wait=MAX_WAIT_S,
        metrics=metrics,
        memory=options.memory,
        exactness=loaded.choice.exactness,
    )
    work = loaded.task.plan(Request(loaded.kind.sample, {}, Dialect.TOOLKIT))
    work.answer(await batcher.run(work.encode(), work.reduce))
    return Encoding(loaded, batcher)


def _warm_the_rest(served: Encoding) -> None:
    from inlet.runtime.buckets import worth_warming

    served.batcher.warm_up(worth_warming(served.loaded.model.positions))


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


async def _in_daemon_thread(function: Callable[[], T]) -> T:
    """Run it in a thread that cannot keep the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if result is None:
            future.set_exception(error or RuntimeError("nothing was loaded"))
        else:
            future.set_result(result)

    def run() -> None:
        result, failed = None, None
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            failed = error
        with suppress(RuntimeError):  # the loop is gone: the process is ending
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await future


class _Server(Server):
    """uvicorn without its signal handlers: a drain accepts requests, its own shutdown does not."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
