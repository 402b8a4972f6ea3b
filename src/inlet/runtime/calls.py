"""Serves any model that is called once per request: one call at a time, in a thread of its own. Made by `starting`, asked by `app`.

Requests wait as the bytes that they came as, which `app` bounds; reading them is the call's business. One thread, because
such models rarely say that they may be called from several at once, and the numerical libraries below them use all cores
by themselves. All methods are for the event loop's thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

from inlet.runtime import info
from inlet.runtime.admission import Queue
from inlet.runtime.answers import Answer
from inlet.runtime.expiry import expire
from inlet.runtime.metrics import Metrics
from inlet.runtime.options import Options
from inlet.runtime.serving import Asked, Serving


@runtime_checkable
class Predictor(Protocol):
    """A model that answers one request at a time. Its methods are called in one thread only."""

    @property
    def task(self) -> str:
        """The task's present name."""

    def warm_up(self) -> None:
        """Answer a request of its own; `Refused` if that cannot be done and no restart helps."""

    def answer(self, asked: Asked) -> bytes:
        """The JSON that answers it; an `InletError` says what is wrong with the request."""

    def describe(self) -> Mapping[str, Any]:
        """What `GET /info` says beside what it says of every model."""


@dataclass(slots=True, eq=False)
class _Call:
    function: Callable[[], bytes | None] | None  # None when nobody waits for it any more
    future: asyncio.Future[bytes | None]
    begun: bool = False  # set by the thread
    seconds: float = 0.0


class Calls(Serving):
    """`max_wait`: predicted seconds of work in front of a request, above which it is refused at once."""

    def __init__(self, predictor: Predictor, *, max_wait: float, metrics: Metrics) -> None:
        super().__init__()
        self._predictor, self._metrics = predictor, metrics
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[_Call | None] = SimpleQueue()
        self._queue = Queue(max_wait)
        threading.Thread(target=self._run, name="calls", daemon=True).start()

    @property
    def task(self) -> str:
        return self._predictor.task

    def admit(self, arrived: float, patience: float | None) -> None:
        self._queue.admit(self._loop.time() - arrived, patience)

    async def warm_up(self) -> None:
        """One call of the model's own; fails as `Predictor.warm_up` does."""
        await self._called(self._predictor.warm_up, None)

    async def answer(self, asked: Asked) -> Answer:
        begun_by = None if asked.patience is None else asked.arrived + asked.patience
        payload = await self._called(lambda: self._predictor.answer(asked), begun_by)
        return Answer(200, payload or b"")

    def describe(self, options: Options) -> Mapping[str, Any]:
        return {**info.of_any(options, self.task), **self._predictor.describe()}

    def close(self) -> None:
        self._work.put(None)

    async def _called(self, function: Callable[[], bytes | None], begun_by: float | None) -> bytes | None:
        call = _Call(function, self._loop.create_future())
        # What finds the thread idle begins at once, and is never too late.
        expiry = (
            self._loop.call_at(begun_by, expire, call, self._metrics)
            if begun_by is not None and self._queue.unfinished
            else None
        )
        self._count(1)
        self._work.put(call)
        try:
            return await call.future
        except asyncio.CancelledError:
            if not call.begun:
                self._metrics.dropped(1)
            raise
        finally:
            if expiry is not None:
                expiry.cancel()
            if not call.begun:
                self._forget(call)

    def _forget(self, call: _Call) -> None:
        """Of one that is over nothing stays: its body is held no longer, and nobody waits behind it."""
        if call.function is not None:
            call.function = None
            self._count(-1)

    def _count(self, change: int) -> None:
        self._queue.unfinished += change
        self._metrics.waiting.set(max(0, self._queue.unfinished - 1))

    def _run(self) -> None:
        while (call := self._work.get()) is not None:
            result, failed = None, None
            function = call.function
            if (
                function is not None and not call.future.done()
            ):  # else its caller has gone, or waits no longer
                call.begun = True
                begin = perf_counter()
                try:
                    result = function()
                except BaseException as error:  # noqa: BLE001 - whatever it is belongs to this request
                    failed = error
                call.seconds = perf_counter() - begin
            with suppress(RuntimeError):  # the loop is gone: the process is ending
                self._loop.call_soon_threadsafe(self._finished, call, result, failed)

    def _finished(self, call: _Call, result: bytes | None, failed: BaseException | None) -> None:
        self._forget(call)
        if call.begun:
            self._queue.took(call.seconds)
        if call.future.done():
            return
        if isinstance(failed, Exception):
            call.future.set_exception(failed)
        elif failed is not None:
            # The model's code asked for the end of the process, which is not its to decide.
            call.future.set_exception(RuntimeError(f"the model raised {type(failed).__name__}"))
        else:
            call.future.set_result(result)
