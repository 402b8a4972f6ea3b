"""One client's connection: requests are read from it one after another, and answered in that order.

Made by the event loop for each accepted connection. Cuts the bytes into heads and bodies, keeps the limits (size,
slowness, amount read ahead), and hands each request to an `Exchange`. Must know nothing of routes or replicas.

A client that ends its side of the connection is taken to be gone, as by other proxies: HTTP has no use for a half-open
connection, and a replica should not work for nobody.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from enum import Enum, auto
from typing import cast

from inlet.core.errors import InletError, TooLarge
from inlet.router.answers import render_error
from inlet.router.body import BadFraming, Chunked, Decoder, Length
from inlet.router.context import Context
from inlet.router.errors import BadMessage
from inlet.router.forward import Exchange
from inlet.router.head import MAX_HEAD, NO_HEAD, RequestHead, check_unfinished, parse_head
from inlet.router.kept import MAX_KEPT
from inlet.router.rewrite import request_id

IDLE_S = 75.0  # before the first byte of a request; some clients connect long before they ask
CROWDED = 1024  # open connections; with more of them idle ones have to go as soon as slow ones
LINGER_S = (
    2.0  # how long a client may still talk after an answer that ends its connection, so that it can read it
)
TURN = 32  # pipelined requests begun before others get their turn
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class State(Enum):
    """What the next byte is."""

    HEAD = auto()  # of a request's head
    BODY = auto()  # of a request's body: passed on, or skipped when its exchange is over
    BUSY = auto()  # of a later request: the present one came whole and is being answered
    LINGER = auto()  # of no interest: the connection is ending


HEAD, BODY, BUSY, LINGER = (
    State  # a plain global is found faster than an enum's attribute, and this is asked often
)


class Connections:
    """The open connections of one router."""

    def __init__(self) -> None:
        self.open: set[ClientConnection] = set()
        self._none_left = asyncio.Event()

    def discard(self, connection: ClientConnection) -> None:
        """It was closed."""
        self.open.discard(connection)
        if not self.open:
            self._none_left.set()

    @property
    def crowded(self) -> bool:
        """Whether there are more than may all be idle for long: silence costs a client nothing, and us a descriptor."""
        return len(self.open) > CROWDED

    async def all_closed(self) -> None:
        """Return when no connection is open."""
        while self.open:
            self._none_left.clear()
            await self._none_left.wait()


class ClientConnection(asyncio.Protocol):
    """See the module."""

    __slots__ = (
        "_advancing", "_blocked", "_blocked_size", "_buffer", "_connections", "_context", "_deadline", "_decoder",
        "_draining", "_exchange", "_head", "_held", "_paused", "_received", "_seen", "_start", "_state",
        "_transport", "address",
    )  # fmt: skip

    _transport: asyncio.Transport

    def __init__(self, context: Context, connections: Connections) -> None:
        """`connections` is where it is listed while it is open."""
        self.address = b""
        self._context = context
        self._connections = connections
        self._state = HEAD
        self._buffer = b""  # bytes not used yet begin at `_start`
        self._start = 0
        self._seen = 0  # how much of an unfinished head was looked at already
        self._head: RequestHead = NO_HEAD
        self._decoder: Decoder | None = None  # of the present request's body, if it has one
        self._received = 0  # bytes of it
        self._exchange: Exchange | None = None
        self._deadline: float | None = (
            None  # for what the client must do next; None until the next sweep sets it
        )
        self._held = False  # the exchange wants no more of the body for now
        self._paused = False  # nothing is read
        self._blocked = False  # the client reads more slowly than it is sent to
        self._blocked_size = 0
        self._advancing = False
        self._draining = False

    # -- what the event loop does with it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]).encode() if peer else b"unknown"
        self._connections.open.add(self)

    def data_received(self, data: bytes) -> None:
        if self._state is BODY:
            self._read_body(data)
            self._advance()
        elif self._state is not LINGER:
            self._buffer = self._buffer[self._start :] + data if self._start < len(self._buffer) else data
            self._start = 0
            self._advance()
        if self._paused or self._held or len(self._buffer) > MAX_HEAD:
            self._update_reading()

    def eof_received(self) -> None:
        self._drop_exchange()
        self._state = LINGER  # the transport closes itself once what was written is sent
        self._deadline = None

    def connection_lost(self, _exc: Exception | None) -> None:
        self._connections.discard(self)
        self._state = LINGER
        self._drop_exchange()

    def pause_writing(self) -> None:
        self._blocked = True
        self._blocked_size = self._transport.get_write_buffer_size()
        self._deadline = None
        if self._exchange is not None:
            self._exchange.client_full(True)

    def resume_writing(self) -> None:
        self._blocked = False
        self._deadline = None
        if self._exchange is not None:
            self._exchange.client_full(False)
        self._go_on()

    # -- what service.py does with it

    def check_deadline(self, now: float) -> None:
        """End what client or upstream are too slow for; called by a sweep now and then, from which the clocks run too."""
        if self._exchange is not None:
            self._exchange.check_silence(now)
        if self._deadline is None:
            self._deadline = now + self._patience()
        if now < self._deadline:
            return
        if self._state is LINGER:
            self._transport.abort()
        elif self._blocked:
            size = self._transport.get_write_buffer_size()
            if size < self._blocked_size:
                self._blocked_size = size
                self._deadline = None
            else:
                self._transport.abort()
        elif self._state is HEAD and not self._seen:
            self._transport.close()
        else:
            part = "head" if self._state is HEAD else "body"
            self._break_off(BadMessage(408, f"the request's {part} did not arrive in time"))

    def drain(self) -> None:
        """Take no further request: end now if idle, else after the present answer."""
        self._draining = True
        if self._state is HEAD and not self._seen:
            self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    # -- what its exchange does with it (forward.Client)

    @property
    def keep_alive(self) -> bool:
        return self._head.keep_alive and not self._draining and self._can_skip()

    def send(self, data: bytes) -> None:
        self._transport.write(data)

    def hold_back(self, held: bool) -> None:
        if held is not self._held:
            self._held = held
            self._update_reading()

    def finished(self, *, keep_alive: bool) -> None:
        self._exchange = None
        self._conclude(keep_alive=keep_alive)

    def fail(self, error: InletError) -> None:
        exchange, self._exchange = self._exchange, None
        id_ = request_id(self._head) if exchange is None else exchange.id
        keep_alive = self.keep_alive and not isinstance(error, BadMessage)
        self._transport.write(
            render_error(
                error,
                id_=id_,
                keep_alive=keep_alive,
                modern=self._head.modern,
                bodiless=self._head.method == b"HEAD",
            )
        )
        endpoint = exchange.endpoint if exchange is not None else ""
        self._context.refusals.note(error.status, endpoint, str(error), id_, self._context.loop.time())
        self._conclude(keep_alive=keep_alive, lingering=isinstance(error, BadMessage))

    def cut(self) -> None:
        exchange, self._exchange = self._exchange, None
        self._state = LINGER
        self._deadline = None
        if exchange is None or not exchange.open_ended:
            self._transport.close()  # a missing last chunk, or missing bytes, tell the client
        else:
            # Only a reset can. Closing makes one of itself only while unread bytes lie in the socket.
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    # -- heads

    def _advance(self) -> None:
        """Begin the requests in the buffer, as long as each is answered at once."""
        if self._advancing:
            return
        self._advancing = True
        for _ in range(TURN):
            if self._state is not HEAD or self._blocked or self._start >= len(self._buffer):
                break
            if not self._next_request():
                break
        else:
            self._context.loop.call_soon(self._go_on)
        self._advancing = False

    def _go_on(self) -> None:
        self._advance()
        self._update_reading()

    def _next_request(self) -> bool:
        """Begin one request; False when its head is not there yet, or never will be."""
        buffer, start = self._buffer, self._start
        if buffer.startswith(b"\r\n", start):
            start += 2
        end = buffer.find(b"\r\n\r\n", start, start + MAX_HEAD) + 4
        try:
            if end < 4:
                self._check_partial(skipped=start - self._start)
                return False
            head = parse_head(buffer[start:end])
        except BadMessage as error:
            self._head, self._decoder = NO_HEAD, None
            self.fail(error)
            return False
        self._start = end
        self._seen = 0
        self._begin(head)
        return True

    def _check_partial(self, *, skipped: int) -> None:
        """The head is not there yet: go on waiting for it, if it can become a good one."""
        rest = self._buffer[self._start :]
        self._buffer, self._start = rest, 0
        check_unfinished(rest, skipped=skipped, seen=self._seen)
        if not self._seen:
            self._deadline = None
        self._seen = len(rest)

    def _begin(self, head: RequestHead) -> None:
        context = self._context
        self._head = head
        self._received = 0
        self._deadline = None
        body = b""
        length, start, size = head.length or 0, self._start, len(self._buffer)
        if head.chunked:
            self._decoder = Chunked()
        elif start + length <= size:  # all of it is here, as usual
            self._decoder = None
            body = self._buffer[start : start + length]
            self._start = start + length
            if self._start == size:
                self._buffer, self._start = b"", 0  # an idle connection must not hold on to it
        else:
            self._decoder = Length(length)
        complete = self._decoder is None
        self._state = BUSY if complete else BODY
        exchange = self._exchange = Exchange(context, self, head, body, complete=complete)
        try:
            if length > context.settings.max_body_bytes:
                raise self._too_large()
            exchange.open()
        except InletError as error:
            self.fail(error)
        if self._state is BODY:
            rest = self._buffer[self._start :]
            self._buffer, self._start = b"", 0
            if head.expects_continue and not rest:
                self._transport.write(_CONTINUE)
            self._read_body(rest)
        if self._exchange is exchange:
            exchange.start()

    # -- bodies

    def _read_body(self, data: bytes) -> None:
        decoder, exchange = self._decoder, self._exchange
        assert decoder is not None  # noqa: S101 - that is what BODY means
        try:
            payload, rest = decoder.feed(data)
        except BadFraming as error:
            self._break_off(BadMessage(400, f"the request's body is broken: {error}"))
            return
        self._received += len(payload)
        if self._received > self._context.settings.max_body_bytes:
            self._break_off(self._too_large())
            return
        if rest:
            self._buffer, self._start = rest, 0
        self._deadline = None
        if decoder.done:
            self._state = BUSY
        if exchange is not None:
            exchange.body(payload, done=decoder.done)
        elif decoder.done:
            self._conclude(keep_alive=True)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self._context.settings.max_body_bytes} bytes")

    def _can_skip(self) -> bool:
        """Whether what is left of the body is little enough to read and forget, so that the connection can stay."""
        decoder = self._decoder
        if decoder is None or decoder.done:
            return True
        return not self._head.expects_continue and isinstance(decoder, Length) and decoder.left <= MAX_KEPT

    # -- the end of a request, or of the connection

    def _conclude(self, *, keep_alive: bool, lingering: bool = False) -> None:
        """The present answer is written: go on with the next request, or end."""
        self._held = False
        unread = self._decoder is not None and not self._decoder.done
        if keep_alive and unread:
            self._state = BODY
        elif keep_alive and not self._draining:
            self._decoder = None
            self._state = HEAD
        elif unread or lingering:
            self._state = LINGER
            self._buffer = b""
            self._transport.write_eof()
        else:
            self._state = LINGER
            self._buffer = b""
            self._transport.close()
        self._deadline = None
        if self._start < len(self._buffer) or self._paused:
            self._go_on()

    def _break_off(self, error: InletError) -> None:
        """The request turned out to be broken while it was being read."""
        exchange = self._exchange
        if exchange is None and self._state is BODY:
            self._transport.close()  # it was answered already; this was the rest, read to be forgotten
            return
        if exchange is not None:
            exchange.abort(error.status)
            if exchange.answering:
                self.cut()
                return
        if self._state is HEAD:
            self._head, self._decoder = NO_HEAD, None
        self.fail(error)

    def _drop_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abort()

    # -- pace

    def _patience(self) -> float:
        """How long the client may take for what it must do next, in seconds."""
        settings = self._context.settings
        if self._state is LINGER:
            return LINGER_S
        if self._blocked:
            return settings.body_timeout
        if self._state is HEAD:
            return settings.head_timeout if self._seen or self._connections.crowded else IDLE_S
        return settings.body_timeout if self._state is BODY and not self._held else math.inf

    def _update_reading(self) -> None:
        """Read only what can be used soon: backpressure for bodies and for requests sent ahead."""
        ahead = len(self._buffer) - self._start > MAX_HEAD and (self._state is BUSY or self._blocked)
        pause = self._held or ahead
        if pause is self._paused or self._transport.is_closing():
            return
        self._paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
        self._deadline = None
