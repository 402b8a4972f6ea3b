"""What the routers report, added up per endpoint for the control loop.

Filled by `control/link.py`, read by `control/reconciler.py`. In memory only: a router repeats all that matters once a
second, so nothing is lost with this process.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from inlet.core.autoscale import Load
from inlet.core.routes import Signal, Signals

SILENT_AFTER_S = 5.0  # a router that says nothing for so long has no requests in flight any more
WINDOW_S = 20.0  # over which pending requests are averaged


class LoadBoard:
    """The latest report of each router, and a short history of pending requests.

    Callers speak of time in seconds since the epoch (`now`), as records do; what is kept here is measured with `steady`,
    which nobody sets.
    """

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._reports: dict[str, tuple[float, dict[str, Signal]]] = {}
        self._history: dict[str, deque[tuple[float, int]]] = {}
        self._last_request: dict[str, float] = {}
        self._waiting_at: dict[str, float] = {}

    def record(self, signals: Signals, now: float) -> bool:
        """Take one router's report; True when a request waits somewhere, so the loop should look at once."""
        here = self._steady()
        for router in [id_ for id_, (at, _) in self._reports.items() if here - at >= SILENT_AFTER_S]:
            del self._reports[router]  # each start of a router has an id of its own
        self._reports[signals.router_id] = (here, {s.endpoint_id: s for s in signals.endpoints})
        for signal in signals.endpoints:
            if signal.last_request_at is not None:
                # A router's clock may be ahead; an idle clock in the future would never run out.
                seen = here - max(0.0, now - signal.last_request_at)
                self._last_request[signal.endpoint_id] = max(
                    seen, self._last_request.get(signal.endpoint_id, -math.inf)
                )
            if signal.waiting > 0:
                self._waiting_at[signal.endpoint_id] = here
            history = self._history.setdefault(signal.endpoint_id, deque())
            history.append((here, self._pending(signal.endpoint_id)))
            while history[0][0] < here - WINDOW_S:
                history.popleft()
        return any(s.waiting > 0 for s in signals.endpoints)

    def reports(self) -> tuple[Signals, ...]:
        """The latest report of each router that is not silent, as it was taken."""
        here = self._steady()
        return tuple(
            Signals(router, tuple(by_id.values()))
            for router, (at, by_id) in self._reports.items()
            if here - at < SILENT_AFTER_S
        )

    def load(self, endpoint_id: str, *, cpu: float | None, now: float) -> Load:
        """All routers together, as the step wants it."""
        here = self._steady()
        last_request = self._last_request.get(endpoint_id)
        signals = [
            by_id[endpoint_id]
            for at, by_id in self._reports.values()
            if endpoint_id in by_id and here - at < SILENT_AFTER_S
        ]
        recent = [n for at, n in self._history.get(endpoint_id, ()) if at >= here - WINDOW_S]
        return Load(
            in_flight=sum(s.in_flight for s in signals),
            waiting=sum(s.waiting for s in signals),
            pending=sum(recent) / len(recent) if recent else 0.0,
            last_request_at=None if last_request is None else last_request + now - here,
            cpu=cpu,
            waiting_at=self._waiting_at.get(endpoint_id, -math.inf) + now - here,
        )

    def forget(self, endpoint_id: str) -> None:
        """The endpoint is gone."""
        self._history.pop(endpoint_id, None)
        self._last_request.pop(endpoint_id, None)
        self._waiting_at.pop(endpoint_id, None)

    def _pending(self, endpoint_id: str) -> int:
        """In flight and waiting at all routers, by the latest report of each."""
        signals = (by_id[endpoint_id] for _, by_id in self._reports.values() if endpoint_id in by_id)
        return sum(s.in_flight + s.waiting for s in signals)
