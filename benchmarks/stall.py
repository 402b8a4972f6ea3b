"""A server that stands still at known times, and what the generator makes of it: the check of the generator itself.

`rounds` does it before each run. The share of late calls is known beforehand: calls arrive evenly in time, so of a
stall of d seconds in every T, the share (d - x) / T waits longer than x. A generator that waits for answers before it
sends more sees one late call for each stall, however many callers there would have been.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from benchmarks.load import Call, is_on_time, open_loop, poisson_times

_REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
_RATE, _SEED = 200.0, 3
_LEAD_S = 0.5  # for connecting before the first call


@dataclass(frozen=True, slots=True)
class Stalls:
    """From `begin` (monotonic clock) on, every `period` seconds begins with `length` seconds of standing still."""

    begin: float
    period: float
    length: float

    def left(self, at: float) -> float:
        """Seconds until the stall at that moment ends; 0 outside."""
        into = (at - self.begin) % self.period
        return self.length - into if at >= self.begin and into < self.length else 0.0

    def late_share(self, longer_than: float) -> float:
        """Of calls evenly spread in time, the share that waits longer than so many seconds."""
        return max(0.0, self.length - longer_than) / self.period


@dataclass(frozen=True, slots=True)
class Seen:
    """`expected` and `seen`: shares of calls that waited longer than half a stall. `impossible`: calls that were answered
    before the stall in which they were made had ended. `valid`: the generator kept its schedule.
    """

    calls: int
    expected: float
    seen: float
    impossible: int
    lag_p99: float
    valid: bool


def check(seconds: float = 10.0, period: float = 2.0, length: float = 0.2) -> Seen:
    """Load such a server for so long."""
    times = poisson_times(_RATE, seconds, _SEED)
    with _server(period, length) as (port, begin_at):
        stalls = Stalls(time.perf_counter() + _LEAD_S, period, length)
        begin_at(stalls.begin)
        samples = open_loop(port, [Call(_REQUEST, 0)], times, begin=stalls.begin)
    latencies = samples.latencies_ms()
    left = np.array([stalls.left(at) for at in samples.intended]) * 1e3
    return Seen(
        calls=len(samples),
        expected=stalls.late_share(length / 2),
        seen=float((latencies > length / 2 * 1e3).mean()),
        impossible=int((latencies < left).sum()),
        lag_p99=float(np.quantile(samples.lags_ms(), 0.99)),
        valid=is_on_time(samples.lags_ms(), latencies),
    )


@contextmanager
def _server(period: float, length: float) -> Iterator[tuple[int, Callable[[float], None]]]:
    """A process that listens; its port, and how to tell it when the first stall begins, before which it answers nobody."""
    words = [sys.executable, "-m", "benchmarks.stall", str(period), str(length)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield port, lambda begin: print(begin, file=process.stdin, flush=True)
        finally:
            process.kill()


class _Server(asyncio.Protocol):
    def __init__(self, stalls: Stalls) -> None:
        self._stalls = stalls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        time.sleep(self._stalls.left(time.perf_counter()))  # the whole server stands still
        self._transport.write(_ANSWER * data.count(_REQUEST))


async def _serve(listening: socket.socket, stalls: Stalls) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Server(stalls), sock=listening)
    await server.serve_forever()


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("period", type=float)
    parser.add_argument("length", type=float)
    flags = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        begin = float(sys.stdin.readline())
        asyncio.run(_serve(listening, Stalls(begin, flags.period, flags.length)))


if __name__ == "__main__":
    _main()
