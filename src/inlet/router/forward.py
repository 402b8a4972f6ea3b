"""One request and its answer, from the checked head to the last byte: the state machine between a client's connection
and a replica's.

Made by `server.py` for each request; called back by `upstream.py`. On the usual path (a replica is ready, a connection
is idle) nothing here awaits: bytes arrive, bytes are written. Only a request that must wait, or needs a new connection,
gets a task (`_reach`). Must never touch a socket itself.

A request is sent a second time, once, when a reused connection closed before any byte of an answer and its body is
still here whole; connecting is tried again for as long as the request may wait, since nothing was sent.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from inlet.core.errors import InletError, NotFound
from inlet.core.routes import Route
from inlet.router import routing
from inlet.router.answers import connection as connection_field
from inlet.router.answers import render
from inlet.router.auth import authorise
from inlet.router.body import LAST_CHUNK, chunk
from inlet.router.context import Context
from inlet.router.errors import BadGateway, NotServing
from inlet.router.gate import Load, check_state, not_ready
from inlet.router.head import RequestHead
from inlet.router.response import ResponseHead
from inlet.router.rewrite import framing, request_head, request_id, response_head
from inlet.router.routing import Destination
from inlet.router.upstream import Peer, UpstreamConnection

log = structlog.get_logger()

MAX_KEPT = 64 * 1024  # bytes of a request's body that are kept, to wait or to be sent a second time
GONE = 499  # for the metrics: the client went away first


class Client(Protocol):
    """What a client's connection does for the request that is being answered on it."""

    address: bytes

    @property
    def keep_alive(self) -> bool: ...
    def send(self, data: bytes) -> None: ...
    def hold_back(self, held: bool) -> None:
        """Read no more of the request's body for now, or go on."""

    def finished(self, *, keep_alive: bool) -> None:
        """The answer is complete."""

    def fail(self, error: InletError) -> None:
        """Answer with an error; nothing of another answer was sent."""

    def cut(self) -> None:
        """The answer cannot be completed: end the connection so that the client can tell."""


class Exchange:
    """One request being answered."""

    __slots__ = (
        "_buffered", "_chunked_in", "_chunked_out", "_client", "_complete", "_connection", "_context",
        "_deadline", "_destination", "_ended", "_failed_peer", "_head", "_in_flight", "_index_awaited", "_kept",
        "_load", "_peer", "_pieces", "_repeated", "_started", "_status", "_task", "_waiting", "id",
    )  # fmt: skip

    def __init__(self, context: Context, client: Client, head: RequestHead) -> None:
        self.id = request_id(head)
        self._context = context
        self._client = client
        self._head = head
        self._started = context.loop.time()
        self._deadline = 0.0
        self._destination: Destination | None = None
        self._load: Load | None = None
        self._task: asyncio.Task[None] | None = None
        self._peer: Peer | None = None
        self._failed_peer: Peer | None = None
        self._connection: UpstreamConnection | None = None
        self._pieces: list[bytes] = []  # the body as far as it is kept
        self._buffered = 0  # its size
        self._kept = True  # whether `_pieces` is all of the body that came so far
        self._complete = head.length in (None, 0) and not head.chunked  # whether all of the body came
        self._chunked_out = False  # whether the body goes on in chunks
        self._chunked_in = False  # whether the answer goes to the client in chunks
        self._repeated = False
        self._ended = False
        self._waiting = False
        self._in_flight = False
        self._index_awaited = False
        self._status = 0  # of the answer, once its head went to the client

    @property
    def endpoint(self) -> str:
        """`namespace/name` for the log, once it is known."""
        route = self._destination.route if self._destination else None
        return f"{route.namespace}/{route.name}" if route else ""

    @property
    def answering(self) -> bool:
        """Whether the head of an answer went to the client."""
        return bool(self._status)

    # -- from the client's side

    def open(self) -> None:
        """Decide whose the request is and whether it may go on; an `InletError` when not."""
        self._deadline = self._started + self._context.gate.patience(self._head)
        destination = routing.find(self._context.table.index, self._head, self._context.settings.base_domain)
        if destination is None:
            self._context.gate.enter_without_table()
            self._index_awaited = True
        else:
            self._admit(destination)

    def _admit(self, destination: Destination) -> None:
        self._destination = destination
        index, route = self._context.table.index, destination.route
        if route is not None and index is not None:
            authorise(index, route, self._head.authorization)
            check_state(route)
            self._load = self._context.gate.enter(route, counted=destination.counted)

    def body(self, data: bytes, *, done: bool) -> None:
        """More of the request's body."""
        self._complete = done
        if self._ended:
            return
        if self._kept:
            self._buffered += len(data)
            if data:
                self._pieces.append(data)
        if self._connection is not None:
            if self._chunked_out:
                data = chunk(data) + LAST_CHUNK if done else chunk(data)
            self._connection.send(data, complete=done)
            if self._buffered > MAX_KEPT:
                self._drop_kept()
        elif self._buffered > MAX_KEPT:
            self._client.hold_back(True)

    def start(self) -> None:
        """Go on with what of the body came together with the head."""
        destination = self._destination
        peer = None
        if destination is not None and destination.local is None:
            peer = self._choose(destination)
            connection = peer.take() if peer is not None and self._may_reuse() else None
            if peer is not None and connection is not None:
                self._send(destination, peer, connection)
                return
        self._spawn(peer)

    def client_full(self, full: bool) -> None:
        """Whether the client takes no more of the answer for now."""
        if self._connection is not None:
            if full:
                self._connection.pause()
            else:
                self._connection.resume()

    def abort(self, status: int = GONE) -> None:
        """The client went away, or its request turned out to be broken: let the replica drop the work."""
        if self._connection is not None:
            self._connection.close()
        self._end(self._status or status)

    # -- until an upstream has the request

    def _spawn(self, peer: Peer | None = None) -> None:
        self._task = self._context.loop.create_task(self._reach(peer))

    async def _reach(self, peer: Peer | None) -> None:
        """Wait for a table, for a replica and for a connection, as far as each is needed; then send.

        `peer` is one that was chosen already.
        """
        try:
            if self._destination is None:
                await self._await_table()
            destination = self._destination
            assert destination is not None  # noqa: S101 - _await_table returns with one or raises
            if destination.local is not None:
                await self._answer_locally(destination.local)
                return
            while True:
                peer = peer or self._choose(destination)
                if peer is None:
                    await self._await_replica(destination)
                    continue
                connection = peer.take() if self._may_reuse() else None
                if connection is None:
                    connection = await self._connect(destination, peer)
                if connection is not None:
                    self._send(destination, peer, connection)
                    return
                peer = None
        except InletError as error:
            self._fail(error)
        except Exception:  # a bug in one exchange must not leave its client without an answer
            log.exception("request failed", request_id=self.id.decode())
            self._fail(InletError("internal error; the router's log has the details"))

    async def _await_table(self) -> None:
        context = self._context
        while self._destination is None:
            left = self._deadline - context.loop.time()
            if left <= 0:
                raise NotServing(
                    "this router has no route table: control is away", state=None, retry_after=1.0
                )
            await context.table.changed(None, left)
            destination = routing.find(context.table.index, self._head, context.settings.base_domain)
            if destination is not None:
                self._admit(destination)
        self._leave_anteroom()

    async def _await_replica(self, destination: Destination) -> None:
        """Return when there may be a replica to send to; raise when waiting is over or in vain."""
        context, load = self._context, self._load
        assert load is not None  # noqa: S101 - only requests for endpoints wait, and these were admitted
        now = context.loop.time()
        route = self._present_route(load)
        check_state(route)
        left = self._deadline - now
        if not destination.counted or left <= 0:
            raise not_ready(route, now - self._started if self._waiting else 0.0)
        if not self._waiting:
            self._waiting = True
            context.gate.begin_wait(load)
        next_try = context.balance.next_try(load.endpoint_id)
        if next_try is not None:
            left = min(left, max(next_try - now, 0.001))
        await context.table.changed(load.endpoint_id, left)

    def _present_route(self, load: Load) -> Route:
        index = self._context.table.index
        route = None if index is None else index.by_id.get(load.endpoint_id)
        if route is None:
            raise NotFound(f"{load.namespace}/{load.name} was deleted")
        return route

    def _choose(self, destination: Destination) -> Peer | None:
        if destination.route is None:
            return self._context.control
        return self._context.balance.choose(
            destination.route.endpoint_id, self._context.loop.time(), other_than=self._failed_peer
        )

    def _may_reuse(self) -> bool:
        # A connection that was idle may be closing; only what can be sent again may find that out.
        if self._repeated or not self._kept or self._buffered > MAX_KEPT:
            return False
        return self._complete or (self._head.length or MAX_KEPT + 1) <= MAX_KEPT

    async def _connect(self, destination: Destination, peer: Peer) -> UpstreamConnection | None:
        """A new connection, or None when the peer cannot be reached and another choice should be made."""
        context = self._context
        was_resting = bool(peer.resting_until)
        try:
            connection = await peer.connect()
        except OSError as error:
            log.info("upstream not reached", replica=peer.id, reason=type(error).__name__)
            if destination.route is None:
                raise NotServing(
                    "control is away; what runs goes on. Try again soon", state=None, retry_after=1.0
                ) from error
            peer.rest(context.loop.time())
            self._failed_peer = peer
            return None
        if was_resting and destination.route is not None:
            context.table.ring(destination.route.endpoint_id)
        return connection

    async def _answer_locally(self, path: bytes) -> None:
        page = await self._context.local.answer(path, self._head)
        keep_alive = self._client.keep_alive and self._complete
        self._client.send(
            render(
                page.status,
                page.body,
                id_=self.id,
                keep_alive=keep_alive,
                modern=self._head.modern,
                content_type=page.content_type,
                bodiless=self._head.method == b"HEAD",
            )
        )
        self._end(page.status)
        self._client.finished(keep_alive=keep_alive)

    def _send(self, destination: Destination, peer: Peer, connection: UpstreamConnection) -> None:
        head, load = self._head, self._load
        self._task = None
        self._peer = peer
        self._connection = connection
        peer.outstanding += 1
        if load is not None and destination.counted:
            if self._waiting:
                self._waiting = False
                load.waiting -= 1
            self._in_flight = True
            load.in_flight += 1
        data = request_head(
            head,
            destination.target,
            id_=self.id,
            client=self._client.address,
            scheme=self._context.scheme,
            to_control=destination.route is None,
        )
        body = b"".join(self._pieces)
        if head.chunked and not self._complete:
            self._chunked_out = True
            data += framing(None) + b"\r\n" + chunk(body)
        elif head.chunked or head.length is not None:
            self._chunked_out = False
            data += framing(self._buffered if head.chunked else head.length) + b"\r\n" + body
        else:
            data += b"\r\n"
        if self._buffered > MAX_KEPT:
            self._drop_kept()
        self._client.hold_back(False)
        connection.begin(self, head.method, data, complete=self._complete)

    def _drop_kept(self) -> None:
        self._pieces = []
        self._kept = False
        self._buffered = 0

    # -- from the upstream's side

    def answered(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """The head of the answer, and what of its body came with it."""
        client, request, destination = self._client, self._head, self._destination
        assert destination is not None  # noqa: S101 - it was sent somewhere
        if done:
            self._release_peer()
        if (b"x-inlet-draining", b"1") in head.fields and self._peer is not None:
            self._peer.drain()
        self._drop_kept()
        self._status = head.status
        bodiless = request.method == b"HEAD" or head.status in (204, 304)
        keep_alive = client.keep_alive
        field = b""
        if head.status != 204 and head.length is not None:
            field = framing(head.length)
        elif not bodiless and done:
            field = framing(len(body))
        elif not bodiless and request.modern:
            self._chunked_in = True
            field = framing(None)
            body = chunk(body)
        elif not bodiless:
            keep_alive = False
        client.send(
            response_head(head, id_=self.id, sandboxed=destination.sandboxed)
            + field
            + connection_field(keep_alive=keep_alive, modern=request.modern)
            + b"\r\n"
            + body
        )
        if done:
            self._end(head.status)
            client.finished(keep_alive=keep_alive)

    def more(self, body: bytes, *, done: bool) -> None:
        """More of the answer's body."""
        if done:
            self._release_peer()
        if self._chunked_in:
            body = chunk(body) + LAST_CHUNK if done else chunk(body)
        if body:
            self._client.send(body)
        if done:
            self._end(self._status)
            self._client.finished(keep_alive=self._client.keep_alive)

    def lost(self, reason: str, *, untouched: bool) -> None:
        """The upstream's connection ended before its answer did."""
        peer = self._peer
        self._release_peer()
        if self._status:
            self._end(self._status)
            self._client.cut()
        elif untouched and self._kept and not self._repeated:
            self._repeated = True
            self._failed_peer = peer
            if self._load is not None:
                self._load.stats.repeated += 1
            self._spawn()
        elif self._destination is not None and self._destination.route is not None:
            state = self._destination.route.state.value
            self._fail(BadGateway(reason, state=state, retry_after=1.0))
        else:
            self._fail(BadGateway("control did not answer", state=None, retry_after=1.0))

    def upstream_full(self, full: bool) -> None:
        """Whether the upstream takes no more of the request's body for now."""
        self._client.hold_back(full)

    # -- the end

    def _release_peer(self) -> None:
        if self._connection is not None and self._peer is not None:
            self._connection = None
            self._peer.outstanding -= 1
        if self._in_flight and self._load is not None:
            self._in_flight = False
            self._load.in_flight -= 1

    def _leave_anteroom(self) -> None:
        if self._index_awaited:
            self._index_awaited = False
            self._context.gate.without_table -= 1

    def _fail(self, error: InletError) -> None:
        self._task = None  # it is this task that fails; nobody has to cancel it
        self._end(error.status)
        self._client.fail(error)

    def _end(self, status: int) -> None:
        """Give back all that was counted; harmless the second time."""
        if self._ended:
            return
        self._ended = True
        self._drop_kept()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = None
        self._release_peer()
        self._leave_anteroom()
        load, destination = self._load, self._destination
        if load is None or destination is None:
            return
        if self._waiting:
            self._waiting = False
            load.waiting -= 1
        load.stats.note(status, self._context.loop.time() - self._started)
        self._context.gate.leave(load, counted=destination.counted)
