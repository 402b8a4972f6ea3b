"""What the router costs: each call through it is paired with a direct call to the same echo replica.

    python benchmarks/router.py [--pairs 10000] [--seconds 2] [--rounds 3] [--connections 16]

Four processes: this one makes the calls, one echoes, one is a real router with a private endpoint, one is the least that
a forwarder in Python can be (`bare.py`), for the limit. With two cores or more, router and bare forwarder share one of
them, never at the same time; caller and echo have the other. Calls alternate, direct and routed, so that a busy moment
of the machine hits both, and every answer is checked. The rates are measured in turns with all connections busy, and
also said per second of the forwarder's own processor time: that is what one core can do when the caller is not the
limit. `same heads` is what load generators send; with `other heads` each request has an id of its own, as some clients
send, so that nothing that the router remembers of a head helps.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import uvloop

from inlet.core.access import Grant, Permission, Token, hash_token
from inlet.core.endpoint import State
from inlet.core.routes import Route, RouteTable, Upstream
from inlet.core.spec import Visibility
from inlet.wire.link import dump_table

SECRET = "inlet_benchmark"
BODY = b'{"inputs": "a short text"}'
HEAD = (
    "POST /default/echo HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nuser-agent: benchmark/1\r\naccept: */*\r\n"
    f"accept-encoding: gzip, deflate\r\nauthorization: Bearer {SECRET}\r\ncontent-type: application/json\r\n"
    f"content-length: {len(BODY)}\r\n\r\n"
).encode()
OTHER_HEAD = HEAD.removesuffix(b"\r\n") + b"x-amzn-trace-id: %032x\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


class Echo(asyncio.Protocol):
    """Answers each complete request with the body of the benchmark; a replica that costs next to nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.endswith(BODY):
            self._buffer = b""
            self._transport.write(ANSWER)


class Caller(asyncio.Protocol):
    """Sends a request, waits for the answer's last byte, calls back. `other`: each with an id of its own."""

    def __init__(self, answered: Callable[[Caller], None], *, other: bool = False) -> None:
        self._answered = answered
        self._other = other
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def call(self) -> None:
        head = OTHER_HEAD % random.getrandbits(128) if self._other else HEAD
        self.transport.write(head + BODY)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.endswith(BODY):
            if not self._buffer.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"not an answer: {self._buffer[:200]!r}")
            self._buffer = b""
            self._answered(self)


async def serve_echo(folder: Path) -> None:
    """The echo replica's process: on a Unix socket for the router, on a port for direct calls."""
    loop = asyncio.get_running_loop()
    near = await loop.create_unix_server(Echo, str(folder / "echo.sock"))
    direct = await loop.create_server(Echo, "127.0.0.1", 0)
    (folder / "port.new").write_text(str(direct.sockets[0].getsockname()[1]))
    (folder / "port.new").rename(folder / "port")
    async with near, direct:
        await asyncio.Event().wait()


class LinkEnd(asyncio.Protocol):
    """Control's end of the link, as much of it as the router needs here: one table, and no news ever."""

    def __init__(self, table: bytes) -> None:
        self._table = table

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST"):
            self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif b"after=" not in data:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(self._table), self._table)
            )


async def serve_link(folder: Path) -> asyncio.AbstractServer:
    """Tell the router of the echo, and of the token that may use it."""
    table = RouteTable(
        "1",
        (
            Route(
                "e", "default", "echo", None, Visibility.PRIVATE, State.RUNNING,
                (Upstream("r", f"unix:{folder / 'echo.sock'}"),),
            ),
        ),
        (Token("t", "t", hash_token(SECRET), (Grant(Permission.INFER, "default"),), 0.0),),
    )  # fmt: skip
    (folder / "run").mkdir(mode=0o700)
    return await asyncio.get_running_loop().create_unix_server(
        lambda: LinkEnd(dump_table(table)), str(folder / "run" / "link.sock")
    )


async def pairs(direct: int, routed: int, count: int) -> tuple[list[float], list[float]]:
    """Latencies in milliseconds of alternating calls, one at a time."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None]
    times: tuple[list[float], list[float]] = ([], [])

    def answered(_: Caller) -> None:
        done.set_result(None)

    callers = [
        (await loop.create_connection(lambda: Caller(answered), "127.0.0.1", port))[1]
        for port in (direct, routed)
    ]
    for number in range(count + 200):
        for caller, kept in zip(callers, times, strict=True):
            done = loop.create_future()
            began = time.perf_counter()
            caller.call()
            await done
            if number >= 200:
                kept.append((time.perf_counter() - began) * 1000)
    for caller in callers:
        caller.transport.close()
    return times


async def rate(
    port: int, connections: int, seconds: float, process: psutil.Process, *, other: bool = False
) -> tuple[float, float]:
    """Requests a second with all connections busy, and the same per second of processor time of `process`."""
    loop = asyncio.get_running_loop()
    count = 0
    ending = False

    def answered(caller: Caller) -> None:
        nonlocal count
        count += 1
        if not ending:
            caller.call()

    callers = [
        (await loop.create_connection(lambda: Caller(answered, other=other), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    for caller in callers:
        caller.call()
    await asyncio.sleep(0.5)
    before, began, used = count, time.perf_counter(), sum(process.cpu_times()[:2])
    await asyncio.sleep(seconds)
    answers, wall = count - before, time.perf_counter() - began
    spent = sum(process.cpu_times()[:2]) - used
    ending = True
    await asyncio.sleep(0.1)
    for caller in callers:
        caller.transport.close()
    return answers / wall, answers / max(spent, 0.01)


def pin(core: int) -> None:
    """Keep this process on one core, where there are several."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core]})


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


async def measure(
    folder: Path, router: psutil.Process, routed: int, bare: psutil.Process, flags: argparse.Namespace
) -> None:
    """All figures, printed; needs the echo and both forwarders, and is the router's link."""
    link = await serve_link(folder)
    direct, least = (int((folder / name).read_text()) for name in ("port", "bare"))
    plain, through = await pairs(direct, routed, flags.pairs)
    added = [b - a for a, b in zip(plain, through, strict=True)]
    print(f"{flags.pairs} pairs, milliseconds; the router has {len(router.cpu_affinity())} core(s)")
    for share, label in ((0.5, "median"), (0.9, "p90"), (0.99, "p99")):
        a, b = quantile(plain, share), quantile(through, share)
        print(f"  {label:7} direct {a:.3f}  routed {b:.3f}  difference {b - a:.3f}")
    print(f"  median of the paired differences {statistics.median(added):.3f}")
    ways = {
        "router, same heads": (routed, router, False),
        "router, other heads": (routed, router, True),
        "bare forwarder": (least, bare, False),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    straight = []
    for _ in range(flags.rounds):
        straight.append((await rate(direct, flags.connections, flags.seconds, router))[0])
        for name, (port, process, other) in ways.items():
            found[name].append(await rate(port, flags.connections, flags.seconds, process, other=other))
    print(f"requests/s at {flags.connections} connections, medians of {flags.rounds} rounds in turns")
    print(f"  {'direct call':20} {statistics.median(straight):9,.0f}")
    for name, pairs_ in found.items():
        wall, core = (statistics.median(column) for column in zip(*pairs_, strict=True))
        print(f"  {name:20} {wall:9,.0f}   per second of its own processor time {core:9,.0f}")
    print(f"router's resident memory: {router.memory_info().rss / 1e6:.0f} MB")
    link.close()


def await_file(path: Path) -> None:
    """Return when another process has written it."""
    until = time.monotonic() + 30
    while not path.exists():
        if time.monotonic() > until:
            raise SystemExit(f"nobody wrote {path.name}")
        time.sleep(0.05)


@contextmanager
def processes(folder: Path) -> Iterator[tuple[psutil.Process, int, psutil.Process]]:
    """Echo, router and bare forwarder while the block runs; gives the router's process and port, and the latter's."""
    listening = socket.create_server(("127.0.0.1", 0))
    fd = str(listening.fileno())
    echo = subprocess.Popen([sys.executable, __file__, "--echo", str(folder)])
    router = subprocess.Popen(
        [sys.executable, "-m", "inlet.router", "--fd", fd],
        env={**os.environ, "INLET_HOME": str(folder), "INLET_LOG_LEVEL": "error"},
        pass_fds=[listening.fileno()],
    )
    children = [router, echo]
    try:
        await_file(folder / "port")
        bare = subprocess.Popen([sys.executable, str(Path(__file__).with_name("bare.py")), str(folder)])
        children.append(bare)
        forwarders = [psutil.Process(child.pid) for child in (router, bare)]
        for process in forwarders:
            process.cpu_affinity([max(os.sched_getaffinity(0))])
        pin(0)
        await_file(folder / "bare")
        yield forwarders[0], listening.getsockname()[1], forwarders[1]
    finally:
        for child in children:
            child.terminate()
            child.wait(10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--echo", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.echo:
        pin(0)
        uvloop.run(serve_echo(flags.echo))
        return
    with tempfile.TemporaryDirectory(prefix="inlet") as name, processes(Path(name)) as (router, port, bare):
        uvloop.run(measure(Path(name), router, port, bare, flags))


if __name__ == "__main__":
    main()
