"""One request and its answer, from the checked head to the last byte: the state machine between a client's connection
and a replica's.

Made by `server.py` for each request; called back by `upstream.py`. On the usual path (a replica is ready, a connection
is idle) nothing here awaits: bytes arrive, bytes are written. Only a request that must wait, or needs a new connection,
gets a task (`reach.py`). Must never touch a socket itself.

A request is sent a second time, once, when the connection closed before any byte of an answer and its body is still
here whole; to control only if the connection was a reused one, which may have been closing before the request came.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from inlet.core.errors import InletError
from inlet.core.routes import Route
from inlet.router.answers import connection_field, render
from inlet.router.body import LAST_CHUNK, chunk
from inlet.router.context import Context
from inlet.router.errors import BadGateway
from inlet.router.gate import Ticket
from inlet.router.head import RequestHead
from inlet.router.kept import MAX_KEPT, KeptBody
from inlet.router.plan import Plan, plan_for
from inlet.router.reach import await_plan, choose, reach
from inlet.router.response import ResponseHead, has_body
from inlet.router.rewrite import framing, request_end, request_id, response_start
from inlet.router.upstream import Peer, UpstreamConnection

log = structlog.get_logger()

GONE = 499  # for the metrics: the client went away first
RETRY_AFTER_S = 1.0


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
        "_chunked_in", "_chunked_out", "_client", "_connection", "_context", "_ended", "_failed_peer", "_head",
        "_keep_alive", "_kept", "_peer", "_plan", "_repeated", "_sent_at", "_stalled", "_started", "_status", "_task",
        "_ticket", "id", "open_ended",
    )  # fmt: skip

    def __init__(
        self, context: Context, client: Client, head: RequestHead, body: bytes, *, complete: bool
    ) -> None:
        """`body` is what of it came with the head; `complete` when that is all of it."""
        self.id = request_id(head)
        self._context = context
        self._client = client
        self._head = head
        self._started = context.loop.time()
        self._sent_at = 0.0  # when an upstream took the last of it so far, on the loop's clock
        self._stalled = False  # whether the upstream takes no more of it for now
        self._plan: Plan | None = None
        self._ticket: Ticket | None = None
        self._task: asyncio.Task[None] | None = None
        self._peer: Peer | None = None
        self._failed_peer: Peer | None = None
        self._connection: UpstreamConnection | None = None
        self._kept = KeptBody(body, complete=complete)
        self._chunked_out = False  # whether the body goes on in chunks
        self._chunked_in = False  # whether the answer goes to the client in chunks
        self._keep_alive = True  # whether the client may send another request after this answer
        self.open_ended = False  # whether a close is what tells the client that the answer is complete
        self._repeated = False
        self._ended = False
        self._status = 0  # of the answer, once its head went to the client

    @property
    def endpoint(self) -> str:
        """`namespace/name` for the log, once it is known."""
        route = self._route
        return f"{route.namespace}/{route.name}" if route else ""

    @property
    def _route(self) -> Route | None:
        return self._plan.destination.route if self._plan else None

    @property
    def answering(self) -> bool:
        """Whether the head of an answer went to the client."""
        return bool(self._status)

    # -- from the client's side

    def open(self) -> None:
        """Decide whose the request is and whether it may go on; an `InletError` when not."""
        plan = plan_for(self._context, self._head)
        if plan is not None:
            self._admit(plan)

    def _admit(self, plan: Plan) -> None:
        self._plan = plan
        destination = plan.destination
        if destination.route is not None:
            self._ticket = self._context.gate.enter(destination.route, counted=destination.counted)

    def body(self, data: bytes, *, done: bool) -> None:
        """More of the request's body."""
        if self._ended:
            return
        self._kept.add(data, done=done)
        if self._connection is None:
            if self._kept.full:
                self._client.hold_back(True)
            return
        if self._kept.full:
            self._kept.drop()
        if done:
            self._sent_at = self._context.loop.time()
        if self._chunked_out:
            data = chunk(data) + LAST_CHUNK if done else chunk(data)
        self._connection.send(data, complete=done)

    def start(self) -> None:
        """Go on with what of the body came together with the head."""
        plan = self._plan
        peer = None
        if plan is not None and plan.destination.local is None:
            peer = choose(self._context, plan.destination, None)
            connection = peer.take() if peer is not None and self._may_reuse() else None
            if peer is not None and connection is not None:
                self._send(plan, peer, connection)
                return
        self._spawn(peer)

    def client_full(self, full: bool) -> None:
        """Whether the client takes no more of the answer for now."""
        if self._connection is not None:
            if full:
                self._connection.pause()
            else:
                self._connection.resume()

    def check_silence(self, now: float) -> None:
        """Answer in place of an upstream that has had the request for too long; called by a sweep now and then."""
        limit = self._context.settings.answer_timeout
        if self._connection is None or self._status or not (self._kept.complete or self._stalled):
            return
        if not limit or now - self._sent_at < limit:
            return
        self._connection.close()
        route = self._route
        what, state = ("control", None) if route is None else ("the replica", route.state.value)
        did = "take in the request" if self._stalled else "begin to answer"
        reason = f"{what} did not {did} within {limit:g} s"
        self._fail(BadGateway(reason, state=state, retry_after=RETRY_AFTER_S, status=504))

    def abort(self, status: int = GONE) -> None:
        """The client went away, or its request turned out to be broken: let the replica drop the work."""
        if self._connection is not None:
            self._connection.close()
        self._end(self._status or status)

    # -- until an upstream has the request

    def _spawn(self, chosen: Peer | None) -> None:
        self._task = self._context.loop.create_task(self._run(chosen))

    async def _run(self, chosen: Peer | None) -> None:
        context = self._context
        try:
            if self._plan is None:
                self._admit(await await_plan(context, self._head, self._started))
            plan = self._plan
            assert plan is not None  # noqa: S101 - admitted, here or in open()
            if plan.destination.local is not None:
                await self._answer_locally(plan.destination.local)
                return
            peer, connection = await reach(
                context,
                plan.destination,
                self._ticket,
                chosen=chosen,
                lost_with=self._failed_peer,
                until=self._started + plan.patience,
                may_reuse=self._may_reuse,
            )
            self._send(plan, peer, connection)
        except InletError as error:
            self._fail(error)
        except Exception:  # a bug in one exchange must not leave its client without an answer
            log.exception("request failed", request_id=self.id.decode())
            self._fail(InletError("internal error; the router's log has the details"))

    def _may_reuse(self) -> bool:
        # A connection that was idle may be closing; only what can be sent again may find that out.
        kept = self._kept
        if self._repeated or not kept.whole or kept.full:
            return False
        return kept.complete or (self._head.length or MAX_KEPT + 1) <= MAX_KEPT

    async def _answer_locally(self, path: bytes) -> None:
        page = await self._context.local.answer(path, self._head)
        keep_alive = self._client.keep_alive
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

    def _send(self, plan: Plan, peer: Peer, connection: UpstreamConnection) -> None:
        head, kept = self._head, self._kept
        self._task = None
        self._peer = peer
        self._connection = connection
        self._sent_at = self._context.loop.time()
        self._stalled = False
        peer.outstanding += 1
        if self._ticket is not None:
            self._ticket.sent()
        body = kept.joined()
        framing_field = b""
        if head.chunked and not kept.complete:
            self._chunked_out = True
            framing_field = framing(None)
            body = chunk(body)
        elif head.chunked:
            framing_field = framing(kept.size)
        elif head.length is not None:
            framing_field = framing(head.length)
        data = plan.head + request_end(
            id_=self.id, client=self._client.address, framing_field=framing_field, body=body
        )
        if kept.full:
            kept.drop()
            self._client.hold_back(False)
        connection.begin(self, head.method, data, complete=kept.complete)

    # -- from the upstream's side

    def answered(self, head: ResponseHead, body: bytes, *, done: bool) -> None:
        """The head of the answer, and what of its body came with it."""
        client, request, plan = self._client, self._head, self._plan
        assert plan is not None  # noqa: S101 - it was sent somewhere
        if plan.destination.route is None:
            self._context.table.control_answered.set()
        if head.draining and self._peer is not None:
            self._peer.drain()
        self._status = head.status
        if done:
            self._end(head.status)
        else:
            self._kept.drop()
        framing_field = b""
        if head.length is not None and head.status != 204:
            framing_field = framing(head.length)
        elif has_body(head, request.method):
            if done:
                framing_field = framing(len(body))
            elif request.modern:
                self._chunked_in = True
                framing_field = framing(None)
                body = chunk(body)
            else:
                self.open_ended = True
                self._keep_alive = False
        keep_alive = self._keep_alive = self._keep_alive and client.keep_alive
        client.send(
            response_start(
                head,
                id_=self.id,
                sandboxed=plan.destination.sandboxed,
                framing_field=framing_field,
                connection_field=connection_field(keep_alive=keep_alive, modern=request.modern),
                body=body,
            )
        )
        if done:
            client.finished(keep_alive=keep_alive)

    def more(self, body: bytes, *, done: bool) -> None:
        """More of the answer's body."""
        if done:
            self._end(self._status)
        if self._chunked_in:
            body = chunk(body) + LAST_CHUNK if done else chunk(body)
        if body:
            self._client.send(body)
        if done:
            self._client.finished(keep_alive=self._keep_alive and self._client.keep_alive)

    def lost(self, reason: str, *, untouched: bool, reused: bool) -> None:
        """The upstream's connection ended before its answer did."""
        peer = self._failed_peer = self._peer
        self._connection = None
        if peer is not None:
            peer.outstanding -= 1
        if self._ticket is not None:
            self._ticket.returned()
        route = self._route
        # Inference may be asked for twice; of control only what it cannot have seen.
        repeatable = untouched and (reused or route is not None)
        if self._status:
            self._end(self._status)
            self._client.cut()
        elif repeatable and self._kept.whole and not self._repeated:
            self._repeated = True
            self._client.hold_back(False)
            if self._ticket is not None:
                self._ticket.load.stats.repeated += 1
            self._spawn(None)
        elif route is not None:
            self._fail(BadGateway(reason, state=route.state.value, retry_after=RETRY_AFTER_S))
        else:
            self._fail(BadGateway("control did not answer", state=None, retry_after=RETRY_AFTER_S))

    def upstream_full(self, full: bool) -> None:
        """Whether the upstream takes no more of the request's body for now."""
        self._stalled = full
        self._sent_at = self._context.loop.time()
        self._client.hold_back(full)

    # -- the end

    def _fail(self, error: InletError) -> None:
        self._task = None  # it is the task itself that fails: there is nothing to cancel
        self._end(error.status)
        self._client.fail(error)

    def _end(self, status: int) -> None:
        """Give back all that was counted; harmless the second time."""
        if self._ended:
            return
        self._ended = True
        self._kept.drop()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = None
        if self._connection is not None and self._peer is not None:
            self._connection = None
            self._peer.outstanding -= 1
        if self._ticket is not None:
            self._ticket.close(status, self._context.loop.time() - self._started)
