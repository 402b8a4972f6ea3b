"""The least that a forwarder in Python can be, as the limit beside the router's figures in `router.py`.

Parses the head with httptools, looks the token up in a dictionary, and passes the bytes on over a kept connection, both
ways, as they came. It checks nothing else, waits for nobody, and survives nothing. Never use it for anything.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from pathlib import Path

import httptools
import uvloop

SECRETS = {b"Bearer inlet_benchmark": True}


class Upstream(asyncio.Protocol):
    """One connection to the echo, for one client's connection after another."""

    client: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        IDLE.append(self)
        self.client.write(data)


IDLE: deque[Upstream] = deque()


class Client(asyncio.Protocol):
    """One client's connection, one request at a time, each of them in one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._allowed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"authorization":
            self._allowed = SECRETS.get(value, False)

    def data_received(self, data: bytes) -> None:
        httptools.HttpRequestParser(self).feed_data(data)
        if not self._allowed:
            self._transport.close()
            return
        upstream = IDLE.pop()
        upstream.client = self._transport
        upstream.transport.write(data)


async def main(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(64):
        _, upstream = await loop.create_unix_connection(Upstream, str(folder / "echo.sock"))
        IDLE.append(upstream)
    server = await loop.create_server(Client, "127.0.0.1", 0)
    (folder / "bare.new").write_text(str(server.sockets[0].getsockname()[1]))
    (folder / "bare.new").rename(folder / "bare")
    async with server:
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
