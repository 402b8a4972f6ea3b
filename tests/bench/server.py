"""A small real HTTP server that behaves as its path says, for tests of the load generator.

`/ok`, `/hold/N` (no answer before N requests wait, then all), `/fail/N` (every Nth gets 503), `/status/N`, `/chunked`,
`/until-close`, `/interim` (100 first), `/last` (an answer, then the connection is closed), `/cut` (half an answer),
`/garbage`, `/never`, `/twice` (an answer too many).
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"


@dataclass
class Server:
    """What the server saw: `requests` as (request line, headers, body), and on how many connections they came."""

    port: int = 0
    scheme: str = "http"
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    most_waiting: int = 0
    _waiting: list[asyncio.Event] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = True
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.connections += first
                first = False
                self.requests.append((head[0], headers, body))
                again = await self._answer(head[0].split()[1].partition("?")[0].strip("/").split("/"), writer)
                if not again or headers["connection"] == "close":
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, path: list[str], writer: asyncio.StreamWriter) -> bool:
        kind, number = path[0], int(path[1]) if len(path) > 1 else 0
        match kind:
            case "ok":
                writer.write(OK)
            case "hold":
                await self._hold(number)
                writer.write(OK)
            case "fail" if len(self.requests) % number == 0:
                writer.write(b'HTTP/1.1 503 Busy\r\nContent-Length: 16\r\n\r\n{"error":"busy"}')
            case "fail":
                writer.write(OK)
            case "status":
                writer.write(f"HTTP/1.1 {number} X\r\nContent-Length: 0\r\n\r\n".encode())
            case "chunked":
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n")
            case "until-close":
                writer.write(b"HTTP/1.0 200 OK\r\n\r\nfine")
            case "interim":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
            case "last":
                writer.write(OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            case "cut":
                writer.write(OK[:-2])
            case "garbage":
                writer.write(b"fine\r\n\r\n")
            case "twice":
                writer.write(OK + OK)
            case "never":
                await asyncio.Event().wait()
            case _:
                raise AssertionError(f"no such behaviour: {kind}")
        return kind not in ("until-close", "last", "cut", "garbage")

    async def _hold(self, until: int) -> None:
        event = asyncio.Event()
        self._waiting.append(event)
        self.most_waiting = max(self.most_waiting, len(self._waiting))
        if len(self._waiting) == until:
            for each in self._waiting:
                each.set()
            self._waiting.clear()
        await event.wait()


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """The server on a free port, in a thread of its own."""
    server = Server(scheme="https" if tls else "http")
    started = threading.Event()
    ending: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
        server.port = listening.sockets[0].getsockname()[1]
        end = asyncio.Event()
        ending.append((asyncio.get_running_loop(), end))
        started.set()
        await end.wait()
        listening.close()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert started.wait(30)
    try:
        yield server
    finally:
        loop, end = ending[0]
        loop.call_soon_threadsafe(end.set)
        thread.join()
