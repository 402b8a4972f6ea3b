"""Callers of every kind over raw sockets, most of them well-behaved: leaks live where requests go wrong.

Used by `test_soak.py`. Keeps no record of single requests, so that it can go on for millions of them.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WITHIN_S = 150.0  # more than the minute for which a router holds a request


@dataclass(frozen=True)
class Kind:
    """One way to behave: how often (a weight), what is asked, and which answers are right.

    `fresh`: on a connection of its own. `leaves`: goes away after this share of the bytes, without waiting for an answer.
    """

    name: str
    weight: float
    target: str
    token: str
    body: bytes = b""
    method: str = "POST"
    answers: frozenset[int] = frozenset({200})
    fresh: bool = False
    leaves: float | None = None

    def message(self) -> bytes:
        head = f"{self.method} {self.target} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {self.token}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(self.body)}\r\n\r\n"
        return head.encode() + self.body


class Wrong(Exception):
    """An answer that the kind of request does not allow."""


class Callers:
    """Callers of one server, each of which behaves in one way after another, as `kinds` are weighted and `seed` draws.

    `answers` counts what came, by the kind's name and status; 0 for who did not wait for an answer.
    """

    def __init__(self, port: int, kinds: Sequence[Kind], *, seed: int) -> None:
        self._port, self._kinds = port, kinds
        self._weights = [kind.weight for kind in kinds]
        self._messages: Mapping[str, bytes] = {kind.name: kind.message() for kind in kinds}
        self._random = random.Random(seed)
        self._made = 0
        self.answers: Counter[tuple[str, int]] = Counter()

    async def run(self, count: int, *, concurrency: int, samples: int, sample: Callable[[int], None]) -> None:
        """Make `count` requests, `concurrency` at a time, and call `sample` with the number made, `samples` times.

        Ends with `Wrong` when an answer is not what its kind allows, with `TimeoutError` when none comes.
        """

        async def call() -> None:
            line = Line(self._port)
            while self._made < count:
                self._made += 1
                if self._made % (count // samples) == 0:
                    sample(self._made)
                await self._one(line)
            line.close()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(call())

    async def _one(self, line: Line) -> None:
        kind = self._random.choices(self._kinds, self._weights)[0]
        message = self._messages[kind.name]
        own = Line(self._port) if kind.fresh or kind.leaves is not None else line
        async with asyncio.timeout(WITHIN_S):
            if kind.leaves is not None:
                await own.send(message[: int(kind.leaves * len(message))])
                own.abort()
                self.answers[kind.name, 0] += 1
                return
            status = await own.ask(message)
        self.answers[kind.name, status] += 1
        if status not in kind.answers:
            raise Wrong(f"{kind.name}: {status} {own.body[:300]!r}")
        if own is not line:
            own.close()


class Line:
    """One connection at a time, opened when it is needed, kept as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.body = b""

    async def send(self, message: bytes) -> asyncio.StreamReader:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        self._streams[1].write(message)
        return self._streams[0]

    async def ask(self, message: bytes) -> int:
        """The status of the answer, whose body is then in `body`."""
        reader = await self.send(message)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.body = await reader.readexactly(length)
        if b"\r\nconnection: close\r\n" in head:
            self.close()
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    def abort(self) -> None:
        """End it with a reset, as a caller whose machine went away."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
