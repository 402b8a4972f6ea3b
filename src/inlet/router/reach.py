"""The waiting part of a request's way: for the first route table, for a replica that is ready, for a connection to it.

Called by `forward.py`, in a task of the request; cancelled when its client goes away. A request that waits for an
endpoint is demand. No upstream has a request that is here, so connecting is tried again for as long as it may wait.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from inlet.core.endpoint import State
from inlet.core.errors import NotFound
from inlet.core.routes import Route
from inlet.router.context import Context
from inlet.router.errors import NotServing
from inlet.router.gate import Ticket, check_state, not_ready, patience
from inlet.router.head import RequestHead
from inlet.router.plan import Plan, plan_for
from inlet.router.routing import Destination
from inlet.router.upstream import Peer, UpstreamConnection

log = structlog.get_logger()

CONTROL_RETRY_S = 1.0
# How long a replica that took a request with it is left alone by the repeat: a process that dies may close its listener last.
REPEAT_AFTER_S = 0.25
# How long a probe of what is starting waits for a table: the API says `running` a moment before routers hear of the replica.
PROBE_WAIT_S = 0.5
_STARTING = frozenset({State.PENDING, State.INITIALIZING})


async def await_plan(context: Context, head: RequestHead, since: float) -> Plan:
    """What to do with the request, once there is a table to tell; `since` is on the loop's clock."""
    until = since + patience(head, context.settings.hold_seconds)
    with context.gate.anteroom():
        while True:
            # Asked before each wait: the first table may have come between the request's head and this task.
            found = plan_for(context, head)
            if found is not None:
                return found
            left = until - context.loop.time()
            if left <= 0:
                raise NotServing(
                    "this router has no route table: control is away", state=None, retry_after=CONTROL_RETRY_S
                )
            await context.table.changed(None, left)


def choose(context: Context, destination: Destination, avoided: Peer | None) -> Peer | None:
    """A peer for this request, if one can be reached as far as is known."""
    if destination.route is None:
        return context.control
    return context.balance.choose(destination.route.endpoint_id, context.loop.time(), other_than=avoided)


async def reach(
    context: Context,
    destination: Destination,
    ticket: Ticket | None,
    *,
    chosen: Peer | None,
    lost_with: Peer | None,
    until: float,
    may_reuse: Callable[[], bool],
) -> tuple[Peer, UpstreamConnection]:
    """A peer and a connection to it. `chosen` was chosen already; `ticket` is None for control.

    `lost_with` took the request before and ended: asked again only if there is no other, and not at once.
    `may_reuse` says whether an idle connection will do: it may turn out to be closing.
    """
    peer, avoided = chosen, lost_with
    if not destination.counted:
        until = min(until, context.loop.time() + PROBE_WAIT_S)
    while True:
        peer = peer or choose(context, destination, avoided)
        if peer is None:
            assert ticket is not None  # noqa: S101 - control is always chosen
            await _await_replica(context, destination, ticket, until)
            continue
        if peer is lost_with and destination.route is not None:
            lost_with = None
            await context.table.changed(destination.route.endpoint_id, REPEAT_AFTER_S)
            if peer.retired:
                peer = None
                continue
        connection = (peer.take() if may_reuse() else None) or await _connect(context, destination, peer)
        if connection is not None:
            return peer, connection
        peer, avoided = None, peer


async def _await_replica(context: Context, destination: Destination, ticket: Ticket, until: float) -> None:
    """Return when there may be a replica to send to; raise when waiting is over, or can mend nothing."""
    now = context.loop.time()
    route = _present_route(context, ticket)
    check_state(route)
    left = until - now
    if left <= 0 or not (destination.counted or route.state in _STARTING):
        if destination.counted:
            ticket.turned_away()
        raise not_ready(route, ticket.waited(now))
    if destination.counted:
        ticket.wait(now)
    next_try = context.balance.next_try(route.endpoint_id)
    if next_try is not None:
        left = min(left, max(next_try - now, 0.001))
    await context.table.changed(route.endpoint_id, left)


def _present_route(context: Context, ticket: Ticket) -> Route:
    index, load = context.table.index, ticket.load
    route = None if index is None else index.by_id.get(load.endpoint_id)
    if route is None:
        raise NotFound(f"{load.namespace}/{load.name} was deleted")
    return route


async def _connect(context: Context, destination: Destination, peer: Peer) -> UpstreamConnection | None:
    """A new connection, or None when this peer cannot be reached for now."""
    was_resting = bool(peer.resting_until)
    try:
        connection = await peer.connect()
    except OSError as error:
        log.info("upstream not reached", replica=peer.id, reason=type(error).__name__)
        if destination.route is None:
            raise NotServing(
                "control is away; what runs goes on. Try again soon", state=None, retry_after=CONTROL_RETRY_S
            ) from error
        peer.rest(context.loop.time())
        return None
    if was_resting and destination.route is not None:
        context.table.ring(destination.route.endpoint_id)
    return connection
