"""The two ways to send load, and what is written down of it.

Closed loop: so many clients, each sending again once it was answered; says what is possible. Open loop: requests are due
at times drawn beforehand (a Poisson process), whatever the server does; says what callers see. A server that stands still
gets no fewer requests by it, so a stall of a second at 100 a second is 100 slow requests and not one. Latency counts from
when a request was due, not from when it was sent. Called by `cli/`, one run at a time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import uvloop

from inlet.bench.connection import Failed, Pool, find_address
from inlet.bench.target import Target

_SEED = 20_230_215
"""Two runs of the same load send at the same times, so that they can be compared."""
_PROGRESS_S = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """`rate` None is the closed loop with `connections` clients; else so many requests a second fall due on average.

    In the open loop `connections` is the most that are open at once; a request waits for one if all are taken.
    `timeout` in seconds for one request, connecting and waiting included.
    """

    requests: int
    connections: int = 1
    rate: float | None = None
    timeout: float = 60.0


@dataclass(slots=True)
class Recording:
    """What came of a run, filled while it goes on: it can be read whenever the run ends. All times in seconds."""

    latencies: list[float] = field(default_factory=list)  # of those answered with 2xx
    lags: list[float] = field(default_factory=list)  # by how much the generator itself was late
    failures: Counter[str] = field(default_factory=Counter)
    answers: dict[str, str] = field(default_factory=dict)  # what the first failure of each kind said
    sent: int = 0  # bytes
    received: int = 0  # bytes
    crowded: int = 0  # requests of the open loop that found all connections taken
    elapsed: float = 0.0
    cpu: float = 0.0  # that this process used

    @property
    def done(self) -> int:
        return len(self.latencies) + self.failures.total()


def run(target: Target, load: Load, recording: Recording, on_progress: Callable[[int], None]) -> None:
    """Send `load` and fill `recording`; blocks. `on_progress` is told now and then how many requests are over.

    `InletError` if the target takes no connection at all; Ctrl-C leaves the recording as far as it came.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(target, load, recording, on_progress))


async def _run(target: Target, load: Load, recording: Recording, on_progress: Callable[[int], None]) -> None:
    pool = Pool(target, await find_address(target, load.timeout), load.connections)
    sender = _Sender(pool, target.requests, load.timeout, recording)
    showing = asyncio.create_task(_show(recording, on_progress))
    began, cpu = time.perf_counter(), time.process_time()
    try:
        if load.rate is None:
            await _closed(sender, load)
        else:
            await _open(sender, load.requests, load.rate)
    finally:
        recording.elapsed, recording.cpu = time.perf_counter() - began, time.process_time() - cpu
        showing.cancel()
        pool.close()
        on_progress(recording.done)


async def _closed(sender: _Sender, load: Load) -> None:
    numbers = iter(range(load.requests))

    async def client() -> None:
        for number in numbers:  # each takes the next one
            await sender.send(number, time.perf_counter())

    async with asyncio.TaskGroup() as clients:
        for _ in range(load.connections):
            clients.create_task(client())


async def _open(sender: _Sender, requests: int, rate: float) -> None:
    drawn = random.Random(_SEED)  # noqa: S311 - times, no secrets
    due = time.perf_counter()
    async with asyncio.TaskGroup() as sending:
        for number in range(requests):
            due += drawn.expovariate(rate)
            # The loop's timers are right to a millisecond only, so that one sleep may end too early.
            while (early := due - time.perf_counter()) > 0:  # noqa: ASYNC110 - there is nothing but time to wait for
                await asyncio.sleep(early)
            sending.create_task(sender.send_when_due(number, due))


@dataclass(slots=True)
class _Sender:
    """Sends one request and writes down what came of it. `timeout` in seconds; `due` by `time.perf_counter`."""

    pool: Pool
    requests: tuple[bytes, ...]
    timeout: float
    recording: Recording

    async def send_when_due(self, number: int, due: float) -> None:
        """As `send`, and before it note what would be the generator's fault."""
        self.recording.lags.append(time.perf_counter() - due)
        self.recording.crowded += self.pool.full
        await self.send(number, due)

    async def send(self, number: int, due: float) -> None:
        recording, request = self.recording, self.requests[number % len(self.requests)]
        recording.sent += len(request)
        try:
            answer = await self.pool.exchange(request, self.timeout)
        except Failed as error:
            recording.failures[str(error)] += 1
            return
        recording.received += answer.received
        if answer.good:
            recording.latencies.append(time.perf_counter() - due)
        else:
            recording.failures[f"status {answer.status}"] += 1
            recording.answers.setdefault(f"status {answer.status}", answer.text)


async def _show(recording: Recording, on_progress: Callable[[int], None]) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_S)
        on_progress(recording.done)
