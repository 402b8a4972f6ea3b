"""Connections to upstreams: one `Peer` per replica (and one for control), each with its idle keep-alive connections.

`forward.py` takes a connection from a peer, gives it a request and is called back with the answer; the connection goes
back by itself when both are over. Must know nothing of clients, routes or tokens.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from inlet.router.body import BadFraming, Decoder, UntilClose
from inlet.router.response import (
    MAX_ANSWER_HEAD,
    BadAnswer,
    ResponseHead,
    decoder_for,
    has_body,
    parse_response,
)

CONNECT_TIMEOUT_S = 5.0
MAX_IDLE = 256  # kept per peer
MAX_INTERIM = 100  # 1xx heads before an answer
IDLE_S = 60.0
FIRST_REST_S = 0.1  # how long a peer that could not be reached is left alone, doubling up to the longest
LONGEST_REST_S = 2.0


class Receiver(Protocol):
    """Who is told of the answer to one request."""

    def answered(self, head: ResponseHead, body: bytes, *, done: bool) -> None: ...
    def more(self, body: bytes, *, done: bool) -> None: ...
    def lost(self, reason: str, *, untouched: bool, reused: bool) -> None:
        """The connection ended before the answer did.

        `untouched`: before any byte of the answer; `reused`: it may have been closing while it was idle.
        """

    def upstream_full(self, full: bool) -> None:
        """Whether the connection takes no more of the request's body for now."""


class Peer:
    """One upstream process, as this router sees it. `address` is `unix:PATH` or `http://HOST:PORT`."""

    __slots__ = ("_rest", "address", "draining", "id", "idle", "outstanding", "resting_until", "retired")

    def __init__(self, id_: str, address: str) -> None:
        self.id = id_
        self.address = address
        self.outstanding = 0
        self.draining = False
        self.retired = False
        self.resting_until = 0.0  # on the loop's clock; 0 when it was reached last time
        self.idle: list[UpstreamConnection] = []
        self._rest = FIRST_REST_S

    def take(self) -> UpstreamConnection | None:
        """An idle connection, the one used last."""
        return self.idle.pop() if self.idle else None

    def give(self, connection: UpstreamConnection) -> None:
        """Put back a connection that has nothing to do."""
        if self.retired or self.draining or len(self.idle) >= MAX_IDLE:
            connection.close()
        else:
            connection.idle_since = None
            self.idle.append(connection)

    async def connect(self) -> UpstreamConnection:
        """A new connection; OSError (TimeoutError among them) when there is none to be had."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if self.address.startswith("unix:"):
                path = self.address.removeprefix("unix:")
                _, connection = await loop.create_unix_connection(lambda: UpstreamConnection(self), path)
            else:
                host, _, port = self.address.removeprefix("http://").rstrip("/").rpartition(":")
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self), host.strip("[]"), int(port)
                )
        self.resting_until = 0.0
        self._rest = FIRST_REST_S
        return connection

    def rest(self, now: float) -> None:
        """Leave this peer alone for a while: it could not be reached, or somebody is just trying."""
        self.resting_until = now + self._rest
        self._rest = min(self._rest * 2, LONGEST_REST_S)

    def drain(self) -> None:
        """It said that it is about to end: send nothing more if there is another."""
        self.draining = True
        self._close_idle()

    def retire(self) -> None:
        """It left the route table: what is in flight goes on, nothing is kept."""
        self.retired = True
        self._close_idle()

    def close_stale(self, now: float) -> None:
        """Close what has been idle for too long; called by a sweep now and then, from which the clocks run."""
        for connection in list(self.idle):
            if connection.idle_since is None:
                connection.idle_since = now
            elif now - connection.idle_since > IDLE_S:
                connection.close()

    def _close_idle(self) -> None:
        for connection in list(self.idle):
            connection.close()


class UpstreamConnection(asyncio.Protocol):
    """One connection; at most one request on it at a time."""

    __slots__ = (
        "_buffer", "_decoder", "_interim", "_method", "_receiver", "_request_sent", "_reusable", "_transport", "_used",
        "idle_since", "peer",
    )  # fmt: skip

    _transport: asyncio.Transport

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.idle_since: float | None = None  # on the loop's clock; None until the next sweep sets it
        self._receiver: Receiver | None = None
        self._decoder: Decoder | None = None
        self._buffer = b""
        self._method = b""
        self._interim = 0  # 1xx heads of the present answer
        self._reusable = False
        self._request_sent = False
        self._used = False  # an answer was completed on it before

    # -- what forward.py does with it

    def begin(self, receiver: Receiver, method: bytes, data: bytes, *, complete: bool) -> None:
        """Send the beginning of a request; `complete` when there is no more of it."""
        self._receiver = receiver
        self._method = method
        self._request_sent = complete
        self._transport.write(data)

    def send(self, data: bytes, *, complete: bool) -> None:
        """Send more of the request's body."""
        self._request_sent = complete
        if data:
            self._transport.write(data)

    def pause(self) -> None:
        self._transport.pause_reading()

    def resume(self) -> None:
        self._transport.resume_reading()

    def close(self) -> None:
        """End it at once; a receiver hears nothing more."""
        self._receiver = None
        if self in self.peer.idle:
            self.peer.idle.remove(self)
        self._transport.abort()

    # -- what the event loop does with it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            self.close()  # an answer to no request: nothing on this connection can be trusted
            return
        try:
            if self._decoder is None:
                self._read_head(receiver, data)
            else:
                body, rest = self._decoder.feed(data)
                done = self._decoder.done
                if done:
                    self._complete(rest)
                if body or done:
                    receiver.more(body, done=done)
        except (BadAnswer, BadFraming) as error:
            self.close()
            receiver.lost(
                f"the replica's answer cannot be passed on: {error}", untouched=False, reused=self._used
            )

    def _read_head(self, receiver: Receiver, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(data) > MAX_ANSWER_HEAD:
                    raise BadAnswer("its head is too large")
                if data.count(b"\n") != data.count(b"\r\n"):
                    raise BadAnswer("a line of its head ends without CR LF")
                self._buffer = data
                return
            if end > MAX_ANSWER_HEAD:
                raise BadAnswer("its head is too large")
            head = parse_response(data[:end])
            if head.status >= 200:
                break
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise BadAnswer(f"more than {MAX_INTERIM} heads come before it")
            data = data[end:]
        self._reusable = head.keep_alive
        body, rest, done = data[end:], b"", True
        if len(body) != head.length or not has_body(head, self._method):  # not just all of it, as usual
            decoder = self._decoder = decoder_for(head, self._method)
            body, rest = (b"", body) if decoder.done else decoder.feed(body)
            done = decoder.done
        if done:
            self._complete(rest)
        receiver.answered(head, body, done=done)

    def _complete(self, rest: bytes) -> None:
        """The answer has ended; `rest` came after it."""
        self._decoder = None
        self._receiver = None
        self._interim = 0
        self._used = True
        if rest or not self._reusable or not self._request_sent:
            self._transport.abort()
        else:
            self.peer.give(self)

    def eof_received(self) -> None:
        """The transport closes itself; what it means is decided in `connection_lost`."""

    def connection_lost(self, exc: Exception | None) -> None:
        receiver, self._receiver = self._receiver, None
        if self in self.peer.idle:
            self.peer.idle.remove(self)
        if receiver is None:
            return
        if isinstance(self._decoder, UntilClose) and exc is None:
            receiver.more(b"", done=True)
        else:
            receiver.lost(
                "the replica closed the connection before its answer was complete",
                untouched=self._decoder is None and not self._buffer and not self._interim,
                reused=self._used,
            )

    def pause_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.upstream_full(True)

    def resume_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.upstream_full(False)
