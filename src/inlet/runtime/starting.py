"""From options to a served model, warmed up, and from the first way of computing it to the one that stays. Called by `serve`.

Whoever holds the served model is a `Seat`: the replica itself where there is one model.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from inlet.core.errors import Unavailable
from inlet.runtime import apart
from inlet.runtime.calls import Calls, Predictor
from inlet.runtime.encoding import Encoding
from inlet.runtime.metrics import Metrics
from inlet.runtime.options import Options
from inlet.runtime.reasons import without_folders
from inlet.runtime.replica import Phase
from inlet.runtime.serving import Serving
from inlet.runtime.worker.program import Program
from inlet.runtime.worker.serving import Worker

if TYPE_CHECKING:
    from inlet.runtime.generation.opening import Llama
    from inlet.runtime.loader import Loaded

MAX_WAIT_S = 10.0  # more work than this in front of a request, and it is refused at once
_PAUSES_S = (60.0, 300.0, 1500.0)  # before changing over is tried again; then the next start's turn has come
Reporter = Callable[[Phase, str], None]
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Seat(Protocol):
    """Where one served model sits until a better one takes its place."""

    out_of_memory: asyncio.Event

    @property
    def served(self) -> Serving | None:
        """What answers now."""

    def become_ready(self, served: Serving) -> None:
        """From now on this one answers."""


async def start(options: Options, metrics: Metrics, report: Reporter) -> Serving:
    """Load and answer a request of its own; fails as `loader.load` does. `report` is called from a thread as well.

    A program of somebody else's is started instead of loading when there is a command.
    """
    if options.command:
        return await _start_program(options, metrics, report)
    loaded = await in_daemon_thread(lambda: _load(options, report))
    if isinstance(loaded, Program):
        worker = Worker(loaded, max_wait=MAX_WAIT_S, metrics=metrics)
        await worker.start(lambda progress: report(Phase.INITIALIZING, progress))
        return worker
    report(Phase.INITIALIZING, "warming up")
    if isinstance(loaded, Predictor):
        calls = Calls(loaded, max_wait=MAX_WAIT_S, metrics=metrics)
        await calls.warm_up()
        return calls
    from inlet.runtime.loader import Loaded  # in place by now

    if not isinstance(loaded, Loaded):
        from inlet.runtime.generation.opening import serve_llama

        return await serve_llama(loaded, metrics, partial(report, Phase.INITIALIZING))
    return await _warm(_presentable(loaded, options), options, metrics)


async def _start_program(options: Options, metrics: Metrics, report: Reporter) -> Serving:
    from inlet.runtime.foreign.opening import fetched, serve_program

    program = await in_daemon_thread(lambda: fetched(options, partial(report, Phase.DOWNLOADING)))
    return await serve_program(program, options.task, metrics, partial(report, Phase.INITIALIZING))


async def improve(
    options: Options,
    seat: Seat,
    metrics: Metrics,
    pauses: Sequence[float] = _PAUSES_S,
    *,
    shapes: bool = True,
) -> None:
    """What can be done once requests are answered: more `shapes` made ready, and the variant that is to stay.

    `Unavailable` when what answered them cannot any more, and this process should end.
    """
    served = seat.served
    if isinstance(served, Encoding):
        if shapes:
            _warm_the_rest(served)
        await _improve(options, seat, metrics, pauses)
    elif served is not None and (reason := await served.given_up()) is not None:
        raise Unavailable(reason)


async def _improve(options: Options, seat: Seat, metrics: Metrics, pauses: Sequence[float]) -> None:
    """Let the variant take over that is to stay, when there is one. Until it can, what is served goes on and says why."""
    for pause in (*pauses, None):
        served = seat.served
        assert isinstance(served, Encoding)  # noqa: S101 - this comes after the start of one
        loaded = served.loaded
        try:
            await _change_over(served, options, seat, metrics)
        except apart.Cancelled:
            return
        except MemoryError:  # the next start has room: it takes the choice at once
            seat.out_of_memory.set()
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


async def _change_over(served: Encoding, options: Options, seat: Seat, metrics: Metrics) -> None:
    """Make the choice and take it; raises whatever comes in between, and nothing has changed then."""
    loaded = served.loaded
    better = await in_daemon_thread(
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
    seat.become_ready(following)
    _log.info("from now on in %s: %s", better.choice.engine.variant.precision, better.choice.reason)
    _warm_the_rest(following)


def _load(options: Options, report: Reporter) -> Loaded | Predictor | Program | Llama:
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


async def in_daemon_thread(function: Callable[[], T]) -> T:
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
