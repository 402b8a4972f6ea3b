"""Connections to one server, as thin as they can be: what they cost is measured with what they measure.

`load.py` asks the pool to exchange a request for an answer. Must never repeat a request: what fails is a result.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import cast

import httptools

from inlet.bench.target import Target
from inlet.core.errors import InletError

_KEPT_TEXT = 2048
"""Bytes kept of an answer that reports an error; of others nothing is."""


class Failed(Exception):
    """No answer came. `str()` says how, in the words under which failures are counted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`received`: bytes as they came, the head included. `text`: the beginning of the body, unless `status` is 2xx."""

    status: int
    received: int
    text: str

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


class Pool:
    """At most `limit` connections to `target`; an idle one is used again if the target keeps them."""

    def __init__(self, target: Target, address: str, limit: int) -> None:
        self._target = target
        self._address = address
        self._room = asyncio.Semaphore(limit)
        self._idle: list[_Connection] = []

    @property
    def full(self) -> bool:
        """Whether the next exchange has to wait for another one to end."""
        return self._room.locked()

    async def exchange(self, request: bytes, within: float) -> Answer:
        """Send `request` and read the answer within so many seconds; `Failed` if there is none.

        The time that it waits for a connection counts.
        """
        try:
            async with asyncio.timeout(within), self._room:
                connection = self._idle.pop() if self._idle else await self._connect()
                try:
                    answer = await connection.exchange(request)
                finally:
                    if connection.reusable and self._target.keep_alive:
                        self._idle.append(connection)
                    else:
                        connection.close()
        except TimeoutError:
            raise Failed(f"no answer within {within:g} s") from None
        return answer

    def close(self) -> None:
        for connection in self._idle:
            connection.close()

    async def _connect(self) -> _Connection:
        target, loop = self._target, asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: _Connection(self._idle),
                self._address,
                target.port,
                ssl=target.tls,
                server_hostname=target.host if target.tls else None,
            )
        except ssl.SSLCertVerificationError as error:
            raise Failed(f"its certificate does not verify: {error.verify_message}") from None
        except OSError as error:
            raise Failed(_words(error)) from None
        return connection


class _Connection(asyncio.Protocol):
    """One connection, at most one request on it at a time. While it rests in `idle`, it leaves that when it is closed."""

    _transport: asyncio.Transport

    def __init__(self, idle: list[_Connection]) -> None:
        self.reusable = False
        self._idle = idle
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[Answer] | None = None
        self._received = 0
        self._text = b""
        self._framed = False
        self._in_body = False

    async def exchange(self, request: bytes) -> Answer:
        self._waiting = asyncio.get_running_loop().create_future()
        self.reusable = False
        self._received = 0
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        self._transport.abort()

    # -- what the event loop does with it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("the answer is no HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._idle:
            self._idle.remove(self)
        if exc is None and self._in_body and not self._framed:
            self._complete()
        else:
            self._fail("the connection was closed before the answer was whole")

    # -- what the parser does with it

    def on_message_begin(self) -> None:
        self._framed = self._in_body = False
        self._text = b""

    def on_header(self, name: bytes, _value: bytes) -> None:
        self._framed = self._framed or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        if self._parser.get_status_code() >= 300 and len(self._text) < _KEPT_TEXT:
            self._text += body[:_KEPT_TEXT]

    def on_message_complete(self) -> None:
        self._in_body = False
        if self._parser.get_status_code() >= 200:  # others come before the answer
            self.reusable = self._parser.should_keep_alive()
            self._complete()

    def _complete(self) -> None:
        if self._waiting is None or self._waiting.done():
            self.reusable = False  # an answer to no request: nothing on this connection can be trusted
            self._transport.abort()
            return
        text = self._text[:_KEPT_TEXT].decode(errors="replace")
        self._waiting.set_result(Answer(self._parser.get_status_code(), self._received, text))

    def _fail(self, words: str) -> None:
        self.reusable = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Failed(words))


async def find_address(target: Target, within: float) -> str:
    """The first address of the target's name that takes a connection; `InletError` if none does.

    Looked up once: a look-up for each connection would be measured with them.
    """
    loop, reason = asyncio.get_running_loop(), "it has no address"
    try:
        async with asyncio.timeout(within):
            for *_, where in await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM):
                address = str(where[0])
                try:
                    transport, _ = await loop.create_connection(asyncio.Protocol, address, target.port)
                except OSError as error:
                    reason = _words(error)
                else:
                    transport.abort()
                    return address
    except TimeoutError:
        reason = f"no connection within {within:g} s"
    except OSError as error:
        reason = _words(error)
    raise InletError(f"{target.host}:{target.port} cannot be reached: {reason}")


def _words(error: OSError) -> str:
    """What the system calls it, without the address that asyncio puts before it."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return error.strerror or str(error) or type(error).__name__
