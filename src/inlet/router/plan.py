"""What is done with a request, decided from its head and the route table alone: whose it is, whether its caller may use
it, how long it may wait, and the head that goes on in its place.

Asked by `forward.py` and `reach.py`. The same head with the same table always gets the same plan, so the plan of a head
that is remembered is kept with the table until the caller's token expires. What may change between two requests is
decided elsewhere: load in `gate.py`, the replica in `balance.py`.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from inlet.router import routing
from inlet.router.auth import authorise
from inlet.router.context import Context
from inlet.router.gate import check_state, patience
from inlet.router.head import REMEMBERED, RequestHead
from inlet.router.rewrite import request_head
from inlet.router.routing import Destination

MAX_PLANS = REMEMBERED  # kept with one table


@dataclass(slots=True, eq=False)
class Plan:
    """`until` is when the caller's token expires, in seconds since the epoch; `patience` is in seconds.

    `head` is what `rewrite.request_head` made for the upstream; empty for the router's own pages.
    """

    destination: Destination
    until: float
    patience: float
    head: bytes


def plan_for(context: Context, head: RequestHead) -> Plan | None:
    """The plan; an `InletError` for a request that is refused, None when only a route table could tell and there is none."""
    index = context.table.index
    known = None if index is None else index.plans.get(head)
    if known is not None and time.time() < known.until:
        return known
    destination = routing.find(index, head, context.settings.base_domain)
    if destination is None:
        return None
    until = math.inf
    if destination.route is not None and index is not None:
        until = authorise(index, destination.route, head.authorization)
        check_state(destination.route)
    plan = Plan(
        destination,
        until,
        patience(head, context.settings.hold_seconds),
        b""
        if destination.local is not None
        else request_head(
            head, destination.target, scheme=context.scheme, to_control=destination.route is None
        ),
    )
    if index is not None and head.remembered:
        if len(index.plans) >= MAX_PLANS:
            index.plans.clear()
        index.plans[head] = plan
    return plan
