"""The route table: all that a router needs to know, and the signals that it sends back.

Built by `control/link.py` from the records and the last observation, carried by `wire/link.py`, used by `router/`.
The router answers from this alone: no database and no control call is on the path of a request.
"""

from __future__ import annotations

from dataclasses import dataclass

from inlet.core.access import Token
from inlet.core.endpoint import State
from inlet.core.spec import Visibility


@dataclass(frozen=True, slots=True)
class Upstream:
    """One ready replica. `address` is `unix:/path/to/socket` or `http://host:port`."""

    replica_id: str
    address: str


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint as the router sees it; `reason` is `status.errorMessage`, for the body of a refusal."""

    endpoint_id: str
    namespace: str
    name: str
    host: str | None
    visibility: Visibility
    state: State
    upstreams: tuple[Upstream, ...]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Replaced as a whole. `version` is opaque: a router sends back the one it has and gets the next."""

    version: str
    routes: tuple[Route, ...]
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Signal:
    """What one router saw of one endpoint since its last report.

    `waiting` requests are held for want of a replica (or would not wait for one), and are the demand that wakes a
    sleeping endpoint;
    `in_flight` ones are with a replica; `requests` were begun since the last report; `last_request_at` is when the
    last counting request began or ended (health, info and metrics do not count), None if never.
    """

    endpoint_id: str
    in_flight: int
    waiting: int
    requests: int
    last_request_at: float | None


@dataclass(frozen=True, slots=True)
class Signals:
    """One router's report; sent once a second, and at once when something begins to wait."""

    router_id: str
    endpoints: tuple[Signal, ...]


RESERVED_SEGMENTS = frozenset(
    {
        "v1", "v2", "v3", "api", "endpoint", "provider", "ui", "healthz", "readyz", "metrics", "openapi.json",
        "api-doc", "favicon.ico", "robots.txt", "static", "docs", ".well-known",
    }
)  # fmt: skip
"""First path segments that belong to control on the public origin; none of them can be a namespace."""
