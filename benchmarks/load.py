"""The load generator: open and closed loop over raw sockets, one thread for the calls and one that keeps the time.

Used by `scenarios/`. It judges no answer and knows no server: requests are bytes, and what comes back is kept.
In an open loop a request is sent at its time, whatever became of the earlier ones, and its latency counts from that
time: a server that stalls is seen by everybody who would have called meanwhile, and not by one caller that waits.

Not `inlet.bench`, which is for people's own endpoints: here every answer is kept and checked, no call ever waits for a
connection, and a thread of its own keeps the time to a fraction of a millisecond, on two cores that the server shares.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import httptools
import numpy as np
import numpy.typing as npt
import uvloop

Floats: TypeAlias = npt.NDArray[np.float64]

MAX_LAG_MS = 1.0
MAX_LAG_SHARE = 0.05  # of the latency at the same quantile
_PATIENCE_S = 60.0  # without any answer, until what is unanswered is given up


@dataclass(frozen=True, slots=True)
class Call:
    """A request, ready to be sent. `text`: which one of the workload it carries."""

    wire: bytes
    text: int


@dataclass(slots=True)
class Samples:
    """One entry per call, in the order of sending; times in seconds of the monotonic clock.

    `intended`: when it should be sent; `sent`: when it was; `done`: when the answer was complete. `status`: of HTTP, or
    0 when there was no answer.
    """

    text: list[int] = field(default_factory=list)
    intended: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.text)

    def begin(self, text: int, intended: float) -> int:
        """Note that a call is sent now; its number."""
        self.text.append(text)
        self.intended.append(intended)
        self.sent.append(time.perf_counter())
        self.done.append(np.nan)
        self.status.append(0)
        self.body.append(b"")
        return len(self.text) - 1

    def end(self, number: int, status: int, body: bytes) -> None:
        self.done[number] = time.perf_counter()
        self.status[number] = status
        self.body[number] = body

    def extend(self, other: Samples) -> None:
        """Add what was taken side by side."""
        for name in ("text", "intended", "sent", "done", "status", "body"):
            getattr(self, name).extend(getattr(other, name))

    def latencies_ms(self) -> Floats:
        """From the intended time; nan for what never ended."""
        return (np.array(self.done) - np.array(self.intended)) * 1e3

    def answer_ms(self) -> Floats:
        """Latencies of what was answered; nan for the others."""
        return np.where(self.answered(), self.latencies_ms(), np.nan)

    def lags_ms(self) -> Floats:
        """How late each call was sent: the generator's own fault."""
        return (np.array(self.sent) - np.array(self.intended)) * 1e3

    def answered(self) -> npt.NDArray[np.bool_]:
        return np.array(self.status) == 200

    def seconds(self) -> float:
        """From the first call to the last answer."""
        return float(np.nanmax(self.done) - min(self.intended))


def is_on_time(lags_ms: Floats, latencies_ms: Floats) -> bool:
    """Whether the generator kept its schedule so well that the latencies are the server's."""
    lag, latency = (float(np.nanquantile(values, 0.99)) for values in (lags_ms, latencies_ms))
    return lag <= min(MAX_LAG_MS, MAX_LAG_SHARE * latency)


def poisson_times(rate: float, seconds: float, seed: int) -> list[float]:
    """Seconds from the start at which to call, drawn beforehand: `rate` a second on average, for `seconds`."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / rate, size=int(rate * seconds * 1.5) + 50)
    return [float(at) for at in np.cumsum(gaps) if at < seconds]


def open_loop(
    port: int, calls: Sequence[Call], times: Sequence[float], *, begin: float | None = None
) -> Samples:
    """Send a call, round and round, at each of the `times` after `begin` (the monotonic clock; default now)."""
    with _undisturbed():
        return uvloop.run(_OpenLoop(port, calls, times, begin).run())


def closed_loop(
    port: int, calls: Sequence[Call], *, connections: int = 1, seconds: float | None = None
) -> Samples:
    """Each connection sends its next call when the last one is answered: all once, or round and round for `seconds`.

    The latency of a call without a kept connection includes connecting.
    """
    with _undisturbed():
        return uvloop.run(_ClosedLoop(port, calls, seconds).run(connections))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collection, and real-time priority where that is allowed: it shares the servers' processors, needs
    little of them, and must not wait for them.
    """
    gc.collect()
    gc.disable()
    # Of this thread, and of those that it starts. Niceness would not do: it counts only within a session.
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        gc.enable()


class _Connection(asyncio.Protocol):
    """One call at a time. Names beginning with `on_` are httptools'."""

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._number: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, number: int, wire: bytes) -> None:
        self._number = number
        self._body.clear()
        self._transport.write(wire)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        kept = self._parser.should_keep_alive()
        if not kept:
            self._transport.close()
        self._end(self._parser.get_status_code(), kept=kept)

    def connection_lost(self, _: Exception | None) -> None:
        self._loop.lost(self)
        self._end(0, kept=False)

    def _end(self, status: int, *, kept: bool) -> None:
        number, self._number = self._number, None
        if number is not None:
            self._loop.ended(number, status, b"".join(self._body), self if kept else None)


class _Loop(ABC):
    """What both kinds share: connections that are kept, and the records."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered = 0
        self.samples = Samples()
        self.finished = asyncio.Event()

    def start(self, call: Call, intended: float) -> None:
        """Send now, on a kept connection or a new one."""
        number = self.samples.begin(call.text, intended)
        self._unanswered += 1
        if self._idle:
            self._idle.pop().send(number, call.wire)
            return
        task = asyncio.get_running_loop().create_task(self._connect_and_send(number, call.wire))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def connect(self) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self), "127.0.0.1", self._port
        )
        return connection

    async def _connect_and_send(self, number: int, wire: bytes) -> None:
        try:
            connection = await self.connect()
        except OSError:
            self.ended(number, 0, b"", None)
        else:
            connection.send(number, wire)

    def lost(self, connection: _Connection) -> None:
        with suppress(ValueError):
            self._idle.remove(connection)

    def ended(self, number: int, status: int, body: bytes, connection: _Connection | None) -> None:
        self.samples.end(number, status, body)
        self._unanswered -= 1
        if connection is not None:
            self._idle.append(connection)
        self.next()

    @abstractmethod
    def next(self) -> None:
        """After an answer: the loop's own idea of what follows."""

    async def finish(self) -> Samples:
        """When all is answered, or nothing has been for so long that nothing more will be."""
        ended = -1
        while not self.finished.is_set() and ended != len(self.samples) - self._unanswered:
            ended = len(self.samples) - self._unanswered
            with suppress(TimeoutError):
                await asyncio.wait_for(self.finished.wait(), _PATIENCE_S)
        for connection in list(self._idle):
            connection.close()
        return self.samples


class _OpenLoop(_Loop):
    def __init__(self, port: int, calls: Sequence[Call], times: Sequence[float], begin: float | None) -> None:
        super().__init__(port)
        self._calls, self._times, self._begin = calls, times, begin

    def next(self) -> None:
        if not self._unanswered and len(self.samples) == len(self._times):
            self.finished.set()

    async def run(self) -> Samples:
        self._idle += [await self.connect() for _ in range(min(16, len(self._times)))]
        begin = time.perf_counter() if self._begin is None else self._begin
        due = [begin + after for after in self._times]
        # A thread that sleeps is on time to some 0.1 ms; timers of event loops are rounded to whole milliseconds.
        wake, stop = os.eventfd(0, os.EFD_NONBLOCK), threading.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(wake, self._send_due, wake, due)
        clock = threading.Thread(target=_keep_time, args=(due, wake, stop))
        clock.start()
        try:
            return await self.finish()
        finally:
            stop.set()
            clock.join()
            loop.remove_reader(wake)
            os.close(wake)

    def _send_due(self, wake: int, due: list[float]) -> None:
        os.eventfd_read(wake)
        now = time.perf_counter()
        while (number := len(self.samples)) < len(due) and due[number] <= now:
            self.start(self._calls[number % len(self._calls)], due[number])


def _keep_time(due: Sequence[float], wake: int, stop: threading.Event) -> None:
    for at in due:
        if stop.wait(max(0.0, at - time.perf_counter())):
            return
        os.eventfd_write(wake, 1)


class _ClosedLoop(_Loop):
    def __init__(self, port: int, calls: Sequence[Call], seconds: float | None) -> None:
        super().__init__(port)
        self._calls = calls
        self._until = None if seconds is None else time.perf_counter() + seconds

    def next(self) -> None:
        sent, now = len(self.samples), time.perf_counter()
        if now < self._until if self._until is not None else sent < len(self._calls):
            self.start(self._calls[sent % len(self._calls)], now)
        elif not self._unanswered:
            self.finished.set()

    async def run(self, connections: int) -> Samples:
        for _ in range(connections):
            self.next()
        return await self.finish()
