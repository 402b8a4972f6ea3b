"""Whose is this request: an endpoint's, control's, or the router's own.

Asked by `plan.py`. Pure. Host comes first: on an endpoint's own host every path is the replica's. On the base host
come the reserved first segments, then `/{namespace}/{name}`, which is taken off before the path goes on.

Names are compared as sent, byte by byte: none of ours needs an escape, so an encoded spelling names nothing, and two
parsers can never disagree on who owns a path.
"""

from __future__ import annotations

from dataclasses import dataclass

from inlet.core.errors import NotFound
from inlet.core.routes import RESERVED_SEGMENTS, Route
from inlet.router.head import RequestHead
from inlet.router.table import Index

_RESERVED = frozenset(segment.encode() for segment in RESERVED_SEGMENTS)
_LOCAL = frozenset({b"/healthz", b"/readyz", b"/metrics"})
# Platforms and scrapers ask these over and over: they wake nobody.
_PROBES = frozenset(
    {b"/", b"/health", b"/ping", b"/info", b"/metrics", b"/v2/health/live", b"/v2/health/ready"}
)
_SAFE = frozenset({b"GET", b"HEAD"})


@dataclass(slots=True)
class Destination:
    """Where a request goes. With `local` it is the router's own page; else without `route` it is control's.

    `target` is what the upstream is asked for; `sandboxed` says that a replica answers on a path of the public origin;
    `counted` whether it is activity and may wake a sleeping endpoint (a probe of health, info or metrics may not).
    """

    target: bytes
    route: Route | None = None
    local: bytes | None = None
    sandboxed: bool = False
    counted: bool = True


def find(index: Index | None, head: RequestHead, base_domain: str) -> Destination | None:
    """The destination; `NotFound` for what nobody owns, None when only a route table could tell and there is none."""
    below_base = bool(base_domain) and head.host is not None and head.host.endswith("." + base_domain)
    if index is not None and head.host is not None:
        route = index.by_host.get(head.host)
        if route is not None:
            return _to_replica(route, head, head.target, sandboxed=False)
    if below_base:
        if index is None:
            return None
        raise NotFound("no endpoint has this host")
    path = head.target.partition(b"?")[0]
    if path in _LOCAL and head.method in _SAFE:
        return Destination(head.target, local=path)
    first, _, rest = path[1:].partition(b"/")
    if path == b"/" or first in _RESERVED:
        return Destination(head.target)
    if index is None:
        return None
    route = index.by_name.get((first, rest.partition(b"/")[0]))
    if route is None:
        raise NotFound("no endpoint has this path: use /{namespace}/{name}")
    taken = len(route.namespace) + len(route.name) + 2
    return _to_replica(route, head, head.target[taken:], sandboxed=True)


def _to_replica(route: Route, head: RequestHead, target: bytes, *, sandboxed: bool) -> Destination:
    # One slash in front, whatever came: a target that begins with two would name a host to some parsers.
    target = b"/" + target.lstrip(b"/")
    counted = head.method not in _SAFE or target.partition(b"?")[0] not in _PROBES
    return Destination(target, route=route, sandboxed=sandboxed, counted=counted)
