"""The generator on real sockets. Whatever stands still meanwhile, these must hold: no upper bound of any time is asked."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from benchmarks.load import closed_loop, is_on_time, open_loop, poisson_times
from benchmarks.stall import Stalls
from benchmarks.systems.base import INPUTS

from benchmarks import stall
from tests.system import reserved_port

TEXTS = [f"text {number}" for number in range(60)]
CALLS = [INPUTS.call(text, number) for number, text in enumerate(TEXTS)]
CLOSING = [INPUTS.call(text, number, keep_alive=False) for number, text in enumerate(TEXTS)]

Handle = Callable[["Connection", str], None]


class Connection(asyncio.Protocol):
    """Hands each request's text to the test's `handle`, which answers when it likes."""

    def __init__(self, handle: Handle) -> None:
        self._handle, self._buffer, self.closing = handle, b"", False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self._buffer += data
        head, _, body = self._buffer.partition(b"\r\n\r\n")
        if body.endswith(b"}"):
            self._buffer, self.closing = b"", b"Connection: close" in head
            self._handle(self, json.loads(body)["inputs"])

    def answer(self, text: str, status: int = 200) -> None:
        more = b"Connection: close\r\n" if self.closing else b""
        self.transport.write(
            b"HTTP/1.1 %d -\r\n%bContent-Length: %d\r\n\r\n%b" % (status, more, len(text), text.encode())
        )


@contextmanager
def server(handle: Handle) -> Iterator[tuple[int, list[Connection]]]:
    """A real server in a thread: its port, and every connection that was made."""
    loop, made = asyncio.new_event_loop(), []

    def connection() -> Connection:
        made.append(Connection(handle))
        return made[-1]

    listening = loop.run_until_complete(loop.create_server(connection, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield listening.sockets[0].getsockname()[1], made
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listening.close()
        for one in made:
            one.transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def bodies(samples) -> list[str]:
    return [body.decode() for body in samples.body]


def test_a_stall_is_seen_by_every_call_that_falls_into_it():
    seen = stall.check(seconds=2.0, period=0.5, length=0.2)
    assert seen.calls == len(poisson_times(200.0, 2.0, 3))
    assert seen.impossible == 0
    # Of evenly spread calls a fifth waits longer than half the stall; more if the machine stood still as well.
    assert seen.expected == pytest.approx(0.2)
    assert seen.seen > 0.75 * seen.expected


def test_the_share_of_late_calls_is_that_of_the_times_in_a_stall():
    stalls = Stalls(begin=100.0, period=2.0, length=0.2)
    times = np.arange(100.0, 140.0, 0.001)
    left = np.array([stalls.left(at) for at in times])
    assert (left > 0.05).mean() == pytest.approx(stalls.late_share(0.05), abs=0.001)
    assert stalls.left(99.9) == 0
    assert stalls.late_share(0.3) == 0


def test_the_open_loop_waits_for_no_answer():
    waiting: list[tuple[Connection, str]] = []

    def handle(connection: Connection, text: str) -> None:
        waiting.append((connection, text))
        if len(waiting) == len(TEXTS):  # a generator that waits for the first answer waits for ever
            for held, asked in reversed(waiting):
                held.answer(asked)

    with server(handle) as (port, _):
        samples = open_loop(port, CALLS, [0.001 * number for number in range(len(TEXTS))])
    assert bodies(samples) == TEXTS
    assert samples.answered().all()
    # Each waited at least until the last was due.
    due = np.array(samples.intended)
    assert (samples.latencies_ms() >= (due[-1] - due) * 1e3).all()
    assert (samples.lags_ms() >= 0).all()


@pytest.mark.parametrize("connections", [1, 8])
def test_the_closed_loop_has_one_call_per_connection_under_way(connections):
    under_way, most = set(), 0

    def handle(connection: Connection, text: str) -> None:
        nonlocal most
        assert connection not in under_way
        under_way.add(connection)
        most = max(most, len(under_way))
        asyncio.get_running_loop().call_later(0.002, finish, connection, text)

    def finish(connection: Connection, text: str) -> None:
        under_way.remove(connection)
        connection.answer(text)

    with server(handle) as (port, made):
        samples = closed_loop(port, CALLS, connections=connections)
        assert len(made) == connections
    assert bodies(samples) == TEXTS
    assert most <= connections


def test_without_keeping_each_call_has_a_connection_of_its_own():
    with server(lambda connection, text: connection.answer(text)) as (port, made):
        samples = closed_loop(port, CLOSING)
        assert len(made) == len(TEXTS)
    assert bodies(samples) == TEXTS


def test_a_lost_connection_and_a_refusal_are_no_answers():
    def handle(connection: Connection, text: str) -> None:
        number = TEXTS.index(text)
        if number % 3 == 0:
            connection.transport.close()
        else:
            connection.answer(text, 429 if number % 3 == 1 else 200)

    with server(handle) as (port, _):
        samples = closed_loop(port, CALLS)
    assert samples.status == [(0, 429, 200)[number % 3] for number in range(len(TEXTS))]
    assert samples.answered().sum() == len(TEXTS) // 3


def test_where_nobody_listens_every_call_fails():
    with reserved_port() as port:
        assert closed_loop(port, CALLS[:3]).status == [0, 0, 0]


def test_times_are_drawn_at_random_and_beforehand():
    times = poisson_times(rate=100.0, seconds=100.0, seed=1)
    assert times == poisson_times(rate=100.0, seconds=100.0, seed=1)
    assert times != poisson_times(rate=100.0, seconds=100.0, seed=2)
    assert times[-1] < 100
    gaps = np.diff(times)
    assert gaps.mean() == pytest.approx(0.01, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as of exponential ones


@pytest.mark.parametrize(
    ("lag", "latency", "on_time"),
    [(0.2, 10.0, True), (0.6, 10.0, False), (0.9, 100.0, True), (1.1, 100.0, False)],
)
def test_a_late_generator_makes_a_run_invalid(lag, latency, on_time):
    assert is_on_time(np.full(100, lag), np.full(100, latency)) is on_time
