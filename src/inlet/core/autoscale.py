"""How many replicas a running endpoint should have, from what it is asked to do.

One pure function, called by `core/step.py` in state running only. Going to and from zero is not decided here: that is
the lifecycle's business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from inlet.core.spec import MeasureKind, Scaling

DEFAULT_HARDWARE_USAGE = 80.0  # percent
DEFAULT_PENDING_REQUESTS = 1.5  # per replica
AUTOSCALE_INTERVAL_S = 5.0  # how often a running endpoint with room to grow or shrink is looked at
UP_AFTER_S = 60.0  # between two changes, when more are needed
DOWN_AFTER_S = 300.0  # and when fewer are: a replica is cheaper than a cold start


@dataclass(frozen=True, slots=True)
class Load:
    """What the routers and the platform saw of one endpoint.

    `in_flight` and `waiting` are now, `pending` is their mean over the last seconds; `last_request_at` in seconds since
    the epoch; `cpu` the mean used share of the replicas' vCPU (1.0 = all), None if unknown. `waiting_at` is when somebody
    was last reported to wait: routers report once a second, so it may be before what has happened since.
    """

    in_flight: int = 0
    waiting: int = 0
    pending: float = 0.0
    last_request_at: float | None = None
    cpu: float | None = None
    waiting_at: float = math.inf


def desired_replicas(scaling: Scaling, *, current: int, load: Load, scaled_at: float, now: float) -> int:
    """The number wanted now: within the bounds, up by as much as is needed, down by one, and neither too often."""
    low, high = max(1, scaling.min_replica), max(1, scaling.max_replica)
    bounded = min(max(current, low), high)
    if bounded != current:
        return bounded
    needed = min(max(_needed(scaling, current, load), low), high)
    if needed > current and now - scaled_at >= UP_AFTER_S:
        return needed
    if needed < current and now - scaled_at >= DOWN_AFTER_S:
        return current - 1
    return current


def _needed(scaling: Scaling, current: int, load: Load) -> int:
    kind = MeasureKind.HARDWARE_USAGE if scaling.measure is None else scaling.measure.kind
    threshold = None if scaling.measure is None else scaling.measure.threshold
    if kind is MeasureKind.PENDING_REQUESTS:
        return math.ceil(load.pending / (threshold or DEFAULT_PENDING_REQUESTS))
    if load.cpu is None:
        return current
    return math.ceil(current * load.cpu * 100.0 / (threshold or DEFAULT_HARDWARE_USAGE))
