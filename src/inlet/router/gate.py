"""Admission: how much each endpoint has in hand, who is refused by its state, and how long others may wait.

Used by `forward.py`, `plan.py` and `reach.py`; `signals.py` and `metrics.py` read the loads. Must never decide which replica answers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from inlet.core.endpoint import State
from inlet.core.errors import Invalid
from inlet.core.routes import Route
from inlet.router.errors import NotServing
from inlet.router.head import RequestHead
from inlet.router.metrics import Stats

RETRY_AFTER_S = 5.0  # what a caller is told who waited in vain, or would not wait
OVERLOAD_RETRY_S = 1.0
LONGEST_HOLD_S = 3600.0


@dataclass(slots=True, eq=False)
class Load:
    """One endpoint's requests in this router. `pending` counts all of them; the rest leaves out probes (routing.py).

    `waiting` are held for want of a replica, `in_flight` are with one, `requests` were begun since the last report,
    `unmet` were turned away since then because they would not wait (they are demand all the same), `last_request_at` is
    when one last began or ended, in seconds since the epoch.
    """

    endpoint_id: str
    namespace: str
    name: str
    pending: int = 0
    in_flight: int = 0
    waiting: int = 0
    requests: int = 0
    unmet: int = 0
    last_request_at: float | None = None
    stats: Stats = field(default_factory=Stats)


class Ticket:
    """One admitted request: what it counts for in its endpoint's load, until it is closed."""

    __slots__ = ("_closed", "_counted", "_in_flight", "_on_wait", "_waiting_since", "load")

    def __init__(self, load: Load, *, counted: bool, on_wait: Callable[[], None]) -> None:
        self.load = load
        self._counted = counted
        self._on_wait = on_wait
        self._waiting_since: float | None = None
        self._in_flight = False
        self._closed = False

    def wait(self, now: float) -> None:
        """It is held for want of a replica: this is demand. `now` is on the loop's clock."""
        if self._waiting_since is None:
            self._waiting_since = now
            self.load.waiting += 1
            if self.load.waiting == 1:
                self._on_wait()

    def turned_away(self) -> None:
        """It would not wait any longer: demand all the same."""
        self.load.unmet += 1
        self._on_wait()

    def waited(self, now: float) -> float:
        """For how many seconds it has been held."""
        return 0.0 if self._waiting_since is None else now - self._waiting_since

    def sent(self) -> None:
        """It is with a replica."""
        if self._waiting_since is not None:
            self._end_wait()
        if self._counted:
            self._in_flight = True
            self.load.in_flight += 1

    def returned(self) -> None:
        """It is with no replica any more; harmless when it never was."""
        if self._in_flight:
            self._in_flight = False
            self.load.in_flight -= 1

    def close(self, status: int, seconds: float) -> None:
        """It was answered with `status` (499: its client went away) after `seconds`."""
        if self._closed:
            return
        self._closed = True
        if self._waiting_since is not None:
            self._end_wait()
        load = self.load
        if self._in_flight:
            load.in_flight -= 1
        load.pending -= 1
        load.stats.note(status, seconds)
        if self._counted:
            load.last_request_at = time.time()

    def _end_wait(self) -> None:
        self._waiting_since = None
        self.load.waiting -= 1


class Gate:
    """The loads of all endpoints that were asked for something."""

    def __init__(self, *, max_pending: int, on_wait: Callable[[], None]) -> None:
        """`on_wait` is called when the first request of an endpoint begins to wait."""
        self.loads: dict[str, Load] = {}
        self._max_pending = max_pending
        self._on_wait = on_wait
        self._without_table = 0  # requests in the anteroom

    def enter(self, route: Route, *, counted: bool) -> Ticket:
        """Admit one request; `NotServing` (429) when the endpoint has its fill."""
        load = self.loads.get(route.endpoint_id)
        if load is None:
            load = self.loads[route.endpoint_id] = Load(route.endpoint_id, route.namespace, route.name)
        if load.pending >= self._max_pending:
            what = (
                f"{route.namespace}/{route.name} has {load.pending} requests in hand already; try again later"
            )
            raise NotServing(what, state=route.state.value, retry_after=OVERLOAD_RETRY_S, status=429)
        load.pending += 1
        if counted:
            load.requests += 1
            load.last_request_at = time.time()
        return Ticket(load, counted=counted, on_wait=self._on_wait)

    @contextmanager
    def anteroom(self) -> Iterator[None]:
        """For a request that waits for the first route table; `NotServing` (429) when enough do."""
        if self._without_table >= self._max_pending:
            what = "this router has no route table yet; try again later"
            raise NotServing(what, state=None, retry_after=OVERLOAD_RETRY_S, status=429)
        self._without_table += 1
        try:
            yield
        finally:
            self._without_table -= 1

    def forget(self, known: frozenset[str]) -> None:
        """Drop the loads of endpoints that are gone, once nothing of theirs is in hand."""
        for endpoint_id in [key for key, load in self.loads.items() if key not in known and not load.pending]:
            del self.loads[endpoint_id]


def patience(head: RequestHead, hold_seconds: float) -> float:
    """How many seconds a request may wait for a replica; `hold_seconds` unless it says something else."""
    text = head.patience
    if text is None:
        return hold_seconds
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise Invalid("send a number of seconds, 0 or more", field="X-Scale-Up-Timeout")
    return min(seconds, LONGEST_HOLD_S)


def check_state(route: Route) -> None:
    """Refuse what waiting cannot mend."""
    if route.state is State.PAUSED:
        raise NotServing(
            f"{route.namespace}/{route.name} is paused; resume it to use it",
            state=route.state.value,
            retry_after=None,
            status=400,
        )
    if route.state is State.FAILED:
        raise NotServing(_because(route, "has failed"), state=route.state.value, retry_after=None)


def not_ready(route: Route, waited: float) -> NotServing:
    """What is said to a request that no replica took within `waited` seconds (0: it did not wait)."""
    what = f"is {route.state.value} and no replica is ready"
    if waited >= 1:
        what += f" after {waited:.0f} s of waiting"
    return NotServing(_because(route, what), state=route.state.value, retry_after=RETRY_AFTER_S)


def _because(route: Route, what: str) -> str:
    return f"{route.namespace}/{route.name} {what}" + (f": {route.reason}" if route.reason else "")
