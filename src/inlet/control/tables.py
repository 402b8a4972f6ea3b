"""From records and what is seen of replicas to the route table of the routers.

Used by the control loop, which has seen them itself, and by `control/following.py`, which was told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from inlet.core.access import Token
from inlet.core.endpoint import Endpoint
from inlet.core.routes import Route, RouteTable, Upstream
from inlet.core.seen import SeenReplicaSet


def route_table(
    endpoints: Iterable[Endpoint],
    sets: Sequence[SeenReplicaSet],
    routed: Collection[str],
    tokens: Iterable[Token],
    *,
    host_of: Callable[[Endpoint], str | None],
    now: float,
) -> RouteTable:
    """Every visible endpoint with the ready replicas of its `routed` sets, and every token that is live at `now`.

    Its version is the publisher's to give.
    """
    return RouteTable(
        version="",
        routes=tuple(_route(e, sets, routed, host_of(e)) for e in endpoints if e.visible),
        tokens=tuple(t for t in tokens if t.live(now)),
    )


def _route(
    endpoint: Endpoint, sets: Sequence[SeenReplicaSet], routed: Collection[str], host: str | None
) -> Route:
    return Route(
        endpoint_id=endpoint.id,
        namespace=endpoint.namespace,
        name=endpoint.name,
        host=host,
        visibility=endpoint.spec.visibility,
        state=endpoint.state,
        upstreams=tuple(
            Upstream(replica.id, replica.address)
            for s in sets
            if s.endpoint_id == endpoint.id and s.id in routed
            for replica in s.ready
            if replica.address is not None
        ),
        reason=None if endpoint.failure is None else endpoint.failure.message,
    )
